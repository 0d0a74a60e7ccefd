"""Stage `decontaminate`: the problems of the run, compared with all held-out and test sets and frozen.

It comes first and stops the run if a training problem is (nearly) one of those, unless the
configuration says to go on without such problems (`decontamination.settings.on_overlap: drop`). The report
is written in either case. Frozen problems lie in ``problems/TASK.SIDE.jsonl``; every later stage reads them
from there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from selftrain.loop.context import Context
from selftrain.loop.hashing import data_hash
from selftrain.loop.manifest import Done, Manifest, file_output, read_manifest
from selftrain.loop.problems import HELDOUT, TEST, TRAIN, freeze, load
from selftrain.loop.sections import ProblemSource
from tasks.base import Problem
from tasks.errors import DataError
from treesearch.settings import build

NAME = "decontaminate"
REPORT = "report.json"


def problems_path(run: Context, task: str, side: str) -> Path:
    """The frozen problems of one side of a task."""
    return run.path(0, NAME) / "problems" / f"{task}.{side}.jsonl"


async def decontaminate(run: Context) -> Manifest:
    """Compare, refuse or drop, and freeze; problems that are frozen do not need their sources any more."""
    done = read_manifest(run.path(0, NAME))
    if done is not None and not all(file.exists() for file in _files(run)):
        return done
    sides = {
        (part.name, side): load(part, side) for part in run.config.tasks for side in (TRAIN, HELDOUT, TEST)
    }
    sides = {key: problems for key, problems in sides.items() if problems}
    _refuse_equal_ids({name: problems for (name, side), problems in sides.items() if side == TRAIN})
    inputs = {f"{name}/{side}": data_hash(list(map(asdict, found))) for (name, side), found in sides.items()}
    settings = run.config.decontamination.settings

    async def work(folder: Path) -> Done:
        kept = _kept(run, sides, folder / REPORT)
        outputs = {"report": file_output(folder, REPORT)}
        for (name, side), problems in sides.items():
            left = [each for each in problems if side != TRAIN or each.id in kept]
            if not left:
                raise DataError(f"task {name!r}: every training problem overlaps with a held-out one")
            path = problems_path(run, name, side)
            freeze(path, left, run.config.task(name).task)
            outputs[f"{name}/{side}"] = file_output(folder, str(path.relative_to(folder)))
        every = [each.id for (_, side), problems in sides.items() if side == TRAIN for each in problems]
        counts = {f"{name}/{side}": len(found) for (name, side), found in sides.items()}
        return Done(
            outputs=outputs,
            results={"problems": counts, "dropped": [one for one in every if one not in kept]},
        )

    return await run.stage(NAME, 0, work, inputs=inputs, settings=settings)


def _files(run: Context) -> list[Path]:
    """The files that problems of the run come from."""
    sources: list[ProblemSource | None] = [
        getattr(part, side) for part in run.config.tasks for side in (TRAIN, HELDOUT, TEST)
    ]
    return [Path(source.data) for source in sources if source is not None and source.data is not None]


def _kept(run: Context, sides: Mapping[tuple[str, str], list[Problem]], report: Path) -> set[str]:
    """Ids of the training problems to go on with; writes the report, and raises if the run must stop."""
    training = [each for (_, side), problems in sides.items() if side == TRAIN for each in problems]
    held_out = {
        name if side == HELDOUT else f"{name} {side}": problems
        for (name, side), problems in sides.items()
        if side != TRAIN
    }
    settings = build(
        run.parts.get("decontamination"), run.config.decontamination.settings, what="decontamination"
    )
    report.parent.mkdir(parents=True, exist_ok=True)
    kept, _ = run.parts.get("decontaminate")(training, held_out, settings, path=report)
    return {problem.id for problem in kept}


def _refuse_equal_ids(training: Mapping[str, list[Problem]]) -> None:
    """Builders know a problem by its id, so an id may stand for one problem only."""
    owner: dict[str, str] = {}
    for name, problems in training.items():
        for problem in problems:
            if owner.setdefault(problem.id, name) != name:
                raise DataError(
                    f"the tasks {owner[problem.id]!r} and {name!r} both have a training problem with the id "
                    f"{problem.id!r}; give the problems of one file other ids"
                )
