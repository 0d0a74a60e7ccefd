"""The solutions of a searched tree as builders choose among them: best first, each text once.

Contract: `solutions` lists the finished paths, best first by a value rule; those without a value come last,
equal ones are in the order of their texts, so that the order does not depend on the tree's numbering.
`distinct` keeps the first of equal texts. `graded` and `sides` count problems that teach nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from selftrain.builders.base import Tally
from selftrain.builders.values import Rule, node_value
from selftrain.data.searched import Searched
from selftrain.packing.tree import Ids

Same = Literal["text", "steps"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """A finished path.

    `node` is its last step, `path` its nodes without the prompt, `steps` their texts, `ids` all its tokens.
    `times` is how often it was found, at least 1.
    """

    node: int
    path: tuple[int, ...]
    steps: tuple[str, ...]
    ids: Ids
    value: float | None
    right: bool | None
    times: int

    @property
    def text(self) -> str:
        """The whole solution."""
        return "".join(self.steps)


def solutions(searched: Searched, rule: Rule) -> list[Solution]:
    """All finished paths, best first; see the module."""
    found: list[Solution] = []
    for node in searched.solutions:
        path = tuple(searched.tree.path(node)[1:])
        found.append(
            Solution(
                node=node,
                path=path,
                steps=tuple(searched.texts[one] for one in path),
                ids=tuple(token for one in path for token in searched.tree.segments[one]),
                value=node_value(searched, node, rule),
                right=searched.correct[node],
                times=max(1, searched.outcomes[node]),
            )
        )
    return sorted(found, key=best_first)


def best_first(one: Solution) -> tuple[bool, float, str, tuple[str, ...]]:
    """Sorting key: value downwards, without one last; then text and steps."""
    return one.value is None, -(one.value or 0.0), one.text, one.steps


def valued(found: Sequence[Solution], tally: Tally) -> list[Solution]:
    """Those with a value; the others are counted as `no_value`."""
    kept = [one for one in found if one.value is not None]
    if len(kept) < len(found):
        tally.drop("no_value", len(found) - len(kept))
    return kept


def distinct(found: Sequence[Solution], tally: Tally, same: Same = "text") -> list[Solution]:
    """The first solution of each text, or of each sequence of steps, found as often as all of these.

    The others are counted as `duplicate`.
    """
    kept: dict[object, Solution] = {}
    for one in found:
        key = one.text if same == "text" else one.steps
        kept[key] = replace(kept[key], times=kept[key].times + one.times) if key in kept else one
    if len(kept) < len(found):
        tally.drop("duplicate", len(found) - len(kept))
    return list(kept.values())


def graded(searched: Searched, tally: Tally) -> bool:
    """Whether the problem has a graded solution; else counts `no_solution` or `no_gold`."""
    if not searched.solutions:
        tally.drop("no_solution")
        return False
    if all(searched.correct[node] is None for node in searched.solutions):
        tally.drop("no_gold")
        return False
    return True


def sides(found: Sequence[Solution], tally: Tally) -> tuple[list[Solution], list[Solution]] | None:
    """Right and wrong solutions; None, counted, where a side is empty."""
    right = [one for one in found if one.right]
    wrong = [one for one in found if one.right is False]
    if not right:
        tally.drop("no_right")
    elif not wrong:
        tally.drop("no_wrong")
    return (right, wrong) if right and wrong else None


def best_right(searched: Searched, rule: Rule, cap: int | None, tally: Tally) -> list[Solution]:
    """The `cap` best different right solutions; empty, counted, where there is none or nothing was graded."""
    if not graded(searched, tally):
        return []
    right = distinct([one for one in solutions(searched, rule) if one.right], tally)
    if not right:
        tally.drop("no_right")
    taken = right[:cap]
    tally.drop("cap", len(right) - len(taken))
    return taken
