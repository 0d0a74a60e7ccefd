"""What builders of pairs have in common: candidates, caps, and what the loss is told of a pair.

Contract: a `Candidate` names two nodes that part below one node, the better first, with the values they were
picked by. `PairBuilder.pairs` keeps at most `max_pairs` a problem, those of the largest gap first unless the
builder has an order of its own (equal gaps in the order of their texts), so that a smaller threshold or a
larger cap never takes a pair away. Every pair may carry to the loss (`selftrain.losses.dpo`):

- with `gap_weight` the weight ``q+ - q-`` in place of 1; a pair without a gap above 0 is left out then
  (`gap`: what chose the pair was not the value, or there is none);
- with `gap_offset` s > 0 the offset ``s (q+ - q-)`` (ODPO, arXiv 2402.10571), 0 where that is below 0;
- with `visit_smoothing` the smoothing ``N- / (N+ + N-)``, at most 1/2: conservative where the search was not
  sure (MCTS-DPO, arXiv 2405.00451, section 3.2: 1 / (N+ / N- + 1)); 0 where neither side was visited.

A builder refuses those that would replace or empty what it is about (`unused`).

Texts that are equal never pair, whatever their values and however they were tokenised.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import ClassVar

from selftrain.builders.base import Builder, Tally, require, require_cap
from selftrain.builders.solutions import Solution
from selftrain.builders.values import Rule, evidence, node_value
from selftrain.data.record import Pair
from selftrain.data.searched import Searched
from selftrain.packing.tree import TokenTree
from tasks.errors import UsageError

ROUNDING = 1e-12
"""Gaps within this of a threshold reach it: shares of outcomes are not exact in binary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """Two nodes below `above`, the better one first, and their values where there are any."""

    above: int
    chosen: int
    rejected: int
    q_chosen: float | None = None
    q_rejected: float | None = None
    smoothing: float = 0.0

    @property
    def gap(self) -> float:
        """``q_chosen - q_rejected``; 0 without values."""
        if self.q_chosen is None or self.q_rejected is None:
            return 0.0
        return self.q_chosen - self.q_rejected


@dataclass(frozen=True, kw_only=True)
class PairBuilder(Builder):
    """A builder of pairs; see the module for its settings."""

    unused: ClassVar[frozenset[str]] = frozenset()
    """Settings of all builders of pairs that this one cannot take."""

    max_pairs: int | None = None
    gap_weight: bool = False
    gap_offset: float = 0.0
    visit_smoothing: bool = False

    def __post_init__(self) -> None:
        require_cap("max_pairs", self.max_pairs)
        require("gap_offset", self.gap_offset, self.gap_offset >= 0, "at least 0")
        for entry in fields(self):
            if entry.name in self.unused and getattr(self, entry.name) != entry.default:
                raise UsageError(f"builder {self.name!r} has no use for {entry.name}; leave it out")

    def pairs(
        self, searched: Searched, candidates: Iterable[Candidate], tally: Tally, *, ordered: bool = False
    ) -> list[Pair]:
        """At most `max_pairs` pairs; `ordered` keeps the order given instead of the largest gaps first."""
        found = list(candidates)
        if self.gap_weight:
            apart = [one for one in found if one.gap > 0]
            tally.drop("gap", len(found) - len(apart))
            found = apart
        if not ordered:
            found.sort(key=lambda one: (-one.gap, _texts(searched, one)))
        tally.drop("cap", len(found) - len(found[: self.max_pairs]))
        return [self._pair(searched, one) for one in found[: self.max_pairs]]

    def _pair(self, searched: Searched, one: Candidate) -> Pair:
        visits = searched.visits[one.chosen], searched.visits[one.rejected]
        smoothing = one.smoothing
        if self.visit_smoothing and sum(visits):
            smoothing = min(visits[1] / sum(visits), 0.5)
        return Pair(
            above=one.above,
            chosen=one.chosen,
            rejected=one.rejected,
            q_chosen=one.q_chosen,
            q_rejected=one.q_rejected,
            visits_chosen=visits[0],
            visits_rejected=visits[1],
            weight=one.gap if self.gap_weight else 1.0,
            offset=self.gap_offset * max(one.gap, 0.0),
            smoothing=smoothing,
            kind=self.name,
        )


def _texts(searched: Searched, one: Candidate) -> tuple[tuple[str, ...], ...]:
    paths = (searched.tree.path(node)[1:] for node in (one.chosen, one.rejected))
    return tuple(tuple(searched.texts[node] for node in path) for path in paths)


def parting(tree: TokenTree, one: int, other: int) -> int:
    """The last node that the paths to two nodes have in common."""
    above = set(tree.path(one))
    return next(node for node in reversed(tree.path(other)) if node in above)


def whole(searched: Searched, chosen: Solution, rejected: Solution, smoothing: float = 0.0) -> Candidate:
    """A candidate of two solutions, from where they part."""
    return Candidate(
        above=parting(searched.tree, chosen.node, rejected.node),
        chosen=chosen.node,
        rejected=rejected.node,
        q_chosen=chosen.value,
        q_rejected=rejected.value,
        smoothing=smoothing,
    )


def valued_children(
    searched: Searched, nodes: Sequence[int], rule: Rule, least: int, tally: Tally
) -> list[tuple[int, float]]:
    """Children with different texts and their values, best first; what is left out is counted.

    Of children with one text and one end, the one with most behind its value stays.
    """
    found: list[tuple[int, float]] = []
    for node in nodes:
        value = node_value(searched, node, rule)
        if value is None:
            tally.drop("no_value")
        elif evidence(searched, node, rule) < least:
            tally.drop("few_outcomes")
        else:
            found.append((node, value))
    return best_children(searched, found, rule, tally)


def best_children(
    searched: Searched, found: Sequence[tuple[int, float]], rule: Rule, tally: Tally
) -> list[tuple[int, float]]:
    """Of children with values, those of different texts, best first; the others count as `duplicate`."""
    kept: dict[tuple[str, bool], tuple[int, float]] = {}
    for node, value in sorted(found, key=lambda each: (-evidence(searched, each[0], rule), -each[1])):
        kept.setdefault((searched.texts[node], searched.finished[node]), (node, value))
    tally.drop("duplicate", len(found) - len(kept))
    return sorted(kept.values(), key=lambda each: (-each[1], searched.texts[each[0]]))
