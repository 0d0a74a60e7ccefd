"""The type of the passes, by the device's arithmetic."""

from __future__ import annotations

import pytest
import torch

from prm.training.precision import autocast, resolve_precision

CPU = torch.device("cpu")


@pytest.mark.parametrize("native", [True, False])
def test_auto_is_bfloat16_where_the_processor_has_arithmetic_for_it(
    native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prm.training.precision.cpu_has_bfloat16", lambda: native)
    assert resolve_precision("auto", CPU) == ("bfloat16" if native else "float32")
    with autocast("auto", CPU):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == (torch.bfloat16 if native else torch.float32)


def test_a_precision_that_is_named_is_taken() -> None:
    assert resolve_precision("bfloat16", CPU) == "bfloat16"
    assert resolve_precision("float32", CPU) == "float32"
