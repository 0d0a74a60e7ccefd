"""The type that forward and backward passes run in."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch

from prm.training.config import PrecisionName
from treesearch.hardware import cpu_has_bfloat16


def resolve_precision(precision: PrecisionName, device: torch.device) -> Literal["float32", "bfloat16"]:
    """`precision`; for `auto` bfloat16 where `device` has arithmetic for it, else float32."""
    if precision != "auto":
        return precision
    native = torch.cuda.is_bf16_supported() if device.type == "cuda" else cpu_has_bfloat16()
    return "bfloat16" if native else "float32"


def autocast(precision: PrecisionName, device: torch.device) -> AbstractContextManager[Any]:
    """The context that passes run under; weights stay as they are."""
    if resolve_precision(precision, device) == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)
