"""Where a self-training run keeps what: the one place that knows the names of its folders and files.

    RUN/run.json                          configuration and versions
    RUN/events.jsonl                      what was begun and ended (`events`)
    RUN/iterations/000/                   the base: decontaminate, evaluate
    RUN/iterations/001/STAGE/             one folder a stage, with its manifest.json
    RUN/iterations/001/manifest.json      the iteration: hashes of its stages, what the gate decided, costs

It reads and writes nothing.
"""

from __future__ import annotations

from pathlib import Path

from tasks.errors import UsageError, unknown_name

RUN = "run.json"
BASE_STAGES = ("decontaminate", "evaluate")
STAGES = (
    *("tune", "search", "grade", "score", "build", "train"),
    *("search-2", "grade-2", "build-2", "train-2"),
    *("prm", "evaluate", "gate", "monitors"),
)
"""Stages of an iteration in their order; not every configuration has every one of them."""


def stages_of(iteration: int) -> tuple[str, ...]:
    """The stages of an iteration; iteration 0 is the base model's."""
    return STAGES if iteration else BASE_STAGES


def iteration_folder(run: Path, iteration: int) -> Path:
    """``RUN/iterations/00k``."""
    return run / "iterations" / f"{iteration:03}"


def stage_folder(run: Path, iteration: int, stage: str) -> Path:
    """The folder of a stage."""
    return iteration_folder(run, iteration) / stage


def begun_iterations(run: Path) -> list[int]:
    """Numbers of the iterations that have a folder, ascending."""
    found = [path.name for path in (run / "iterations").glob("*") if path.is_dir() and path.name.isdecimal()]
    return sorted(map(int, found))


def parse_stage(text: str, run: Path) -> tuple[int, str]:
    """``train`` (of the newest iteration that has begun) or ``2/train`` as iteration and stage."""
    number, slash, stage = text.rpartition("/")
    begun = begun_iterations(run)
    if slash and not number.isdecimal():
        raise UsageError(f"--redo takes STAGE or ITERATION/STAGE such as 2/train, got {text!r}")
    iteration = int(number) if slash else max(begun, default=0)
    if stage not in stages_of(iteration):
        raise unknown_name(f"stage of iteration {iteration}", stage, stages_of(iteration))
    if iteration not in begun:
        raise UsageError(f"iteration {iteration} has not begun in {run}; there is nothing to redo")
    return iteration, stage
