"""The attention mask of packed trees, in the form that the model's attention takes.

Contract: `tree_mask` gives "an ancestor or itself, and not later" as

- a dense boolean mask ``[B, 1, T, T]`` for torch's scaled dot-product attention (`sdpa`): on every device;
- the same as a float mask to be added (`eager`);
- a FlexAttention block mask (`flex_attention`): blocks that are masked whole are skipped. Making it takes the
  dense mask for a moment (T^2 bytes a row). Needs a GPU to train with.

Flash attention takes no masks and is refused. The rule needs one number a token, the end of its subtree: see
`Batch`. `use_tree_attention` sets the form that is best for the model's device.

Source: FlexAttention (arXiv 2412.05496).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from selftrain.packing.batch import Batch
from tasks.errors import UsageError

KINDS = ("sdpa", "eager", "flex_attention")
"""Attention implementations of transformers that take the mask of a tree."""


def tree_mask(batch: Batch, kind: str, dtype: torch.dtype) -> Any:
    """The mask of `batch` for the attention implementation `kind`, on the batch's device.

    `dtype` is the model's, for the added mask of `eager`. `UsageError` for an implementation without masks.
    """
    if kind == "sdpa":
        return dense_mask(batch)
    if kind == "eager":
        seen = dense_mask(batch)
        return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(
            ~seen, torch.finfo(dtype).min
        )
    if kind == "flex_attention":
        return block_mask(batch)
    raise UsageError(
        f"attention implementation {kind!r} takes no tree mask; call model.set_attn_implementation('sdpa')"
    )


def dense_mask(batch: Batch) -> Tensor:
    """``[B, 1, T, T]``, true where the line's token q sees the column's k: ``k <= q < ends[k]``."""
    place = torch.arange(batch.ids.shape[1], device=batch.ids.device)
    query, key = place[:, None], place[None, :]
    return ((key <= query) & (query < batch.ends[:, None, :]))[:, None]


def block_mask(batch: Batch) -> Any:
    """The same as a `torch.nn.attention.flex_attention.BlockMask`."""
    from torch.nn.attention.flex_attention import create_block_mask

    ends = batch.ends

    def sees(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:  # noqa: ARG001
        return (key <= query) & (query < ends[row, key])

    rows, width = batch.ids.shape
    return create_block_mask(sees, rows, None, width, width, device=str(ends.device))


def use_tree_attention(model: Any, device: torch.device | str) -> str:
    """Set a transformers model to FlexAttention for a CUDA `device`, else to SDPA; returns the name set."""
    kind = "flex_attention" if torch.device(device).type == "cuda" else "sdpa"
    model.set_attn_implementation(kind)
    return kind
