"""Stage `search`: the training problems of an iteration, searched with the current model and its value.

Each task is a run directory ``TASK`` below the stage's folder, so that `search show` and `search prm label`
read it. Where the builder compares with the base model's trees, the same problems are searched with it too,
into ``base/TASK``, under the same settings and value. `search-2` is the second phase of builders that look at
the model which the first phase trained: the same problems again, with that model.

Problems that ended with an error are left out, if they are no more than `search.max_failed`; else the stage
fails, and resuming tries them again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from selftrain.loop.context import Context, StageError
from selftrain.loop.hashing import file_hash
from selftrain.loop.manifest import Costs, Done, Manifest, Output, file_output
from selftrain.loop.problems import TRAIN, choose, freeze, thaw
from selftrain.loop.searching import ProblemFile, SearchedSet, SearchJob, prompts_path, trees_hash, trees_of
from selftrain.loop.stages.decontaminate import problems_path
from selftrain.loop.state import Model, System, quarantined
from treesearch.run.store import JOURNAL

NAME = "search"
BASE = "base"
_SHOWN = 3


async def search(
    run: Context,
    iteration: int,
    system: System,
    *,
    tuned: Mapping[str, Any],
    anchor: Model | None,
    phase: int = 1,
) -> Manifest:
    """Search with `system`, and with `anchor` besides. `tuned` are settings that the iteration chose."""
    name = NAME if phase == 1 else f"{NAME}-{phase}"
    part = run.config.search
    inputs = {"policy": system.policy.hash}
    if system.search_value is not None:
        inputs["value"] = system.search_value.hash
    if anchor is not None:
        inputs["base"] = anchor.hash
    left_out = quarantined(run.folder, iteration, run.config.quarantine)
    settings = {
        "search": _kept(asdict(part)),
        "engine": asdict(run.config.engine),
        "tuned": dict(tuned),
        "value": dict(run.config.prm.value) if run.config.prm and system.search_value else {},
        "quarantined": {task: sorted(names) for task, names in left_out.items() if names},
    }
    seed = run.seed(iteration, name)

    async def work(folder: Path) -> Done:
        sets = _problem_files(run, iteration, folder, left_out)
        job = job_of(run, system, sets, tuned)
        found = await run.parts.get("search")(job, folder, run.watch)
        models = {"": found}
        if anchor is not None:
            others = tuple(replace(each, seed=run.seed(iteration, BASE, each.name)) for each in sets)
            models[f"{BASE}/"] = await run.parts.get("search")(
                replace(job, model=anchor.place, sets=others), folder / BASE, run.watch
            )
        return _done(run, folder, sets, models)

    for task in run.config.trained:
        inputs[f"problems/{task}"] = file_hash(problems_path(run, task, TRAIN))
    return await run.stage(name, iteration, work, inputs=inputs, settings=settings, seed=seed)


def _kept(part: dict[str, Any]) -> dict[str, Any]:
    """The settings of searching that change a result."""
    return {key: value for key, value in part.items() if key not in ("concurrency", "max_failed")}


def job_of(
    run: Context, system: System, sets: tuple[ProblemFile, ...], tuned: Mapping[str, Any]
) -> SearchJob:
    """The search of a system under the run's settings."""
    part = run.config.search
    value, settings = part.value, {**part.settings, **tuned}
    if system.search_value is not None and run.config.prm is not None:
        value, settings = with_value(settings, system.search_value, run.config.prm.value)
    return SearchJob(
        model=system.policy.place,
        sets=sets,
        engine=run.config.engine,
        algorithm=part.algorithm,
        value=value,
        settings=settings,
        budgets={"tokens": part.budget_tokens, "calls": part.budget_calls, "nodes": part.budget_nodes},
        concurrency=part.concurrency,
    )


def with_value(
    settings: Mapping[str, Any], value: Model, own: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """The name of the value and the settings, where a trained reward model is the value."""
    kept = {key: given for key, given in settings.items() if not key.startswith("value.")}
    return "prm", kept | {"value.prm": value.place} | {f"value.{key}": given for key, given in own.items()}


def _problem_files(
    run: Context, iteration: int, folder: Path, left_out: Mapping[str, set[str]]
) -> tuple[ProblemFile, ...]:
    """The problems of this iteration by task, written beside the runs."""
    files: list[ProblemFile] = []
    for name in run.config.trained:
        task = run.config.task(name).task
        problems = choose(
            thaw(problems_path(run, name, TRAIN), task),
            without=left_out.get(name, set()),
            most=run.config.search.problems,
            turn=iteration - 1,
            seed=run.seed(0, "problems", name),
        )
        if problems:
            path = folder / "problems" / f"{name}.jsonl"
            freeze(path, problems, task)
            seed = run.seed(iteration, folder.name, name)
            files.append(ProblemFile(name=name, task=task, path=path, seed=seed))
    if not files:
        raise StageError("every training problem is in quarantine; give the run more problems")
    return tuple(files)


def _done(
    run: Context,
    folder: Path,
    sets: tuple[ProblemFile, ...],
    models: Mapping[str, Mapping[str, SearchedSet]],
) -> Done:
    outputs: dict[str, Output] = {}
    failed: dict[str, str] = {}
    costs = Costs()
    count = 0
    for prefix, found in models.items():
        for each in sets:
            searched = found[each.name]
            failed |= {f"{prefix}{each.name}/{key}": why for key, why in searched.failed.items()}
            count += len(searched.rows)
            costs += searched.costs
    if len(failed) > run.config.search.max_failed * count:
        first = "; ".join(f"{name}: {why}" for name, why in list(failed.items())[:_SHOWN])
        raise StageError(
            f"{len(failed)} of {count} searches ended with an error ({first}); resuming tries them again, or "
            "set search.max_failed"
        )
    for prefix in models:
        for each in sets:
            outputs |= _outputs(folder, prefix, each)
    for each in sets:
        outputs[f"problems/{each.name}"] = file_output(folder, f"problems/{each.name}.jsonl")
    return Done(outputs=outputs, results={"failed": sorted(failed), "searched": count}, costs=costs)


def _outputs(folder: Path, prefix: str, each: ProblemFile) -> dict[str, Output]:
    """The trees of one set, known by their content, and its prompts."""
    name = f"{prefix}{each.name}"
    trees = trees_of(folder / name, thaw(each.path, each.task))
    journal = f"{name}/{JOURNAL}"
    prompts = str(prompts_path(folder / prefix, each.name).relative_to(folder))
    return {
        f"trees/{name}": Output(hash=trees_hash(trees), files={journal: file_hash(folder / journal)}),
        f"prompts/{name}": file_output(folder, prompts),
    }
