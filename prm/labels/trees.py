"""Labels out of the trees of a run: what searching has already found out about its steps.

Contract: `run_trees` folds the journal of a run directory into its trees, with the problems and the task
they are of; it loads no model and writes nothing. `tree_records` makes one record a step: the outcomes at or
below it (finished solutions, and roll-outs of the search) and how many were right, the value and the visits
that were backed up. `tree_chains` are the solutions of a tree as chains of steps, to be labelled by
Monte-Carlo; `readable_chains` are those of all trees with ids that a given policy reads as their texts.

Outcomes below a node are of the search's choosing, not of the policy's: where a search prefers good steps
they are too good, and siblings are comparable only as far as they were searched alike. The counts say how
much there is; Monte-Carlo from the same steps says what the policy would do. A node that was visited has the
backed-up value as `value`, else its score. The shortest right way counts steps of the tree, and for a
roll-out the steps that its text is made of.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from prm.labels.completer import Judge, Steps, texts
from prm.labels.record import Ids, StepRecord
from prm.labels.store import merged
from tasks.base import Problem, Task
from tasks.errors import DataError, UsageError
from treesearch.engines.base import FinishReason, Tokenizer
from treesearch.events import Step
from treesearch.formats import Delimiter, delimiter
from treesearch.policy import Policy
from treesearch.run.plan import Plan, prepare
from treesearch.run.store import fold_trees, make_header, read_header, refuse_other
from treesearch.tree import Tree

LINE = delimiter("line")
_NO_MODEL = ""
_ANCHOR = "\n"


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
    written = texts(path)
    return StepRecord(
        problem=tree.problem.id,
        question=tree.problem.question,
        prefix=written[:-1],
        step=written[-1] if written else None,
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


def readable_chains(trees: Sequence[Tree], policy: Policy) -> dict[str, list[Steps]]:
    """`tree_chains` by problem, with token ids of the policy's tokenizer.

    Where that is the run's tokenizer, which reads every chain's ids as its text, the ids stay; else all
    chains are written anew from their text. `UsageError` where that loses some of the text.
    """
    found = {tree.problem.id: tree_chains(tree) for tree in trees}
    if all(_reads(policy.engine.tokenizer, chain) for chains in found.values() for chain in chains):
        return found
    return {name: [_rewritten(chain, policy) for chain in chains] for name, chains in found.items()}


def parse_steps(lines: Sequence[str], policy: Policy) -> tuple[Step, ...]:
    """Steps written by somebody else, as steps of the policy: encoded by its tokenizer, one by one.

    The last one is not taken for finished, so that it is completed like the others. `UsageError` for a step
    that the tokenizer cannot write.
    """
    return tuple(Step(line, _encoded(line, policy), (), FinishReason.STOP) for line in lines)


def _rewritten(chain: Steps, policy: Policy) -> Steps:
    """A chain with the policy's ids: texts, answer and ends stay, the log-probs of the other model do not."""
    end = policy.engine.tokenizer.eos_token_id
    written: list[Step] = []
    for old, new in zip(chain, parse_steps(texts(chain), policy), strict=True):
        closed = (end,) if old.finish is FinishReason.END and end is not None else ()
        written.append(replace(old, token_ids=(*new.token_ids, *closed), logprobs=(), certainty=None))
    return tuple(written)


def _encoded(text: str, policy: Policy) -> tuple[int, ...]:
    """Ids that go on with `text` behind other text, where a tokenizer may put a blank in front of its own."""
    tokenizer = policy.engine.tokenizer
    before = tokenizer.encode(_ANCHOR)
    alone, behind = tokenizer.encode(text), tokenizer.encode(_ANCHOR + text)
    tried = [alone, behind[len(before) :]] if behind[: len(before)] == before else [alone]
    for ids in tried:
        if _texts_of(tokenizer, ids)[-1:] == [text]:
            return tuple(ids)
    raise UsageError(
        f"the tokenizer of {policy.engine.model!r} cannot write the step {text[:60]!r} as it stands; "
        "complete the run's steps with a model of the run's own tokenizer"
    )


def _reads(tokenizer: Tokenizer, chain: Steps) -> bool:
    """Whether a tokenizer reads the ids of a chain as its text, taken together or step by step."""
    whole = _texts_of(tokenizer, [token for step in chain for token in step.token_ids])
    return "".join(texts(chain)) in whole or all(
        step.text in _texts_of(tokenizer, step.token_ids) for step in chain
    )


def _texts_of(tokenizer: Tokenizer, ids: Sequence[int]) -> list[str]:
    """What the ids say: at the front of a text and, last, behind other text; nothing where they are none."""
    ways = [tokenizer.decode, getattr(tokenizer, "continuation", tokenizer.decode)]
    try:
        return [way(ids) for way in ways]
    except (ValueError, OverflowError, TypeError, IndexError):  # each tokenizer has its own for foreign ids
        return []
