"""Labels of a model that judges: where the solutions of a tree first go wrong, by a process-reward model.

Contract: `judged_records` scores every solution of a tree with a `StepScorer`. A verdict is the first step
whose score is below the threshold; there is one a solution, or one a sample of a generative judge. Verdicts
become counts by `prm.labels.judge.judge_records`, and those on a step that solutions share are added. Steps
that no verdict reaches have records without outcomes, so that rows keep whole solutions; so has the question,
whose record marks the problem as done. Steps without text are not judged.

The threshold is the caller's, by default that of the judge's family (`prm.scoring.base.usual_threshold`).
It reads no gold answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from prm.labels.completer import texts
from prm.labels.judge import ALL_RIGHT, judge_records
from prm.labels.record import StepRecord
from prm.labels.store import merged
from prm.labels.trees import tree_chains
from prm.scoring.base import StepScorer, StepScores, convention_of, usual_threshold
from tasks.errors import UsageError
from treesearch.together import together
from treesearch.tree import Tree

GENERATIVE = "generative"
"""Name of the scorer whose members are samples."""


async def judged_records(
    tree: Tree,
    scorer: StepScorer,
    *,
    judge: str,
    threshold: float | None = None,
    on_tokens: Callable[[int], None] = lambda _: None,
) -> list[StepRecord]:
    """The records of a tree's solutions by `judge`, the question's first; see the module.

    A step whose score is below `threshold` counts as wrong; None: below the usual one of the judge's family,
    `UsageError` where it has none.
    """
    limit = usual_threshold(scorer)[0] if threshold is None else threshold
    unknown = threshold is None and convention_of(scorer) is None
    problem = tree.problem
    chains = [chain for chain in dict.fromkeys(map(texts, tree_chains(tree))) if any(map(str.strip, chain))]
    asked = [[step for step in chain if step.strip()] for chain in chains]
    replies = await together([scorer.score(problem.question, steps) for steps in asked])
    records: list[StepRecord] = []
    for chain, reply in zip(chains, replies, strict=True):
        on_tokens(reply.tokens)
        if unknown and not all(0 <= score <= 1 for score in reply.scores):
            raise UsageError("the judge's scores are no probabilities; give --threshold X")
        written = [index for index, step in enumerate(chain) if step.strip()]
        errors = [
            at if at == ALL_RIGHT else written[at]
            for at in verdicts(reply, limit, samples=scorer.name == GENERATIVE)
        ]
        records += judge_records(problem.id, problem.question, chain, errors, judge=judge)
        records += [_empty(tree, chain[:length], judge) for length in range(1, len(chain) + 1)]
    return merged([_empty(tree, (), judge), *records])


def verdicts(reply: StepScores, threshold: float, *, samples: bool) -> list[int]:
    """The index of the first step below `threshold`, or -1: by the scores, or by each of several samples."""
    columns = zip(*reply.members, strict=True) if samples and reply.members else [reply.scores]
    found: list[int] = []
    for scores in columns:
        wrong = (index for index, score in enumerate(scores) if score < threshold)
        found.append(next(wrong, ALL_RIGHT))
    return found


def _empty(tree: Tree, path: Sequence[str], judge: str) -> StepRecord:
    """A record of `path` without outcomes."""
    return StepRecord(
        problem=tree.problem.id,
        question=tree.problem.question,
        prefix=tuple(path[:-1]),
        step=path[-1] if path else None,
        completions=0,
        right=0,
        model=judge,
        grader="",
        source=f"judge:{judge}",
    )
