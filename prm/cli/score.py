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
_SOLUTION = "A whole solution to QUESTION, cut into steps as the model's convention cuts."
_SET = "A setting of the model: device=cuda, family=math-shepherd, combine=worst. Repeatable."

Question = Annotated[
    str | None, typer.Argument(metavar="[QUESTION]", help="With --step, in place of --data.")
]
Steps = Annotated[list[str] | None, typer.Option("--step", metavar="TEXT", help=_STEP)]
Solution = Annotated[str | None, typer.Option("--solution", metavar="TEXT", help=_SOLUTION)]
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
    solution: Solution = None,
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
        raise UsageError("give a QUESTION with --step or --solution, or --data with --out")
    if question is None and (steps or solution is not None):
        raise UsageError("--step and --solution belong to a QUESTION; leave them out with --data")
    if question is not None and bool(steps) == (solution is not None):
        raise UsageError("no steps to score, or both kinds: give --step, once or more, or one --solution")
    refuse_overwriting("--out", out, [data] if data else [])
    try:
        # Whatever a library prints must not mix with the result on standard output.
        with contextlib.redirect_stdout(sys.stderr):
            if question is not None:
                report = run_interruptible(_one(prm, given, question, steps or [], solution))
            else:
                places = Path(str(data)), Path(str(out))
                report = run_interruptible(_file(prm, given, *places, concurrency))
    except Interrupted:
        tell("interrupted" if out is None else f"interrupted; the same command goes on with {out}")
        return ExitCode.INTERRUPTED
    if as_json:
        say_json(report)
    else:
        _show(report)
    return ExitCode.DONE


async def _one(
    prm: str, settings: Mapping[str, str], question: str, steps: list[str], solution: str | None
) -> dict[str, Any]:
    from prm.aggregates import aggregate, applicable
    from prm.registry import open_scorer
    from prm.scoring.base import TooLongError, convention_of, split_solution

    scorer = open_scorer(prm, settings)
    convention = convention_of(scorer)
    try:
        steps = steps if solution is None else split_solution(scorer, solution)
        found = await scorer.score(question, steps)
    except TooLongError as error:
        raise UsageError(str(error)) from error
    finally:
        await scorer.close()
    return {
        "steps": steps,
        "scores": list(found.scores),
        "aggregates": {how.value: aggregate(found.scores, how) for how in applicable([found.scores])},
        "usual_aggregate": None if convention is None else convention.aggregate.value,
        "threshold": None if convention is None else convention.threshold.value,
        "tokens": found.tokens,
    }


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


def _show(report: Mapping[str, Any]) -> None:
    """The scores as a table; a step below the threshold of the model's authors is marked."""
    if "out" in report:
        say(
            f"{report['n_solutions']:,} solutions with {report['n_steps']:,} steps in {report['out']} "
            f"({report['n_new']:,} scored now, {report['tokens']:,} tokens read)"
        )
        return
    limit, usual = report["threshold"], report["usual_aggregate"]
    rows = [
        [f"{score:.4f}", "wrong" if limit is not None and score < limit else "", step]
        for score, step in zip(report["scores"], report["steps"], strict=True)
    ]
    marked = limit is not None
    header = ("score", f"below {limit:g}", "step") if marked else ("score", "step")
    say_table(header, rows if marked else [[row[0], row[2]] for row in rows])
    say(", ".join(f"{name} {value:.4f}" for name, value in report["aggregates"].items()))
    if usual is not None:
        say(f"the aggregate that the model's authors use: {usual}")
