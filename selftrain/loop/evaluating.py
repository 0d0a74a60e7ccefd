"""Measuring a model on frozen problems: a number of ordinary runs with fixed seeds, graded by the task.

Contract: `evaluate_sets` searches every set `samples` times, with a seed for each sample that derives from
the set's alone, so that two models meet the same draws. A problem counts as right in a sample if the answer
that the search gives is. Problems that end with an error are an error of the stage: a model must not win
because the other one's server was down.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from selftrain.loop.context import StageError
from selftrain.loop.gate import Evaluation, Measured
from selftrain.loop.manifest import Costs
from selftrain.loop.searching import SearchJob, search_sets
from selftrain.loop.watch import Watch
from tasks.base import Verdict
from treesearch.seeds import derive

_SHOWN = 3


async def evaluate_sets(
    job: SearchJob, folder: Path, watch: Watch, *, samples: int
) -> tuple[Evaluation, Costs]:
    """Right answers of every problem by set, out of `samples`, and what it took; see the module."""
    each = tuple(
        replace(one, name=f"{one.name}-{sample}", seed=derive(one.seed, "sample", sample))
        for one in job.sets
        for sample in range(samples)
    )
    found = await search_sets(replace(job, sets=each), folder, watch)
    failed = [f"{name}: {why}" for searched in found.values() for name, why in searched.failed.items()]
    if failed:
        raise StageError(
            f"{len(failed)} held-out problems ended with an error ({'; '.join(failed[:_SHOWN])}); resuming "
            "tries them again"
        )
    evaluation: dict[str, Measured] = {}
    for one in job.sets:
        right: dict[str, int] = {}
        for sample in range(samples):
            for row in found[f"{one.name}-{sample}"].rows:
                good = row["verdict"] == Verdict.CORRECT.value
                right[row["id"]] = right.get(row["id"], 0) + good
        evaluation[one.name] = Measured(samples=samples, right=dict(sorted(right.items())))
    costs = sum((searched.costs for searched in found.values()), Costs())
    return evaluation, costs
