"""Drift of solutions: their tokens and steps, and how both moved since the first iteration.

Contract: `shape` describes the solutions of some trees; `drift` compares two iterations on the problems that
both searched, because another draw of problems moves lengths by itself. All solutions count, right or wrong;
a problem counts once, by its mean. A ratio of 1 is no drift. Nothing in common: no ratios, `problems` 0.

Growing length without growing accuracy is a usual sign of a reward that pays for length, and a falling number
of steps of one that pays for guessing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from selftrain.data.searched import Searched

_Lengths = dict[str, list[tuple[int, int]]]
"""Tokens and steps of each solution, by problem."""


def shape(searched: Sequence[Searched]) -> dict[str, float]:
    """``tokens`` and ``steps`` of a solution: means over problems, and the 90th percentile of solutions.

    Empty without a solution.
    """
    lengths = _lengths(searched)
    if not lengths:
        return {}
    tokens = sorted(tokens for found in lengths.values() for tokens, _ in found)
    steps = sorted(steps for found in lengths.values() for _, steps in found)
    means = _means(lengths)
    return {
        "solutions": len(tokens),
        "tokens": _mean([each for each, _ in means.values()]),
        "tokens_p90": tokens[math.ceil(0.9 * len(tokens)) - 1],
        "steps": _mean([each for _, each in means.values()]),
        "steps_p90": steps[math.ceil(0.9 * len(steps)) - 1],
    }


def drift(searched: Sequence[Searched], first: Sequence[Searched]) -> dict[str, float]:
    """``tokens_ratio`` and ``steps_ratio``: now over the first iteration, on the problems of both."""
    now, then = _means(_lengths(searched)), _means(_lengths(first))
    common = sorted(now.keys() & then.keys())
    found: dict[str, float] = {"problems": len(common)}
    for place, name in enumerate(("tokens_ratio", "steps_ratio")):
        before = math.fsum(then[problem][place] for problem in common)
        if before:
            found[name] = math.fsum(now[problem][place] for problem in common) / before
    return found


def _lengths(searched: Sequence[Searched]) -> _Lengths:
    found: _Lengths = {}
    for one in searched:
        for node in one.solutions:
            path = one.tree.path(node)[1:]
            tokens = sum(len(one.tree.segments[each]) for each in path)
            found.setdefault(one.problem.id, []).append((tokens, len(path)))
    return found


def _means(lengths: _Lengths) -> dict[str, tuple[float, float]]:
    return {
        problem: (_mean([tokens for tokens, _ in found]), _mean([steps for _, steps in found]))
        for problem, found in lengths.items()
    }


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
