"""The reference's log-probs of every edge that is compared: stored ones, or the base's, computed once.

Contract: `with_references` puts them on the items. `stored` are those of the searched tree. `base` are the
policy's before the first step (with LoRA: with the adapter off), computed through the packed scorer without
gradient or dropout and kept in a file beside the run, so that a resumed run, whose weights have moved, has
the same ones and no second model is in memory. It must be called before a checkpoint is taken up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from prm.training.processes import Processes
from prm.training.state import save_tensors
from selftrain.packing import EdgeIndex
from selftrain.training.objectives import reference_of
from selftrain.training.passes import base_sums
from selftrain.training.policy import PackedPolicy
from selftrain.training.units import Item
from tasks.errors import DataError

REFERENCE = "reference.safetensors"
_NAME = "reference_log_probs"


def with_references(
    items: Sequence[Item], policy: PackedPolicy, out: Path, processes: Processes
) -> list[Item]:
    """The items with the reference's sums, NaN on edges that no record names; `out` is the run's folder."""
    kind = reference_of(policy.config)
    if kind == "none":
        return list(items)
    if kind == "stored":
        sums = [EdgeIndex([item.tree.tree]).stored() for item in items]
    else:
        sums = _of_base(items, policy, out / REFERENCE, processes)
    return [_with_reference(item, one) for item, one in zip(items, sums, strict=True)]


def _with_reference(item: Item, sums: Tensor) -> Item:
    needed = torch.tensor([node in item.wanted for node in range(len(sums))])
    return replace(item, reference=sums.masked_fill(~needed, torch.nan))


def _of_base(
    items: Sequence[Item], policy: PackedPolicy, path: Path, processes: Processes
) -> Sequence[Tensor]:
    sizes = [len(item.tree.tree) for item in items]
    if not path.exists():
        sums = base_sums(policy, items, processes)
        if processes.is_first:
            save_tensors(path, {_NAME: torch.cat(sums)}, {})
        processes.wait()
    found = load_file(path)[_NAME]
    if len(found) != sum(sizes):
        raise DataError(f"{path}: holds {len(found)} reference log-probs, the data has {sum(sizes)} edges")
    return found.split(sizes)
