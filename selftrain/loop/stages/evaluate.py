"""Stage `evaluate`: a system on the frozen held-out problems. Iteration 0 measures the base.

``evaluation.json`` says of every problem how many of the samples were right. Seeds and problems are the same
in every iteration, so any two of these files can be compared in pairs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from selftrain.loop.context import Context
from selftrain.loop.gate import Evaluation, Measured
from selftrain.loop.hashing import file_hash
from selftrain.loop.manifest import Done, Manifest, file_output
from selftrain.loop.problems import HELDOUT
from selftrain.loop.searching import ProblemFile, SearchJob
from selftrain.loop.stages.decontaminate import problems_path
from selftrain.loop.stages.search import with_value
from selftrain.loop.state import System
from treesearch.atomic import write_json

NAME = "evaluate"
FILE = "evaluation.json"


async def evaluate(run: Context, iteration: int, system: System) -> Manifest:
    """Measure `system`."""
    part = run.config.evaluate
    sets = tuple(
        ProblemFile(
            name=name,
            task=run.config.task(name).task,
            path=problems_path(run, name, HELDOUT),
            seed=run.seed(NAME, name),
        )
        for name in run.config.heldout
    )
    inputs = {f"problems/{each.name}": file_hash(each.path) for each in sets}
    inputs["policy"] = system.policy.hash
    if system.evaluate_value is not None:
        inputs["value"] = system.evaluate_value.hash
    free = ("concurrency",)
    settings = {
        "evaluate": {key: value for key, value in asdict(part).items() if key not in free},
        "engine": asdict(run.config.engine),
    }

    async def work(folder: Path) -> Done:
        job = job_of(run, system, sets)
        evaluation, costs = await run.parts.get("evaluate")(job, folder, run.watch, samples=part.samples)
        write_json(folder / FILE, {name: asdict(found) for name, found in evaluation.items()})
        accuracy = {name: found.accuracy for name, found in evaluation.items()}
        return Done(
            outputs={"evaluation": file_output(folder, FILE)}, results={"accuracy": accuracy}, costs=costs
        )

    return await run.stage(NAME, iteration, work, inputs=inputs, settings=settings, seed=run.seed(NAME))


def job_of(run: Context, system: System, sets: tuple[ProblemFile, ...]) -> SearchJob:
    """The evaluation of a system as a search."""
    part = run.config.evaluate
    value, settings = part.value, dict(part.settings)
    if system.evaluate_value is not None and run.config.prm is not None:
        value, settings = with_value(settings, system.evaluate_value, run.config.prm.value)
    return SearchJob(
        model=system.policy.place,
        sets=sets,
        engine=run.config.engine,
        algorithm=part.algorithm,
        value=value,
        settings=settings,
        budgets={"tokens": part.budget_tokens},
        concurrency=part.concurrency,
    )


def read_evaluation(folder: Path) -> Evaluation:
    """The evaluation that a finished stage's folder holds."""
    content: Mapping[str, Any] = json.loads((folder / FILE).read_text(encoding="utf-8"))
    return {name: Measured(**found) for name, found in content.items()}
