"""`search prm label`: step labels from problems or from the trees of a run, from options to files."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from treesearch.cli import options
from treesearch.cli.exit_codes import ExitCode
from treesearch.cli.overwrite import refuse_overwriting
from treesearch.cli.terminal import one_line, say, say_json, tell

if TYPE_CHECKING:
    from prm.labels.builder import OnChange, Progress
    from prm.labels.session import LabelPlan

_EVERY_S = 5.0
_SHOWN = 5
_OUT = "Records, one a line; a file that is there is gone on with."
_RUN = "Label the trees of this run, in place of --task and --data."
_METHOD = (
    "mc (complete every step), omega (search the first error), tree (what the run found) or judge (a model's "
    "verdicts on the run's solutions). "
    "[default: mc; tree with --run]"
)
_SOLUTIONS = "Solutions sampled a problem, whose steps mc labels."
_MAX_COMPLETIONS = "Most completions a problem, for omega. [default: no limit]"
_ROWS = "Also write the rows that `search prm train` reads, labelled by --rule."
_PAIRS = "Also write pairs of sibling steps whose values differ by --gap."
_JUDGE = "Model of the method judge: embedded, a folder or a hub id, as for `search prm score`."
_THRESHOLD = (
    "Score of the judge below which a step is wrong. [default: the one of the judge's family, or 0.5]"
)
_PENALTY = "Weight of a loss of value in the rule dual, lambda of MedS3."
_CONSENSUS = "Keep the rows whose first error is the same in this file of rows."
_RULE = "hard, soft, quality, simple-quality, tree or dual. [default: soft; quality for tree]"
_ONCE = "Label a step that several solutions share in the first alone."
_SET = "A setting of the policy or its engine, or of the judge: policy.temperature=0.7. Repeatable."


def _complete_method(incomplete: str) -> list[str]:
    from prm.labels.config import METHODS

    return [name for name in METHODS if name.startswith(incomplete)]


def _complete_rule(incomplete: str) -> list[str]:
    from prm.labels.derive import RULES

    return [name for name in RULES if name.startswith(incomplete)]


Out = Annotated[str, typer.Option("--out", metavar="FILE", help=_OUT)]
RunFolder = Annotated[
    str | None,
    typer.Option("--run", metavar="RUN", help=_RUN, autocompletion=options.complete_run),
]
Method = Annotated[
    str | None,
    typer.Option("--method", metavar="NAME", help=_METHOD, autocompletion=_complete_method),
]
Completions = Annotated[int, typer.Option("--completions", metavar="K", help="Completions a step.")]
Solutions = Annotated[int, typer.Option("--solutions", metavar="N", help=_SOLUTIONS)]
Searches = Annotated[int, typer.Option("--searches", metavar="N", help="Searches a problem, for omega.")]
MaxCompletions = Annotated[int | None, typer.Option("--max-completions", metavar="N", help=_MAX_COMPLETIONS)]
Temperature = Annotated[
    float | None,
    typer.Option("--temperature", metavar="T", help="Of solutions and completions. [default: the policy's]"),
]
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help=_SET)]
Limit = Annotated[int | None, typer.Option("--limit", metavar="N", help="Label the first N problems only.")]
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="Root of all sampling.")]
Concurrency = Annotated[int, typer.Option("--concurrency", metavar="N", help="Problems in flight at once.")]
Judge = Annotated[str | None, typer.Option("--judge", metavar="NAME", help=_JUDGE)]
Threshold = Annotated[float | None, typer.Option("--threshold", metavar="X", help=_THRESHOLD)]
Penalty = Annotated[float, typer.Option("--penalty", metavar="X", help=_PENALTY)]
Consensus = Annotated[str | None, typer.Option("--consensus", metavar="FILE", help=_CONSENSUS)]
Rule = Annotated[
    str | None, typer.Option("--rule", metavar="NAME", help=_RULE, autocompletion=_complete_rule)
]
Rows = Annotated[str | None, typer.Option("--rows", metavar="FILE", help=_ROWS)]
Pairs = Annotated[str | None, typer.Option("--pairs", metavar="FILE", help=_PAIRS)]
Gap = Annotated[float, typer.Option("--gap", metavar="X", help="Smallest difference of a pair's values.")]
Extremes = Annotated[bool, typer.Option("--extremes", help="Pair the best sibling with the worst alone.")]
Once = Annotated[bool, typer.Option("--once", help=_ONCE)]


def label(
    out: Out,
    run: RunFolder = None,
    task: options.TaskName = None,
    data: options.Data = None,
    limit: Limit = None,
    policy: options.PolicyName = None,
    model: options.ModelName = None,
    engine: options.EngineName = None,
    engine_args: options.EngineArgs = None,
    settings: Settings = None,
    method: Method = None,
    judge: Judge = None,
    threshold: Threshold = None,
    completions: Completions = 8,
    solutions: Solutions = 4,
    searches: Searches = 16,
    max_completions: MaxCompletions = None,
    temperature: Temperature = None,
    seed: Seed = 0,
    concurrency: Concurrency = 64,
    rule: Rule = None,
    penalty: Penalty = 0.5,
    rows: Rows = None,
    consensus: Consensus = None,
    pairs: Pairs = None,
    gap: Gap = 0.375,
    extremes: Extremes = False,
    once: Once = False,
    as_json: options.Json = False,
) -> int:
    """Label the steps of solutions by how often completing them ends well, or by the trees of a run."""
    flags = dict(locals())  # the parameters by name: but for one, they are the fields of `LabelConfig`
    from prm.labels.session import LabelConfig, prepare_labels
    from treesearch.run.overview import find_run
    from treesearch.settings import parse_assignments

    del flags["as_json"]
    read = [file for file in (data, consensus) if file]
    for option, written in (("--out", out), ("--rows", rows), ("--pairs", pairs)):
        refuse_overwriting(option, written, read)
        read += [written] if written else []
    flags["settings"] = parse_assignments(settings) if settings else None
    flags["run"] = str(find_run(run)) if run is not None else None
    return _conduct(prepare_labels(LabelConfig(**flags)), as_json=as_json)


def _conduct(plan: LabelPlan, *, as_json: bool) -> int:
    """Label, telling how far it is, then report; returns the exit code."""
    from prm.labels.session import run_labels
    from treesearch.cli.interrupt import Interrupted, run_interruptible

    try:
        # Whatever a library prints must not mix with the result on standard output.
        with contextlib.redirect_stdout(sys.stderr):
            summary = run_interruptible(run_labels(plan, _ticker()))
    except Interrupted:
        tell(f"interrupted; the same command goes on with {plan.config.out}")
        return ExitCode.INTERRUPTED
    if as_json:
        say_json(summary)
    else:
        _show(summary)
    return ExitCode.PROBLEMS_FAILED if summary["n_failed"] else ExitCode.DONE


def _ticker() -> OnChange:
    """Tells how far labelling is, every few seconds."""
    last = time.monotonic()

    def tick(progress: Progress) -> None:
        nonlocal last
        if time.monotonic() - last >= _EVERY_S:
            last = time.monotonic()
            failed = f", {len(progress.failed)} failed" if progress.failed else ""
            tell(
                f"{progress.done}/{progress.total} problems, {progress.records:,} records, "
                f"{progress.completions:,} completions, {progress.tokens:,} tokens{failed}"
            )

    return tick


def _show(summary: Mapping[str, Any]) -> None:
    say(f"{summary['n_records']:,} records in {summary['out']} ({summary['n_new_records']:,} new)")
    completed = f"{summary['completions']:,} completions, " if summary["method"] in ("mc", "omega") else ""
    say(f"{completed}{summary['tokens']:,} tokens, {summary['seconds']:.1f} s")
    if summary["mean_soft"] is not None:
        say(f"mean share of right completions: {summary['mean_soft']:.1%}")
    for name in ("rows", "pairs"):
        if summary[f"n_{name}"] is not None:
            say(f"{summary[f'n_{name}']:,} {name} by the rule {summary['rule']}")
    if summary["note"]:
        say(summary["note"])
    if summary["n_compared"] is not None:
        say(f"{summary['n_compared']:,} rows are in both labellings; those that agree were kept")
    failed = list(summary["failed"].items())
    for problem, reason in failed[:_SHOWN]:
        tell(f"failed: {one_line(problem)}: {one_line(reason, 200)}")
    if failed:
        tell(f"{len(failed)} problems failed; the same command tries them again")
