"""Pairs in TRL's preference format: `prompt`, `chosen`, `rejected`, and everything the pair knows.

Contract: one row a pair. `prompt` is the text up to where the sides part, `chosen` and `rejected` go on from
there; the columns `prompt_ids`, `chosen_ids` and `rejected_ids` are the same in the policy's own token ids.
`q_*`, `visits_*`, `weight`, `offset`, `smoothing` and `kind` are the pair's, `logps_chosen` and
`logps_rejected` the sums of the log-probs stored when the sides were written, null where a part of them was
not. (TRL calls its own such columns `ref_chosen_logps`, and takes any that are there into its batches; hence
another name.) Reading gives the same rows.

What it cannot hold: the tree (where steps begin and end, which pairs share a prefix), and so nothing can be
packed; log-probs of single tokens. The text columns do not say whether a side ended the text: the ids do, by
the end-of-text token. TRL's `DPOTrainer` reads the text columns, encodes them anew and ends every side
itself, which is wrong for steps in the middle of a solution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from selftrain.data.exports.containers import Columns, read_columns, write_columns
from selftrain.data.objects import from_object, to_object
from selftrain.data.record import Pair, TrainingTree

_COLUMNS: Columns = {
    "problem": "str",
    "prompt": "str",
    "chosen": "str",
    "rejected": "str",
    "prompt_ids": "list[int]",
    "chosen_ids": "list[int]",
    "rejected_ids": "list[int]",
    "q_chosen": "float",
    "q_rejected": "float",
    "visits_chosen": "int",
    "visits_rejected": "int",
    "logps_chosen": "float",
    "logps_rejected": "float",
    "weight": "float",
    "offset": "float",
    "smoothing": "float",
    "kind": "str",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """A row of the format; see the module."""

    problem: str
    prompt: str
    chosen: str
    rejected: str
    prompt_ids: tuple[int, ...]
    chosen_ids: tuple[int, ...]
    rejected_ids: tuple[int, ...]
    q_chosen: float | None = None
    q_rejected: float | None = None
    visits_chosen: int = 0
    visits_rejected: int = 0
    logps_chosen: float | None = None
    logps_rejected: float | None = None
    weight: float = 1.0
    offset: float = 0.0
    smoothing: float = 0.0
    kind: str = "dpo"


def preferences(trees: Sequence[TrainingTree]) -> list[Preference]:
    """The pairs of all trees, in order."""
    return [_row(tree, pair) for tree in trees for pair in tree.pairs]


def write_preferences(path: Path, trees: Sequence[TrainingTree]) -> int:
    """Replace `path` by the pairs of all trees; returns how many."""
    return write_columns(path, (to_object(row, full=True) for row in preferences(trees)), _COLUMNS)


def read_preferences(path: Path) -> list[Preference]:
    """What `write_preferences` wrote; `DataError` with the place for a row that does not fit."""
    return [from_object(row, Preference, "preference") for row in read_columns(path)]


def _row(tree: TrainingTree, pair: Pair) -> Preference:
    before = tree.tree.path(pair.above)
    sides = [tree.tree.path(node)[len(before) :] for node in (pair.chosen, pair.rejected)]
    texts = ["".join(tree.texts[node] for node in nodes) for nodes in (before, *sides)]
    ids = [tuple(one for node in nodes for one in tree.tree.segments[node]) for nodes in (before, *sides)]
    return Preference(
        problem=tree.problem,
        prompt=texts[0],
        chosen=texts[1],
        rejected=texts[2],
        prompt_ids=ids[0],
        chosen_ids=ids[1],
        rejected_ids=ids[2],
        q_chosen=pair.q_chosen,
        q_rejected=pair.q_rejected,
        visits_chosen=pair.visits_chosen,
        visits_rejected=pair.visits_rejected,
        logps_chosen=stored_sum(tree, sides[0]),
        logps_rejected=stored_sum(tree, sides[1]),
        weight=pair.weight,
        offset=pair.offset,
        smoothing=pair.smoothing,
        kind=pair.kind,
    )


def stored_sum(tree: TrainingTree, nodes: Sequence[int]) -> float | None:
    """Sum of the stored log-probs of steps; None where one has none."""
    stored = [tree.tree.logprobs[node] if tree.tree.logprobs else None for node in nodes]
    if any(one is None for one in stored):
        return None
    return math.fsum(value for one in stored if one is not None for value in one)
