"""Log-probs of training trees' nodes under a model, read again in packed rows: what training made of them.

Contract: `log_probs_under` chooses trees by their problems alone, so that the same are read again after a
kill, up to `most_tokens` (at least one tree; those longer than the model's context never). The sums of a tree
are by node, NaN on nodes that no record names. No gradient, no dropout, in the precision of the training.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from prm.training.folder import base_folder
from prm.training.precision import resolve_precision
from prm.training.processes import open_processes
from selftrain.data.record import TrainingTree
from selftrain.training.config import TrainConfig
from selftrain.training.passes import base_sums
from selftrain.training.policy import PackedPolicy
from selftrain.training.units import Item, make_item
from treesearch.engines.hf_load import choose_device, load
from treesearch.seeds import derive


def log_probs_under(
    trees: Sequence[TrainingTree], *, model: str, config: TrainConfig, most_tokens: int
) -> tuple[list[TrainingTree], list[list[float]]]:
    """The trees that were read, and the sums of each by node; see the module. `config` is the training's."""
    processes = open_processes(choose_device(config.device))
    loaded, _ = load(
        base_folder(model),
        device=str(processes.device),
        dtype=resolve_precision(config.precision, processes.device),
    )
    same = ("precision", "attention", "device", "row_tokens", "pass_tokens")
    reading = TrainConfig(**{name: getattr(config, name) for name in same})
    policy = PackedPolicy(loaded, reading, processes.device)
    items = _chosen([make_item(tree) for tree in trees], policy.context, most_tokens)
    if not items:
        return [], []
    sums = base_sums(policy, items, processes)
    rows = [
        [value if node in item.wanted else math.nan for node, value in enumerate(each.tolist())]
        for item, each in zip(items, sums, strict=True)
    ]
    return [item.tree for item in items], rows


def _chosen(items: Sequence[Item], longest: int, most_tokens: int) -> list[Item]:
    found: list[Item] = []
    left = most_tokens
    for item in sorted(items, key=lambda one: derive(0, "read again", one.tree.problem)):
        if item.wanted and item.tokens <= longest and (not found or item.tokens <= left):
            found.append(item)
            left -= item.tokens
    return found
