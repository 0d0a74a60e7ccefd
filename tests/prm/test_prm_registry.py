"""What `open_scorer` makes of a name and settings, before a model is loaded."""

from __future__ import annotations

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
