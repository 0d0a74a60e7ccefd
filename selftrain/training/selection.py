"""Which trees and records a run learns from.

Contract: `select` keeps of every tree the records that the objective (and an added likelihood) reads and can
learn from, and drops trees that have none. Everything dropped is counted by its reason; records that are not
the objective's kind do not count as dropped. `DataError` where nothing is left, where a record's terms are
out of range, and, unless the config says drop, for records that are too long or lack the stored log-probs
that they would be compared with.

Reasons: `weight-zero`; `empty` (no token to learn from); `ungraded` and `graded-wrong` traces (`implicit-ce`
and `nft` need a grade, `sft` does not imitate wrong solutions); `graded-alike` (all of a tree's traces are
right, or all wrong: `nft` learns nothing there); `too-long`; `unscored`; and `tree-without-records`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from prm.training.layout import check_ids
from selftrain.data.record import Advantages, Pair, Trace, TrainingTree
from selftrain.training.config import TrainConfig
from selftrain.training.mixture import added_likelihood
from selftrain.training.objectives import find_objective, reference_of
from selftrain.training.reads import right_rate, tokens_of, weight_of
from tasks.errors import DataError

R = TypeVar("R", Trace, Pair, Advantages)
LEAST, LARGEST = 1e-37, 1e37
"""Weights that float32 holds with room to add them up; smaller ones are 0."""
_SLACK = 1e-6
"""A bound that was computed may be exceeded by rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """The trees that are left, with the records that are learned from and no others, and the counts.

    `counts` has `kept.trees`, `kept.pairs`, `kept.traces`, `kept.states` and `dropped.<reason>`.
    """

    trees: tuple[TrainingTree, ...]
    counts: dict[str, int]


def select(trees: Sequence[TrainingTree], config: TrainConfig, *, context: int, vocabulary: int) -> Selected:
    """What of `trees` is learned from by a model of that context and vocabulary size; see the module."""
    filter_ = _Filter(config, context)
    kept: list[TrainingTree] = []
    for tree in trees:
        found = filter_(tree)
        if found is None:
            filter_.dropped["tree-without-records"] += 1
        else:
            check_ids(f"problem {found.problem!r}", found.tree.segments, vocabulary)
            kept.append(found)
    _refuse(config.too_long, filter_.dropped["too-long"], f"longer than {filter_.limit} tokens", "too_long")
    _refuse(config.unscored, filter_.dropped["unscored"], "without stored log-probs", "unscored")
    records = find_objective(config.objective).records
    if not any(getattr(tree, records) for tree in kept):
        raise DataError(_nothing_left(len(trees), config, filter_.dropped))
    counts = {
        "kept.trees": len(kept),
        "kept.pairs": sum(len(tree.pairs) for tree in kept),
        "kept.traces": sum(len(tree.traces) for tree in kept),
        "kept.states": sum(len(tree.advantages) for tree in kept),
    }
    return Selected(trees=tuple(kept), counts=counts | _named(filter_.dropped))


def _named(dropped: Counter[str]) -> dict[str, int]:
    return {f"dropped.{reason}": count for reason, count in sorted(dropped.items()) if count}


def _nothing_left(count: int, config: TrainConfig, dropped: Counter[str]) -> str:
    row = find_objective(config.objective)
    reasons = ", ".join(f"{name} {number}" for name, number in sorted(dropped.items()) if number)
    made_by = f"; builders that make them: {', '.join(row.made_by)}" if row.made_by else ""
    return (
        f"objective {config.objective!r} learns from {row.records}, and none of {count} trees has any that "
        f"can be used (dropped: {reasons or 'nothing'}){made_by}"
    )


def _refuse(choice: str, count: int, what: str, setting: str) -> None:
    if count and choice == "refuse":
        mend = "or compare with reference=base, " if setting == "unscored" else ""
        raise DataError(
            f"{count} records are {what}; set {setting}=drop to leave them out, {mend}or build anew"
        )


class _Filter:
    """Keeps a tree's usable records and counts the others."""

    def __init__(self, config: TrainConfig, context: int) -> None:
        self.config = config
        self.limit = min(context, config.row_tokens or context)
        self.dropped: Counter[str] = Counter()
        self._row = find_objective(config.objective)
        self._stored = reference_of(config) == "stored"

    def __call__(self, tree: TrainingTree) -> TrainingTree | None:
        records = self._row.records
        traces = records == "traces" or added_likelihood(self.config) == "traces"
        found = replace(
            tree,
            traces=self._usable(tree, tree.traces, self._trace) if traces else (),
            pairs=self._usable(tree, tree.pairs, self._pair) if records == "pairs" else (),
            advantages=self._usable(tree, tree.advantages, self._state) if records == "advantages" else (),
            targets=(),
        )
        if self.config.objective == "nft" and not 0 < right_rate(found, self.config) < 1:
            self.dropped["graded-alike"] += len(found.traces)
            return None
        return found if found.traces or found.pairs or found.advantages else None

    def _usable(
        self, tree: TrainingTree, records: Iterable[R], fault: Callable[[TrainingTree, R], str | None]
    ) -> tuple[R, ...]:
        kept: list[R] = []
        for record in records:
            reason = fault(tree, record)
            if reason is None:
                kept.append(record)
            else:
                self.dropped[reason] += 1
        return tuple(kept)

    def _trace(self, tree: TrainingTree, trace: Trace) -> str | None:
        _check_range(tree, "weight", trace.weight, 0, float("inf"))
        compared = self._row.records == "traces"
        if not self._weighs(tree, trace):
            return "weight-zero"
        if compared and self.config.objective != "sft":
            if trace.right is None:
                return "ungraded"
        elif trace.right is False:
            return "graded-wrong"
        return self._fault(tree, [trace.node], tree.learned(trace), compared=compared)

    def _pair(self, tree: TrainingTree, pair: Pair) -> str | None:
        _check_range(tree, "weight", pair.weight, 0, float("inf"))
        if "smoothing_scale" in self._row.own:
            scaled = self.config.smoothing_scale * pair.smoothing
            _check_range(tree, "smoothing (times smoothing_scale)", scaled, 0, self._row.most_smoothing)
        if not self._weighs(tree, pair):
            return "weight-zero"
        nodes = [*tree.tree.below(pair.above, pair.chosen), *tree.tree.below(pair.above, pair.rejected)]
        return self._fault(tree, [pair.chosen, pair.rejected], nodes, compared=True)

    def _weighs(self, tree: TrainingTree, record: Pair | Trace) -> bool:
        """Whether its weight is above 0 in float32; `DataError` for one that is infinite there."""
        try:
            weight = weight_of(record, self.config)
        except OverflowError:
            weight = math.inf
        _check_range(tree, "weight (to the power weight_power)", weight, 0, LARGEST)
        return weight >= LEAST

    def _state(self, tree: TrainingTree, state: Advantages) -> str | None:
        return self._fault(tree, state.nodes, state.nodes, compared=True)

    def _fault(
        self, tree: TrainingTree, ends: Sequence[int], nodes: Sequence[int], *, compared: bool
    ) -> str | None:
        """What is wrong with paths to `ends` of which `nodes` are learned and, with `compared`, compared."""
        if not tokens_of(tree, nodes):
            return "empty"
        if any(tokens_of(tree, tree.tree.path(end)) > self.limit for end in ends):
            return "too-long"
        stored = tree.tree.logprobs
        if compared and self._stored and any(not stored or stored[node] is None for node in nodes):
            return "unscored"
        return None


def _check_range(tree: TrainingTree, name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high + _SLACK or value == float("inf"):
        raise DataError(
            f"problem {tree.problem!r}: a record has {name} {value:g}, not in [{low:g}, {high:g}]"
        )
