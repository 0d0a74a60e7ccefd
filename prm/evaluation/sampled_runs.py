"""The samples of a run, for best-of-N curves: what `search solve --algorithm self-consistency` drew.

Contract: `sampled_run` reads a run directory and makes a `SampledProblem` of every problem searched: each of
its chains is a sample, with its steps, whether its answer is right, and the tokens it took; a chain that was
cut off is a wrong sample without an answer. Only runs of `ALGORITHMS` are taken: their samples are
independent draws, which is what the expectations over subsets assume; the leaves of a tree search are not.

It loads no model. Grading reads the gold where the task needs one.
"""

from __future__ import annotations

from pathlib import Path

from prm.evaluation.best_of_n import Candidate, SampledProblem
from tasks.errors import UsageError
from tasks.math import shutdown

ALGORITHMS = ("self-consistency", "best-of-n")


async def sampled_run(folder: Path) -> list[SampledProblem]:
    """The samples of a run; `UsageError` if the directory is no run, or one of another algorithm."""
    # Labels are built on the rows of this package, so they are imported when they are needed.
    from prm.labels.completer import Judge, texts, token_count
    from prm.labels.trees import run_trees

    found = run_trees(folder)
    algorithm = found.plan.resolved.config.algorithm
    if algorithm not in ALGORITHMS:
        raise UsageError(
            f"{folder} is a run of {algorithm}, whose solutions are no independent samples; "
            f"take one of {' or '.join(ALGORITHMS)}"
        )
    problems: list[SampledProblem] = []
    try:
        for tree in found.trees:
            judge = Judge(task=found.plan.task, problem=tree.problem)
            candidates: list[Candidate] = []
            for path in (tree.path(node.id) for node in tree.nodes[1:] if not node.children):
                last = path[-1]
                candidates.append(
                    Candidate(
                        steps=texts(path),
                        right=await judge.right(last.answer),
                        answer=last.vote,
                        tokens=token_count(path),
                    )
                )
            if not candidates:
                raise UsageError(f"{folder}: problem {tree.problem.id!r} has no sample; finish the run first")
            problems.append(
                SampledProblem(
                    id=tree.problem.id, question=tree.problem.question, candidates=tuple(candidates)
                )
            )
    finally:
        shutdown()
    return problems
