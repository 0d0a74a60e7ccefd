"""A searched tree as builders see it: ids, texts, what the search knew of each node, and the grades.

Contract: `Searched` is everything that a builder may look at; a builder is a pure function of it. Node
numbers are those of the tree. `read_tree` makes it of a `treesearch.Tree` and grades its solutions with the
gold. `selftrain.builders.session.read_runs` makes it of all trees of run directories.

It keeps no roll-outs: a completion's tokens are not in the tree. Their grades are, in `right` and `outcomes`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from prm.labels.completer import Judge
from selftrain.packing.tree import TokenTree, token_tree
from tasks.base import Problem, Task
from tasks.errors import DataError, UsageError
from treesearch.tree import ROOT, Tree


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """One searched problem. All per-node tuples have one entry a node, node 0 being the prompt.

    `texts[0]` is the prompt's text, `texts[i]` the text of step i. `finished[i]`: step i ended the text.
    `correct[i]` is the grade of the answer of a finished step (no answer is wrong), None elsewhere.
    `outcomes[i]` counts the solutions at or below node i (finished leaves and roll-outs), `right[i]` how many
    of them were right. `values[i]` is the value source's score, None without one; `q[i]` the backed-up value
    over `visits[i]` visits (0 with 0 visits). `answers[i]` is the canonical answer of a finished step.
    """

    problem: Problem
    tree: TokenTree
    texts: tuple[str, ...]
    finished: tuple[bool, ...]
    correct: tuple[bool | None, ...]
    answers: tuple[str | None, ...]
    outcomes: tuple[int, ...]
    right: tuple[int, ...]
    values: tuple[float | None, ...]
    q: tuple[float, ...]
    visits: tuple[int, ...]

    def __post_init__(self) -> None:
        count = len(self.tree)
        for name in ("texts", "finished", "correct", "answers", "outcomes", "right", "values", "q", "visits"):
            if len(getattr(self, name)) != count:
                raise UsageError(f"{count} nodes but {len(getattr(self, name))} entries of {name}")

    @property
    def solutions(self) -> list[int]:
        """The finished nodes, in the order of adding."""
        return [node for node, ended in enumerate(self.finished) if ended]

    def worth(self, node: int) -> float | None:
        """What the search thought of a node: the backed-up value where it was visited, else its score."""
        return self.q[node] if self.visits[node] else self.values[node]

    def downwards(self, node: int) -> tuple[bool, float]:
        """Sorting key of a node: the largest worth first, nodes of which nothing is known last."""
        worth = self.worth(node)
        return worth is None, -(worth or 0.0)


async def read_tree(
    tree: Tree,
    task: Task,
    *,
    prompt_ids: Sequence[int],
    prompt: str,
    end_ids: Collection[int],
    require_gold: bool = True,
) -> Searched:
    """Grade a tree's solutions and roll-outs with the gold and lay it out for builders.

    `prompt_ids`, `end_ids`: see `token_tree`; `prompt` is the text of it. A problem without a gold to grade
    against is `DataError`, or with `require_gold` false a tree without grades and outcomes.
    """
    correct, outcomes, right = await _grade(tree, Judge(task=task, problem=tree.problem), require_gold)
    return Searched(
        problem=tree.problem,
        tree=token_tree(tree, prompt_ids, end_ids=end_ids),
        texts=(prompt, *(node.step.text if node.step else "" for node in tree.nodes[ROOT + 1 :])),
        finished=tuple(node.finished for node in tree.nodes),
        correct=tuple(correct),
        answers=tuple(node.step.vote if node.finished and node.step else None for node in tree.nodes),
        outcomes=tuple(outcomes),
        right=tuple(right),
        values=tuple(node.value for node in tree.nodes),
        q=tuple(node.q for node in tree.nodes),
        visits=tuple(node.visits for node in tree.nodes),
    )


async def _grade(
    tree: Tree, judge: Judge, require_gold: bool
) -> tuple[list[bool | None], list[int], list[int]]:
    """Grades of finished nodes, and of each node the outcomes at or below it and how many were right."""
    correct: list[bool | None] = [None] * len(tree.nodes)
    outcomes, right = [0] * len(tree.nodes), [0] * len(tree.nodes)
    try:
        for done in tree.completions:
            right[done.node] += await judge.right(done.answer)
            outcomes[done.node] += 1
        for node in tree.nodes[1:]:
            if node.finished and node.step is not None:
                correct[node.id] = await judge.right(node.step.answer)
                outcomes[node.id] += 1
                right[node.id] += bool(correct[node.id])
    except DataError:
        if require_gold:
            raise
        # A gold that cannot be read comes to light at the first real answer: missing ones are wrong before.
        nothing = [0] * len(tree.nodes)
        return [None] * len(tree.nodes), nothing, nothing
    for node in reversed(tree.nodes[1:]):
        outcomes[node.parent] += outcomes[node.id]
        right[node.parent] += right[node.id]
    return correct, outcomes, right
