"""`search prm eval`: a model or its published scores on a benchmark, from options to a report."""

from __future__ import annotations

import contextlib
import inspect
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

_BENCH = "rewardmath, processbench, prmbench, best-of-n, steps or canaries."
_DATA = "The benchmark's file; the parts of processbench may be given one by one."
_SCORES = "Published scores in place of a model."
_CHOOSE = (
    "Part of processbench on which the threshold is chosen. [default: gsm8k, or one half of a single part]"
)
_TOO_LONG = "A solution longer than the model's context: refuse (an error) or drop (left out, and counted)."
_LIMIT = "First N records of each file only; for canaries, the first N wrong solutions."
_SET = "A setting of the model: batch_tokens=2048. Repeatable."


def _complete_bench(incomplete: str) -> list[str]:
    from prm.evaluation.bench import BENCHES

    return [name for name in BENCHES if name.startswith(incomplete)]


Bench = Annotated[str, typer.Option("--bench", metavar="NAME", help=_BENCH, autocompletion=_complete_bench)]
DataFiles = Annotated[list[str] | None, typer.Option("--data", metavar="FILE", help=_DATA)]
Prm = Annotated[
    str | None, typer.Option("--prm", metavar="NAME", help="Model: a shipped name, folder or hub id.")
]
ScoresFile = Annotated[str | None, typer.Option("--scores", metavar="FILE", help=_SCORES)]
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help=_SET)]
Threshold = Annotated[
    float | None, typer.Option("--threshold", metavar="X", help="Score from which a step counts as right.")
]
ChooseOn = Annotated[str | None, typer.Option("--choose-on", metavar="PART", help=_CHOOSE)]
Bins = Annotated[int, typer.Option("--bins", metavar="N", help="Bins of the calibration error.")]
Limit = Annotated[int | None, typer.Option("--limit", metavar="N", help=_LIMIT)]
TooLongChoice = Annotated[str, typer.Option("--too-long", metavar="HOW", help=_TOO_LONG)]
Concurrency = Annotated[
    int, typer.Option("--concurrency", metavar="N", help="Solutions being scored at once.")
]


def evaluate(
    bench: Bench,
    data: DataFiles = None,
    prm: Prm = None,
    scores: ScoresFile = None,
    settings: Settings = None,
    threshold: Threshold = None,
    choose_on: ChooseOn = None,
    bins: Bins = 10,
    limit: Limit = None,
    too_long: TooLongChoice = "refuse",
    concurrency: Concurrency = 64,
    as_json: options.Json = False,
) -> int:
    """Evaluate a process-reward model, or its published scores, on a benchmark."""
    from prm.evaluation.bench import BenchOptions, check_inputs
    from treesearch.cli.interrupt import Interrupted, run_interruptible
    from treesearch.settings import parse_assignments

    files, published = [Path(name) for name in data or ()], Path(scores) if scores is not None else None
    chosen = BenchOptions(
        threshold=threshold,
        choose_on=choose_on,
        bins=bins,
        limit=limit,
        concurrency=concurrency,
        too_long=too_long,  # pyright: ignore[reportArgumentType] - checked by BenchOptions
    )
    check_inputs(bench, files, scores=published, model=prm is not None, options=chosen)
    if settings and prm is None:
        raise UsageError("--set is for the model of --prm; leave it out with --scores")
    given = parse_assignments(settings) if settings else {}
    try:
        # Whatever a library prints must not mix with the result on standard output.
        with contextlib.redirect_stdout(sys.stderr):
            report = run_interruptible(_run(bench, files, published, prm, given, chosen))
    except Interrupted:
        tell("interrupted; nothing was kept")
        return ExitCode.INTERRUPTED
    if as_json:
        say_json(report)
    else:
        _show(report)
    return ExitCode.DONE


async def _run(
    bench: str,
    data: list[Path],
    scores: Path | None,
    prm: str | None,
    settings: Mapping[str, str],
    chosen: Any,
) -> dict[str, Any]:
    from prm.evaluation.bench import run_bench

    if prm is None:
        return await run_bench(bench, data, scores=scores, options=chosen)
    from prm.registry import open_scorer

    opened = open_scorer(prm, settings)
    scorer = await opened if inspect.isawaitable(opened) else opened
    try:
        return await run_bench(bench, data, scorer=scorer, options=chosen, on_done=ticker("solutions scored"))
    finally:
        await scorer.close()


def _show(report: Mapping[str, Any]) -> None:
    """The report's tables and what must be known of them; the whole of it is in the JSON."""
    from prm.evaluation.tables import notes, tables

    for title, header, rows in tables(report):
        if title:
            say(title)
        say_table(header, rows)
        say()
    for note in notes(report):
        say(note)
