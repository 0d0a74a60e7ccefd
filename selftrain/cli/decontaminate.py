"""`search selftrain decontaminate`: which training problems are evaluation problems, and files without them.

Without `--out` an overlap is an error (exit code 2), for use before anything is trained; with `--out` the
problems that do not overlap are written there, as JSON lines that every command reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tasks.errors import DataError, UsageError
from treesearch.cli import options
from treesearch.cli.exit_codes import ExitCode
from treesearch.cli.overwrite import refuse_overwriting
from treesearch.cli.terminal import one_line, say, say_json, tell

if TYPE_CHECKING:
    from selftrain.decontamination import Report
    from tasks.base import Problem, Task

_SHOWN = 10
_TRAINING = "File of training problems. Repeatable."
_HELD_OUT = "File of an evaluation set; give every set that accuracy is reported on. Repeatable."
_OUT = "JSONL of the training problems that are in no evaluation set. [default: an overlap is an error]"
_REPORT = "JSON file that names every pair, with the hashes of what was compared."
_SET = "A setting: numbers=any, jaccard=0.5. Repeatable; see docs/selftrain-decontamination.md."

Training = Annotated[list[str], typer.Option("--training", metavar="FILE", help=_TRAINING)]
HeldOut = Annotated[list[str], typer.Option("--held-out", metavar="FILE", help=_HELD_OUT)]
Out = Annotated[str | None, typer.Option("--out", metavar="FILE", help=_OUT)]
ReportFile = Annotated[str | None, typer.Option("--report", metavar="FILE", help=_REPORT)]
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help=_SET)]


def decontaminate(
    training: Training,
    held_out: HeldOut,
    out: Out = None,
    report: ReportFile = None,
    task: options.TaskName = None,
    settings: Settings = None,
    as_json: options.Json = False,
) -> int:
    """Compare training problems with evaluation sets: exactly, by n-grams, by MinHash."""
    from selftrain.decontamination import (
        Decontamination,
        find_overlaps,
        read_held_out,
        require_clean,
        without_overlaps,
    )
    from selftrain.loop.problems import freeze
    from treesearch.api import open_task
    from treesearch.atomic import write_json
    from treesearch.settings import build, parse_assignments

    given = parse_assignments(settings or [])
    if "on_overlap" in given:
        raise UsageError(
            "on_overlap is for runs; here --out drops what overlaps, and without it that is an error"
        )
    for option, written in (("--out", out), ("--report", report)):
        refuse_overwriting(option, written, (*training, *held_out))
    wanted = build(Decontamination, given, what="decontamination")
    opened = open_task(task or "math")
    asked = read_held_out(_named(held_out), opened)
    problems = _read(training, opened)
    found = find_overlaps(problems, asked, wanted)
    if report is not None:
        write_json(Path(report), found.as_json())
    kept = without_overlaps(problems, found) if out is not None else problems
    if out is not None:
        freeze(Path(out), kept, opened.name)
    if as_json:
        say_json(found.as_json() | {"out": out, "report": report})
    else:
        _say(found, kept, out)
    if out is None:
        require_clean(found, Path(report) if report is not None else None)
    return ExitCode.DONE


def _read(files: Sequence[str], task: Task) -> list[Problem]:
    """The problems of all files; `DataError` if problems of two have one id."""
    owner: dict[str, int] = {}
    found: list[Problem] = []
    for number, file in enumerate(files):
        for problem in task.load(Path(file)):
            first = owner.setdefault(problem.id, number)
            if first != number:
                raise DataError(
                    f"{files[first]} and {file} both have a problem with the id {problem.id!r}; give the "
                    "problems of one other ids"
                )
            found.append(problem)
    return found


def _named(files: Sequence[str]) -> dict[str, Path]:
    """Evaluation sets by the stem of their file, by the whole path where two have the same."""
    stems = [Path(file).stem for file in files]
    return {
        stem if stems.count(stem) == 1 else file: Path(file) for stem, file in zip(stems, files, strict=True)
    }


def _say(found: Report, kept: Sequence[Problem], out: str | None) -> None:
    shown: dict[str, Any] = found.as_json()["held_out"]
    for name, row in shown.items():
        say(
            f"{name}: {row['contaminated']:,} of {row['problems']:,} problems are in training; "
            f"{row['variants']:,} more have their words there with other numbers"
        )
    for overlap in found.overlaps[:_SHOWN]:
        tell(one_line(str(overlap)))
    if len(found.overlaps) > _SHOWN:
        tell(f"and {len(found.overlaps) - _SHOWN:,} more pairs")
    if out is not None:
        say(f"written: {out}, {len(kept):,} of {found.training.problems:,} training problems")
