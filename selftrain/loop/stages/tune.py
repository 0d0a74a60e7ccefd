"""Stage `tune`: temperature and threshold of an iteration, by the balance of exploration and exploitation.

Some training problems are sampled with the current model at every temperature and graded; the balance score
(`selftrain.monitors.choose_configuration`, B-STaR) chooses a temperature and a threshold T of the reward

    1[right] + weight * value

The temperature is that of the iteration's search. Builders train on right solutions, so that their least
value is (T - 1) / weight. ``balance.json`` holds all scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from selftrain.data.searched import Searched
from selftrain.loop.context import Context, StageError
from selftrain.loop.hashing import file_hash
from selftrain.loop.manifest import Costs, Done, file_output
from selftrain.loop.problems import TRAIN, choose, freeze, thaw
from selftrain.loop.searching import ProblemFile, SearchJob
from selftrain.loop.sections import TunePart
from selftrain.loop.stages.decontaminate import problems_path
from selftrain.loop.state import System, quarantined
from selftrain.monitors import Query, Sample, choose_configuration, samples_of
from treesearch.atomic import write_json

NAME = "tune"
FILE = "balance.json"
Tuned = Mapping[str, Mapping[str, Any]]
"""Settings that an iteration chose: of its `search`, and of its `builder`."""


async def tune(run: Context, iteration: int, system: System, part: TunePart) -> Tuned:
    """Choose; returns the settings chosen."""
    inputs = {"policy": system.policy.hash}
    for task in run.config.trained:
        inputs[f"problems/{task}"] = file_hash(problems_path(run, task, TRAIN))
    settings = {"tune": asdict(part), "engine": asdict(run.config.engine)}

    async def work(folder: Path) -> Done:
        sets = _sets(run, iteration, part, folder)
        sampled: dict[float, Sequence[Query]] = {}
        costs = Costs()
        for temperature in part.temperatures:
            sampled[temperature], spent = await _sampled(run, system, part, sets, temperature, folder)
            costs += spent
        chosen = choose_configuration(sampled, part.thresholds, wanted=part.wanted, weight=part.weight)
        rows = [
            {"temperature": heat, "threshold": limit, "balance": score}
            for heat, row in chosen.scores.items()
            for limit, score in row.items()
        ]
        write_json(folder / FILE, {"scores": rows})
        return Done(
            outputs={"balance": file_output(folder, FILE)},
            results={
                "temperature": chosen.temperature,
                "threshold": chosen.threshold,
                "balance": chosen.score,
                "least_value": (chosen.threshold - 1) / part.weight,
            },
            costs=costs,
        )

    found = await run.stage(
        NAME, iteration, work, inputs=inputs, settings=settings, seed=run.seed(iteration, NAME)
    )
    return {
        "search": {"policy.temperature": found.results["temperature"]},
        "builder": {part.setting: found.results["least_value"]},
    }


def _sets(run: Context, iteration: int, part: TunePart, folder: Path) -> tuple[ProblemFile, ...]:
    """The problems that are sampled, of each task an equal share."""
    left_out = quarantined(run.folder, iteration, run.config.quarantine)
    share = max(1, part.problems // len(run.config.trained))
    found: list[ProblemFile] = []
    for name in run.config.trained:
        task = run.config.task(name).task
        seed = run.seed(iteration, NAME, name)
        problems = choose(
            thaw(problems_path(run, name, TRAIN), task),
            without=left_out.get(name, set()),
            most=share,
            turn=0,
            seed=seed,
        )
        if problems:
            path = folder / "problems" / f"{name}.jsonl"
            freeze(path, problems, task)
            found.append(ProblemFile(name=name, task=task, path=path, seed=seed))
    if not found:
        raise StageError("every training problem is in quarantine; give the run more problems")
    return tuple(found)


async def _sampled(
    run: Context,
    system: System,
    part: TunePart,
    sets: tuple[ProblemFile, ...],
    temperature: float,
    folder: Path,
) -> tuple[list[list[Sample]], Costs]:
    """Graded samples of each problem of all sets at a temperature, and what they took."""
    job = SearchJob(
        model=system.policy.place,
        sets=sets,
        engine=run.config.engine,
        algorithm="best-of-n",
        value=part.value or "logprob",
        settings={**part.settings, "n": part.samples, "policy.temperature": temperature},
        budgets={"tokens": None},
        concurrency=run.config.search.concurrency,
    )
    place = folder / f"{temperature:g}"
    found = await run.parts.get("search")(job, place, run.watch)
    graded: list[Searched] = []
    for each in sets:
        if found[each.name].failed:
            raise StageError(
                f"{len(found[each.name].failed)} of the problems to tune on ended with an error; resuming "
                "tries them again"
            )
        graded += await run.parts.get("grade")(place, each.name, thaw(each.path, each.task), each.task)
    return samples_of(graded), sum((searched.costs for searched in found.values()), Costs())
