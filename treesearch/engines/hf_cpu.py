"""A model made ready to write on a CPU: linear layers by oneDNN, and attention that copies no keys.

Contract: `fit_to_cpu` changes a loaded model in place, for inference only, up to rounding:

- float32 linear layers multiply by oneDNN, with their weights laid out for it once, where the processor is
  not Intel's: torch's own product (MKL) leaves the wide vector units of others unused, at half the speed.
- A step of one token a row attends by two batched products over the rows' slots. The library's `sdpa` first
  repeats the keys of grouped heads, as torch's fused attention would not group them under a mask; copying
  takes longer than attending. Prompts go through the fused attention as before.

What cannot be changed stays as it is: other devices and types, attention other than `sdpa`, torch builds
without oneDNN. Measured in `experiments/engines`.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

SLOTS = "treesearch_slots"
"""Name under which transformers knows `slot_attention`."""
_BATCH_HINT = 128
"""Rows that the layout of weights is chosen for; others work as well."""


def fit_to_cpu(model: Any) -> None:
    """Make a model fast at writing if it is on a CPU; see the module."""
    if model.device.type != "cpu":
        return
    if model.config._attn_implementation == "sdpa":
        AttentionInterface.register(SLOTS, slot_attention)
        AttentionMaskInterface.register(SLOTS, sdpa_mask)
        model.set_attn_implementation(SLOTS)
    if model.dtype == torch.float32 and onednn_is_faster():
        pack_linear_layers(model)


def slot_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **options: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attention of one new token a row, `query` [rows, heads, 1, size], to its row's keys.

    `key` and `value` are [rows, key heads, span, size]; `attention_mask` [rows, 1, 1, span] is added to the
    scores. Returns [rows, 1, heads, size]. Anything else than one token under a mask goes to `sdpa`.
    """
    rows, heads, width, size = query.shape
    if width != 1 or attention_mask is None or dropout:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **options
        )
    key_heads = key.shape[1]
    asked = query.reshape(rows * key_heads, heads // key_heads, size)
    mask = attention_mask[:, 0].repeat_interleave(key_heads, dim=0)
    scale = size**-0.5 if scaling is None else scaling
    scores = torch.baddbmm(mask, asked, key.flatten(0, 1).transpose(1, 2), alpha=scale)
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(value.dtype)
    return torch.bmm(weights, value.flatten(0, 1)).view(rows, 1, heads, size), None


class PackedLinear(nn.Module):
    """A linear layer without gradients whose weight [out, in] is laid out for oneDNN."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.bias = layer.bias
        self._packed = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), _BATCH_HINT)

    def forward(self, inputs: Tensor) -> Tensor:
        """``inputs @ weight.T + bias``."""
        return torch.ops.mkldnn._linear_pointwise(inputs, self._packed, self.bias, "none", [], "")


def pack_linear_layers(model: Any) -> None:
    """Replace every plain linear layer of the model by a `PackedLinear`."""
    for module in list(model.modules()):
        for name, layer in list(module.named_children()):
            if type(layer) is nn.Linear:
                setattr(module, name, PackedLinear(layer))


@functools.cache
def onednn_is_faster() -> bool:
    """Whether float32 products should go to oneDNN: it is there, and the processor is not Intel's."""
    operators = getattr(torch.ops, "mkldnn", None)
    there = torch.backends.mkldnn.is_available() and hasattr(operators, "_reorder_linear_weight")
    return there and _vendor() not in ("", "GenuineIntel")


def _vendor() -> str:
    """The processor's maker as Linux names it; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("vendor_id")), "")
