"""`search prm calibrate`: a trained model whose scores mean what labelled steps say."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from prm.cli.ticker import ticker
from tasks.errors import UsageError
from treesearch.cli import options
from treesearch.cli.exit_codes import ExitCode
from treesearch.cli.terminal import say, say_json, say_table, tell

_PRM = "Folder of a model that `search prm train` wrote, whose prm.json is changed; or embedded, with --out."
_OUT = "Write a calibrated copy of the model here, and leave the model as it is."
_DATA = "Labelled steps of problems that training has not seen, as for `search prm eval --bench steps`."
_SET = "A setting of the model: device=cuda. Repeatable."

Prm = Annotated[str, typer.Option("--prm", metavar="DIR", help=_PRM)]
Out = Annotated[str | None, typer.Option("--out", metavar="DIR", help=_OUT)]
Data = Annotated[str, typer.Option("--data", metavar="FILE", help=_DATA)]
Kind = Annotated[str, typer.Option("--kind", metavar="NAME", help="platt or isotonic.")]
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help=_SET)]
Concurrency = Annotated[
    int, typer.Option("--concurrency", metavar="N", help="Solutions being scored at once.")
]


def calibrate(
    prm: Prm,
    data: Data,
    out: Out = None,
    kind: Kind = "platt",
    settings: Settings = None,
    concurrency: Concurrency = 64,
    as_json: options.Json = False,
) -> int:
    """Calibrate a trained model on labelled steps of problems it has not seen."""
    from prm.calibrate import calibrate as fit
    from prm.registry import EMBEDDED, embedded_folder
    from treesearch.cli.interrupt import Interrupted, run_interruptible
    from treesearch.settings import parse_assignments

    given = parse_assignments(settings) if settings else {}
    on_done = ticker("solutions scored")
    if prm == EMBEDDED and out is None:
        raise UsageError("the model that ships stays as it is; say where its calibrated copy goes: --out DIR")
    job = fit(
        embedded_folder() if prm == EMBEDDED else Path(prm).expanduser(),
        Path(data),
        out=None if out is None else Path(out),
        kind=kind,
        settings=given,
        concurrency=concurrency,
        on_done=on_done,
    )
    try:
        # Whatever a library prints must not mix with the result on standard output.
        with contextlib.redirect_stdout(sys.stderr):
            report = run_interruptible(job)
    except Interrupted:
        tell("interrupted; the model is as it was")
        return ExitCode.INTERRUPTED
    if as_json:
        say_json(report | {"prm": prm if out is None else out})
    else:
        _show(report)
    return ExitCode.DONE


def _show(report: Mapping[str, Any]) -> None:
    problems = report["problems"]
    numbers = f"fitted on {problems['fitted']:,} problems, judged on {problems['judged']:,} others"
    say(f"{report['kind']}, {numbers}")
    header = ("step", "n", "AUROC", "error before", "after", "Brier before", "after")
    before, after = report["before"], report["after"]
    rows = [_row("all", before, after)]
    rows += [_row(depth, each, after["by_depth"][depth]) for depth, each in before["by_depth"].items()]
    say_table(header, rows)


def _row(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    auroc = "-" if after["auroc"] is None else f"{after['auroc']:.3f}"
    figures = [f"{each[name]:.3f}" for name in ("ece", "brier") for each in (before, after)]
    return [name, f"{after['n']:,}", auroc, *figures]
