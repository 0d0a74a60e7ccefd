"""`search solve` and `search resume`: from options to a plan, from a plan to a summary."""

from __future__ import annotations

import contextlib
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from treesearch.cli import options
from treesearch.cli.exit_codes import ExitCode
from treesearch.cli.options import number
from treesearch.cli.terminal import say_json, tell

if TYPE_CHECKING:
    from treesearch.run.overview import Overview
    from treesearch.run.plan import Plan
    from treesearch.run.session import Outcome

_BUDGETS = ("budget_tokens", "budget_calls", "budget_nodes", "budget_seconds")


def solve(
    question: options.Question = None,
    task: options.TaskName = None,
    data: options.Data = None,
    policy: options.PolicyName = None,
    model: options.ModelName = None,
    engine: options.EngineName = None,
    engine_args: options.EngineArgs = None,
    algorithm: options.AlgorithmName = None,
    value: options.ValueName = None,
    settings: options.Settings = None,
    config: options.ConfigFile = None,
    budget_tokens: options.Tokens = None,
    budget_calls: options.Calls = None,
    budget_nodes: options.Nodes = None,
    budget_seconds: options.Seconds = None,
    limit: options.Limit = None,
    seed: options.Seed = None,
    concurrency: options.Concurrency = None,
    run: options.RunFolder = None,
    as_json: options.Json = False,
) -> int:
    """Solve problems, or one QUESTION, by searching with a language model."""
    flags = dict(locals())  # the parameters by name: but for three, they are the fields of `RunConfig`
    from treesearch.run.config import resolve
    from treesearch.run.plan import prepare
    from treesearch.run.recommended import recommended
    from treesearch.settings import parse_assignments

    for name in ("config", "run", "as_json"):
        del flags[name]
    for name in _BUDGETS:
        flags[name] = number(flags[name], f"--{name.replace('_', '-')}")
    flags["settings"] = parse_assignments(settings) if settings else None
    resolved = recommended(resolve(flags, Path(config) if config is not None else None))
    plan = prepare(resolved)
    return _start(plan, Path(run) if run is not None else None, as_json=as_json)


def resume(
    run: options.Run,
    budget_tokens: options.MoreTokens = None,
    budget_calls: options.MoreCalls = None,
    budget_nodes: options.MoreNodes = None,
    concurrency: options.Concurrency = None,
    as_json: options.Json = False,
) -> int:
    """Go on with a run that was stopped, try its failed problems again, or search further."""
    budgets = {"budget_tokens": budget_tokens, "budget_calls": budget_calls, "budget_nodes": budget_nodes}
    from dataclasses import replace

    from treesearch.run.extend import enlarged, extend, parse_limits, reopened
    from treesearch.run.overview import find_run, read_overview
    from treesearch.run.plan import prepare
    from treesearch.run.summary import read_summary

    folder = find_run(run)
    given = {
        name: number(text, f"--{name.replace('_', '-')}")
        for name, text in budgets.items()
        if text is not None
    }
    limits = parse_limits(given)
    resolved = enlarged(folder, limits)
    overview = read_overview(folder)
    summary = read_summary(folder)
    if overview.state == "finished" and summary.get("finished") and not reopened(folder, limits):
        if limits:
            extend(folder, limits)
        return _show_finished(read_overview(folder), summary, as_json=as_json)
    if concurrency is not None:
        resolved = replace(resolved, config=replace(resolved.config, concurrency=concurrency))
    return _start(replace(prepare(resolved), extends=limits), folder, as_json=as_json)


def _start(plan: Plan, folder: Path | None, *, as_json: bool) -> int:
    """Solve into `folder`, into a new run directory, or, for a question, into one that is thrown away."""
    if folder is not None or plan.resolved.config.question is None:
        return _conduct(plan, folder or _new_folder(plan), kept=True, as_json=as_json)
    import tempfile

    with tempfile.TemporaryDirectory(prefix="search-") as scratch:
        return _conduct(plan, Path(scratch) / "run", kept=False, as_json=as_json)


def _new_folder(plan: Plan) -> Path:
    """``runs/TASK-ALGORITHM-TIME``, with a number behind it where that is taken."""
    from treesearch.run.overview import RUNS

    config = plan.resolved.config
    name = f"{config.task}-{config.algorithm}-{time.strftime('%Y%m%d-%H%M%S')}"
    folder, count = RUNS / name, 1
    while folder.exists():
        count += 1
        folder = RUNS / f"{name}-{count}"
    return folder


def _conduct(plan: Plan, folder: Path, *, kept: bool, as_json: bool) -> int:
    """Run the plan with a display, then report; returns the exit code."""
    from treesearch.cli.interrupt import Interrupted, run_interruptible
    from treesearch.cli.progress import Display
    from treesearch.cli.report import show_header
    from treesearch.run.session import run_plan

    show_header(plan, folder if kept else None)
    try:
        # Whatever a library prints must not mix with the result on standard output.
        with Display() as display, contextlib.redirect_stdout(sys.stderr):
            outcome = run_interruptible(run_plan(plan, folder, display))
    except Interrupted:
        tell(_how_to_go_on(folder, kept=kept))
        return ExitCode.INTERRUPTED
    _report(plan, outcome, folder, kept=kept, as_json=as_json)
    return ExitCode.PROBLEMS_FAILED if outcome.summary["n_errors"] else ExitCode.DONE


def _how_to_go_on(folder: Path, *, kept: bool) -> str:
    if not kept:
        return "interrupted; nothing was kept: name a directory with --run to keep a question's search"
    if not (folder / "run.json").exists():
        return "interrupted before the search began; nothing to resume"
    return f"interrupted; resume with: search resume {shlex.quote(str(folder))}"


def _report(plan: Plan, outcome: Outcome, folder: Path, *, kept: bool, as_json: bool) -> None:
    from treesearch.cli.report import show_failures, show_solution, show_summary, solution
    from treesearch.run.store import fold_tree

    summary: dict[str, Any] = outcome.summary if kept else outcome.summary | {"run": None}
    question = plan.resolved.config.question
    if question is not None:
        row = outcome.rows[0]
        found = solution(fold_tree(folder, plan.problems[0], plan.resolved.config), row["answer"])
        summary |= {"answer": row["answer"], "verdict": row["verdict"], "stop_reason": row["stop_reason"]}
        summary["steps"] = found
        if not as_json:
            show_solution(row, found)
    if as_json:
        say_json(summary)
    else:
        show_summary(summary)
    show_failures(outcome.rows)


def _show_finished(overview: Overview, summary: dict[str, Any], *, as_json: bool) -> int:
    """A finished run's summary once more; no model is loaded."""
    from treesearch.cli.report import show_summary

    tell(f"{overview.folder} is finished; nothing to do")
    if as_json:
        say_json(summary)
    else:
        show_summary(summary)
    return ExitCode.DONE
