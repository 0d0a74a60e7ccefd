"""Log-probs of the steps that training prefers, before and after it: a known way for DPO to fail.

DPO only widens the gap between chosen and rejected; it often does so by making both unlikelier, the chosen
ones too (Pal et al. 2024, arXiv 2402.13228; Razin et al. 2024, arXiv 2410.08847).

Contract: `chosen_logprobs` reads the pairs and traces of training trees. `before` are the log-probs stored at
generation, `after` those under the trained model: for each tree the sum of each node's tokens, as
`selftrain.packing.EdgeScorer` gives them. A side of a pair is the chain of steps below the pair's `above`.
Pairs and traces with a log-prob missing (None or NaN) are left out and counted.

- ``chosen.before``, ``rejected.before``, ``traces.before``: mean log-prob a token, each side weighing by its
  tokens; the same with ``.after``;
- ``margin.before``: mean of chosen less rejected sums of a pair; ``margin.after``;
- ``chosen.fell``: share of pairs whose chosen side is less likely after training.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from selftrain.data.record import TrainingTree
from tasks.errors import UsageError

_Sums = Sequence[float | None]
"""The log-prob of each node of a tree, None or NaN where it is not known."""


@dataclass(frozen=True, slots=True)
class _Side:
    """A chain of steps: its tokens and its log-prob before and after, None where not known."""

    tokens: int
    before: float | None
    after: float | None


def chosen_logprobs(
    trees: Sequence[TrainingTree], after: Sequence[Sequence[float]] | None = None
) -> dict[str, float]:
    """The figures of the module; those ``after`` only where `after` is given, and none without a record.

    `UsageError` where `after` has another shape than `trees`.
    """
    if after is not None and [len(each) for each in after] != [len(one.tree) for one in trees]:
        raise UsageError("after must hold one log-prob for every node of every tree")
    pairs: list[tuple[_Side, _Side]] = []
    traces: list[_Side] = []
    for number, one in enumerate(trees):
        now = after[number] if after is not None else None
        for pair in one.pairs:
            sides = (_side(one, one.tree.below(pair.above, end), now) for end in (pair.chosen, pair.rejected))
            pairs.append((next(sides), next(sides)))
        for trace in one.traces:
            if trace.right is not False:
                traces.append(_side(one, one.learned(trace), now))
    return _figures(pairs, traces, trained=after is not None)


def _figures(
    pairs: Sequence[tuple[_Side, _Side]], traces: Sequence[_Side], *, trained: bool
) -> dict[str, float]:
    known = [pair for pair in pairs if all(_known(side, trained) for side in pair)]
    learned = [side for side in traces if _known(side, trained)]
    found: dict[str, float] = {}
    for name, total, kept in (("pairs", pairs, known), ("traces", traces, learned)):
        if total:
            found |= {name: len(kept), f"{name}_unknown": len(total) - len(kept)}
    for when in ("before", "after") if trained else ("before",):
        for name, sides in (
            ("chosen", [chosen for chosen, _ in known]),
            ("rejected", [rejected for _, rejected in known]),
            ("traces", learned),
        ):
            tokens = sum(side.tokens for side in sides)
            if tokens:
                found[f"{name}.{when}"] = math.fsum(_sum(side, when) for side in sides) / tokens
        if known:
            gaps = (_sum(chosen, when) - _sum(rejected, when) for chosen, rejected in known)
            found[f"margin.{when}"] = math.fsum(gaps) / len(known)
    if trained and known:
        fell = sum(_sum(chosen, "after") < _sum(chosen, "before") for chosen, _ in known)
        found["chosen.fell"] = fell / len(known)
    return found


def _side(tree: TrainingTree, steps: Sequence[int], now: _Sums | None) -> _Side:
    stored = tree.tree.logprobs
    sums = [None if not stored or (row := stored[node]) is None else math.fsum(row) for node in steps]
    return _Side(
        tokens=sum(len(tree.tree.segments[node]) for node in steps),
        before=_total(sums),
        after=None if now is None else _total([now[node] for node in steps]),
    )


def _total(sums: _Sums) -> float | None:
    known = [one for one in sums if one is not None and not math.isnan(one)]
    return math.fsum(known) if len(known) == len(sums) else None


def _known(side: _Side, trained: bool) -> bool:
    return side.before is not None and (side.after is not None or not trained)


def _sum(side: _Side, when: str) -> float:
    found = side.before if when == "before" else side.after
    return found if found is not None else math.nan
