"""`search prm score`: a file of solutions with a model's scores of every step, or one solution typed."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import typer

from prm.cli.ticker import ticker
from tasks.errors import UsageError
from treesearch.cli import options
from treesearch.cli.exit_codes import ExitCode
from treesearch.cli.overwrite import refuse_overwriting
from treesearch.cli.terminal import say, say_json, say_table, tell

_DATA = "JSON lines with id, prompt and completions (the steps)."
_OUT = "The same lines with scores; a file that is there is gone on with."
_STEP = "A step of a solution to QUESTION. Repeatable, in order."
_SET = "A setting of the model: device=cuda, family=math-shepherd, combine=worst. Repeatable."

Question = Annotated[
    str | None, typer.Argument(metavar="[QUESTION]", help="With --step, in place of --data.")
]
Steps = Annotated[list[str] | None, typer.Option("--step", metavar="TEXT", help=_STEP)]
Prm = Annotated[str, typer.Option("--prm", metavar="NAME", help="Model: embedded, a folder or a hub id.")]
Data = Annotated[str | None, typer.Option("--data", metavar="FILE", help=_DATA)]
Out = Annotated[str | None, typer.Option("--out", metavar="FILE", help=_OUT)]
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help=_SET)]
Concurrency = Annotated[
    int, typer.Option("--concurrency", metavar="N", help="Solutions being scored at once.")
]


def score(
    prm: Prm,
    question: Question = None,
    steps: Steps = None,
    data: Data = None,
    out: Out = None,
    settings: Settings = None,
    concurrency: Concurrency = 64,
    as_json: options.Json = False,
) -> int:
    """Score the steps of solutions with a process-reward or Q-value model."""
    from treesearch.cli.interrupt import Interrupted, run_interruptible
    from treesearch.settings import parse_assignments

    given = parse_assignments(settings) if settings else {}
    if (question is None) == (data is None) or (data is None) != (out is None):
        raise UsageError("give a QUESTION with --step, or --data with --out")
    if question is not None and not steps:
        raise UsageError("no steps to score: give at least one --step")
    refuse_overwriting("--out", out, [data] if data else [])
    try:
        # Whatever a library prints must not mix with the result on standard output.
        with contextlib.redirect_stdout(sys.stderr):
            if question is not None:
                report = run_interruptible(_one(prm, given, question, steps or []))
            else:
                places = Path(str(data)), Path(str(out))
                report = run_interruptible(_file(prm, given, *places, concurrency))
    except Interrupted:
        tell("interrupted" if out is None else f"interrupted; the same command goes on with {out}")
        return ExitCode.INTERRUPTED
    if as_json:
        say_json(report)
    else:
        _show(report, steps or [])
    return ExitCode.DONE


async def _one(prm: str, settings: Mapping[str, str], question: str, steps: list[str]) -> dict[str, Any]:
    from prm.aggregates import aggregate, applicable
    from prm.registry import open_scorer

    scorer = open_scorer(prm, settings)
    try:
        found = await scorer.score(question, steps)
    finally:
        await scorer.close()
    aggregates = {how.value: aggregate(found.scores, how) for how in applicable([found.scores])}
    return {"scores": list(found.scores), "aggregates": aggregates, "tokens": found.tokens}


async def _file(
    prm: str, settings: Mapping[str, str], data: Path, out: Path, concurrency: int
) -> dict[str, Any]:
    from prm.registry import ScorerSettings, open_scorer, scorer_hash
    from prm.scoring.files import make_place, score_file
    from prm.scoring.settings import deciding
    from treesearch.settings import build

    make_place(out)  # before a model is loaded
    chosen = build(ScorerSettings, settings, what="prm")
    changed = [f"{key}={value}" for key, value in sorted(deciding(chosen).items())]
    scorer = open_scorer(prm, settings)
    try:
        found = await score_file(
            scorer,
            data,
            out,
            by=" ".join((prm, *changed)),
            by_hash=sha256("\n".join((scorer_hash(prm, chosen), *changed)).encode()).hexdigest(),
            concurrency=concurrency,
            on_done=ticker("solutions scored"),
        )
    finally:
        await scorer.close()
    return asdict(found) | {"out": str(out)}


def _show(report: Mapping[str, Any], steps: list[str]) -> None:
    if "out" in report:
        say(
            f"{report['n_solutions']:,} solutions with {report['n_steps']:,} steps in {report['out']} "
            f"({report['n_new']:,} scored now, {report['tokens']:,} tokens read)"
        )
        return
    rows = [[f"{value:.4f}", step] for value, step in zip(report["scores"], steps, strict=True)]
    say_table(("score", "step"), rows)
    say(", ".join(f"{name} {value:.4f}" for name, value in report["aggregates"].items()))
