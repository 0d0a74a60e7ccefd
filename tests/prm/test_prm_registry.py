"""What `open_scorer` makes of a name and settings, before a model is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from prm.registry import open_scorer
from tasks.errors import UsageError


def test_vllms_own_class_is_a_back_end_of_qwens_models(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    from prm.scoring import vllm_open

    asked: list[Any] = []
    monkeypatch.setattr(
        vllm_open, "open_published", lambda name, convention, settings: asked.append(settings.backend)
    )
    open_scorer("Qwen/Qwen2.5-Math-PRM-7B", {"backend": "vllm-native", "engine_args": "--enforce-eager"})
    assert asked == ["vllm-native"]


@pytest.mark.parametrize(
    "name",
    ["embedded", "Skywork/Skywork-o1-Open-PRM-Qwen-2.5-7B", "GenPRM/GenPRM-7B", "PRIME-RL/EurusPRM-Stage2"],
)
def test_vllms_own_class_is_refused_for_any_other_model(name: str) -> None:
    with pytest.raises(
        UsageError, match=r"backend=vllm-native is vLLM's own class for Qwen.*use backend=vllm"
    ):
        open_scorer(name, {"backend": "vllm-native"})


def test_more_context_than_the_model_has_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from prm_models import CHATML, CONTEXT, byte_level, write_causal

    folder = str(write_causal(tmp_path, byte_level(template=CHATML), kind="qwen2"))
    ratio = {"family": "eurusprm", "reference": folder}
    for name, family in (("embedded", {}), (folder, ratio), (folder, {"family": "genprm"})):
        most = CONTEXT + 1 if family else 10**6
        with pytest.raises(UsageError, match=rf"max_context={most} is more than the model's own context of"):
            open_scorer(name, {"device": "cpu", "max_context": most, **family})
