"""`search prm convert`: step labels from one file format to another."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from treesearch.cli import options
from treesearch.cli.exit_codes import ExitCode
from treesearch.cli.overwrite import refuse_overwriting
from treesearch.cli.terminal import say, say_json

_FROM = "Format of --data: stepwise, math-shepherd, prm800k or processbench."
_TO = (
    "Format of --out: rows (what `search prm train` reads), stepwise, math-shepherd, prm800k or processbench."
)
_NEUTRAL = "What a neutral rating of PRM800K counts as: right, wrong or none (no label)."
_THRESHOLD = "Label from which a step is right, where soft labels are to become hard ones."
_TASK = "Field `task` of the Math-Shepherd records that are written."

Data = Annotated[str, typer.Option("--data", metavar="FILE", help="Labelled solutions.")]
Out = Annotated[str, typer.Option("--out", metavar="FILE", help="Where the converted ones go; replaced.")]
Source = Annotated[str, typer.Option("--from", metavar="FORMAT", help=_FROM)]
Target = Annotated[str, typer.Option("--to", metavar="FORMAT", help=_TO)]
Neutral = Annotated[str, typer.Option("--neutral", metavar="HOW", help=_NEUTRAL)]
Threshold = Annotated[float | None, typer.Option("--threshold", metavar="X", help=_THRESHOLD)]
Task = Annotated[str, typer.Option("--task", metavar="TEXT", help=_TASK)]


def convert(
    data: Data,
    out: Out,
    source: Source,
    target: Target = "rows",
    neutral: Neutral = "right",
    threshold: Threshold = None,
    task: Task = "",
    as_json: options.Json = False,
) -> int:
    """Convert labelled solutions from one file format to another."""
    from prm.labels.convert import ConvertOptions
    from prm.labels.convert import convert as written

    refuse_overwriting("--out", out, [data])
    chosen = ConvertOptions(
        neutral=neutral,  # pyright: ignore[reportArgumentType] - checked by ConvertOptions
        threshold=threshold,
        task=task,
    )
    found = written(Path(data), Path(out), source=source, target=target, options=chosen)
    if as_json:
        say_json(asdict(found) | {"out": out})
    else:
        steps = f"{found.n_steps:,} steps, {found.n_labels:,} of them labelled"
        say(f"{found.n_solutions:,} solutions with {steps}, in {out}")
    return ExitCode.DONE
