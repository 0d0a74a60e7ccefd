"""Which path of a tree an answer came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from treesearch.tree import Tree


@dataclass(frozen=True, kw_only=True)
class AnswerPath:
    """The node that a solution ends at; `tail` is what a roll-out wrote below it, else empty."""

    node: int
    tail: str = ""


def answer_path(tree: Tree, answer: str | None) -> AnswerPath | None:
    """The best path that gives `answer`; None where the tree has none.

    Paths that give an equal answer (the same canonical form) count; finished nodes come before roll-outs, and
    of equals the one of highest value, then the one with more visits, then the older one.
    """
    if answer is None:
        return None
    leaves = [(node, node.step) for node in tree.leaves() if node.step is not None]
    votes = {step.vote for _, step in leaves if step.answer == answer}
    votes |= {done.vote for done in tree.completions if done.answer == answer}
    found = [node for node, step in leaves if step.vote in votes]
    if found:
        best = max(
            found, key=lambda node: (-1.0 if node.value is None else node.value, node.visits, -node.id)
        )
        return AnswerPath(node=best.id)
    rolled = [done for done in tree.completions if done.vote in votes]
    if not rolled:
        return None
    best_roll = max(rolled, key=lambda done: -1.0 if done.reward is None else done.reward)
    return AnswerPath(node=best_roll.node, tail=best_roll.text)
