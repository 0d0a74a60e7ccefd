"""Trees held out, by problem and never by tree.

Contract: trees that share a problem's id or a prompt are one problem (`prm.training.split.same_problem`). The
held-out problems are those with the smallest seeded hash, the same on every machine, and serve figures only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from prm.training.layout import Example
from prm.training.split import same_problem
from selftrain.training.units import Item
from tasks.errors import UsageError
from treesearch.seeds import derive


@dataclass(frozen=True, kw_only=True)
class Split:
    """The items of each side, in the order of the data."""

    train: tuple[Item, ...]
    held_out: tuple[Item, ...]


def as_example(item: Item) -> Example:
    """The tree as those parts of `prm.training` see it that count units and ask for their problems."""
    return Example(problem=item.tree.problem, paths=((item.tree.tree.segments[0],),), reads=())


def split_items(items: Sequence[Item], *, holdout: float, seed: int) -> Split:
    """Hold out ``ceil(holdout * problems)`` problems; `UsageError` where that leaves nothing to train on."""
    names = same_problem([as_example(item) for item in items])
    problems = sorted(set(names), key=lambda name: (derive(seed, "holdout", name), name))
    n_held = math.ceil(holdout * len(problems))
    if n_held >= len(problems):
        raise UsageError(
            f"holdout={holdout:g} of {len(problems)} problems leaves none to train on; give more problems or "
            "a smaller share, or holdout=0 for none"
        )
    held = set(problems[:n_held])
    named = list(zip(items, names, strict=True))
    return Split(
        train=tuple(item for item, name in named if name not in held),
        held_out=tuple(item for item, name in named if name in held),
    )
