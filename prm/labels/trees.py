"""Labels out of the trees of a run: what searching has already found out about its steps.

Contract: `run_trees` folds the journal of a run directory into its trees, with the problems and the task
they are of; it loads no model and writes nothing. `tree_records` makes one record a step: the outcomes at or
below it (finished solutions, and roll-outs of the search) and how many were right, the value and the visits
that were backed up. `tree_chains` are the solutions of a tree as chains of steps, to be labelled by
Monte-Carlo.

Outcomes below a node are of the search's choosing, not of the policy's: where a search prefers good steps
they are too good, and siblings are comparable only as far as they were searched alike. The counts say how
much there is; Monte-Carlo from the same steps says what the policy would do. A node that was visited has the
backed-up value as `value`, else its score. The shortest right way counts steps of the tree, and for a
roll-out the steps that its text is made of.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from prm.labels.completer import Judge, Steps
from prm.labels.record import Ids, StepRecord
from prm.labels.store import merged
from tasks.base import Problem, Task
from tasks.errors import DataError
from treesearch.engines.base import FinishReason
from treesearch.events import Step
from treesearch.formats import Delimiter, delimiter
from treesearch.policy import Policy
from treesearch.run.session import Plan, prepare
from treesearch.run.store import fold_trees, make_header, read_header, refuse_other
from treesearch.tree import Tree

LINE = delimiter("line")
_NO_MODEL = ""


@dataclass(frozen=True, kw_only=True)
class RunTrees:
    """A run's plan, and the trees of its problems as far as they go, in the order of the problems."""

    plan: Plan
    trees: tuple[Tree, ...]

    @property
    def problems(self) -> list[Problem]:
        """The problems that have a tree."""
        return [tree.problem for tree in self.trees]


def run_trees(folder: Path) -> RunTrees:
    """The trees of a run directory; `UsageError` if it is none or its data have changed since."""
    header = read_header(folder)
    plan = prepare(header.resolved)
    refuse_other(folder, make_header(plan.resolved, plan.problems, _NO_MODEL), model=False)
    trees = fold_trees(folder, plan.problems, plan.resolved.config)
    found = tuple(trees[problem.id] for problem in plan.problems if problem.id in trees)
    if not found:
        raise DataError(f"{folder}: no problem was searched yet; there are no trees to label")
    return RunTrees(plan=plan, trees=found)


@dataclass(slots=True)
class _Tally:
    completions: int = 0
    right: int = 0
    shortest: float = math.inf

    def add(self, right: bool, steps: int) -> None:
        self.completions += 1
        self.right += right
        if right:
            self.shortest = min(self.shortest, steps)


async def tree_records(
    tree: Tree,
    task: Task,
    *,
    model: str,
    source: str,
    step: Delimiter = LINE,
    prompt_ids: Ids | None = None,
) -> list[StepRecord]:
    """The records of all steps of a tree, the question first; `source` should name the algorithm.

    Nodes of one path (searches that do not merge equal siblings have several) are one record, counts added.

    `step` is where the policy's steps end. With the ids of the prompt the records hold those of the steps
    too. Raises `DataError` where the problem has no gold to grade against.
    """
    judge = Judge(task=task, problem=tree.problem)
    tallies = [_Tally() for _ in tree.nodes]
    for done in tree.completions:
        tallies[done.node].add(await judge.right(done.answer), _steps_in(done.text, done.tokens, step))
    for node in tree.leaves():
        tallies[node.id].add(await judge.right(node.step.answer if node.step else None), 0)
    for node in reversed(tree.nodes[1:]):
        above, own = tallies[node.parent], tallies[node.id]
        above.completions += own.completions
        above.right += own.right
        above.shortest = min(above.shortest, own.shortest + 1)
    numbers = range(len(tree.nodes))
    return merged(
        [
            _record(tree, number, tallies[number], judge.grader, model, source, prompt_ids)
            for number in numbers
        ]
    )


def _record(
    tree: Tree,
    number: int,
    tally: _Tally,
    grader: str,
    model: str,
    source: str,
    prompt_ids: Ids | None,
) -> StepRecord:
    node, path = tree.nodes[number], tree.path(number)
    texts = tuple(step.text for step in path)
    return StepRecord(
        problem=tree.problem.id,
        question=tree.problem.question,
        prefix=texts[:-1],
        step=texts[-1] if texts else None,
        completions=tally.completions,
        right=tally.right,
        model=model,
        grader=grader,
        source=source,
        finished=node.finished,
        shortest=None if math.isinf(tally.shortest) else int(tally.shortest),
        value=node.q if node.visits else node.value,
        visits=node.visits,
        prompt_ids=prompt_ids,
        step_ids=None if prompt_ids is None else tuple(step.token_ids for step in path),
    )


def _steps_in(text: str, tokens: int, step: Delimiter) -> int:
    """How many steps a roll-out's text is made of: at least one."""
    if step.tokens:
        return max(1, math.ceil(tokens / step.tokens))
    stop = step.stop[0]
    return max(1, text.count(stop) + (not text.endswith(stop)))


def tree_chains(tree: Tree) -> list[Steps]:
    """The paths to all leaves of a tree, finished or not, in the order of adding."""
    ends: Sequence[int] = [node.id for node in tree.nodes[1:] if not node.children]
    return [tree.path(end) for end in ends]


def parse_steps(lines: Sequence[str], policy: Policy) -> tuple[Step, ...]:
    """Steps written by somebody else, as steps of the policy: encoded by its tokenizer, one by one.

    The last one is not taken for finished, so that it is completed like the others.
    """
    encode = policy.engine.tokenizer.encode
    return tuple(Step(line, tuple(encode(line)), (), FinishReason.STOP) for line in lines)
