"""Hold out by problem, never by row.

Contract: rows that share an id or a prompt are one problem, so no problem is on two sides even where ids
number solutions or one problem has two ids. The held-out problems are those with the smallest seeded hash, so
the split is the same on every machine; they are dealt in turn to `tune` (selection, early stopping,
calibration) and to `test` (reported figures, used for no choice).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from prm.training.layout import Example
from tasks.errors import UsageError
from treesearch.seeds import derive


@dataclass(frozen=True, kw_only=True)
class Split:
    """Examples of each side; `problem` is the name that `same_problem` gives."""

    train: tuple[Example, ...]
    tune: tuple[Example, ...] = ()
    test: tuple[Example, ...] = ()


def same_problem(examples: Sequence[Example]) -> list[str]:
    """For each example a name of its problem: the least id among all rows linked by an id or a prompt."""
    parent: dict[object, object] = {}

    def find(key: object) -> object:
        parent.setdefault(key, key)
        while parent[key] != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    for example in examples:
        parent[find(example.problem)] = find(example.paths[0][0])
    least: dict[object, str] = {}
    for example in examples:
        root = find(example.problem)
        least[root] = min(least.get(root, example.problem), example.problem)
    return [least[find(example.problem)] for example in examples]


def split_by_problem(examples: Sequence[Example], *, holdout: float, seed: int) -> Split:
    """Hold out ``ceil(holdout * problems)`` problems; `UsageError` where that leaves a side without any."""
    names = same_problem(examples)
    named = [replace(example, problem=name) for example, name in zip(examples, names, strict=True)]
    problems = sorted(set(names), key=lambda name: (derive(seed, "holdout", name), name))
    n_held = math.ceil(holdout * len(problems))
    if holdout and (n_held < 2 or n_held >= len(problems)):
        raise UsageError(
            f"holdout={holdout:g} of {len(problems)} problems leaves a side empty; give more problems or "
            "another share, or holdout=0 for none"
        )
    side = {name: number % 2 for number, name in enumerate(problems[:n_held])}
    return Split(
        train=tuple(example for example in named if example.problem not in side),
        tune=tuple(example for example in named if side.get(example.problem) == 0),
        test=tuple(example for example in named if side.get(example.problem) == 1),
    )
