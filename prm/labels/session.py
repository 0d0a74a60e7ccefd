"""A whole labelling from its configuration: open everything, label what is left, derive rows and pairs.

    plan = prepare_labels(LabelConfig(out="labels.jsonl", task="countdown", limit=100))
    summary = await run_labels(plan)

Contract: problems come from a task's data, or with `run` from a finished or unfinished run. Methods: `mc`
completes the steps of sampled solutions, or of the run's trees; `omega` searches first errors; `tree` takes
what the run's trees have found and loads no model; `judge` has a model judge their solutions. Records go to
`out`, which is gone on with if it is there; one that was made otherwise is refused (`made`). `rows` and
`pairs` are derived from all records of `out` when labelling is done, and written anew; with `consensus` the
rows that agree with another file's.

A problem that fails is in the summary and is tried again by running again. Nothing here writes to a terminal.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from prm.labels.builder import OnChange, Output, Progress, ignore
from prm.labels.completer import Steps
from prm.labels.config import METHODS, LabelConfig
from prm.labels.derive import RuleOptions, label_rows, why_none
from prm.labels.judge import consensus
from prm.labels.judging import judged_records
from prm.labels.made import check_made
from prm.labels.montecarlo import MonteCarlo, label_monte_carlo
from prm.labels.omega import Omega, label_omega
from prm.labels.pairs import sibling_pairs
from prm.labels.plan import LabelPlan, judge_settings, prepare_labels
from prm.labels.record import StepRecord
from prm.labels.rows import write_pairs, write_rows
from prm.labels.store import RecordFile
from prm.labels.trees import readable_chains, tree_chains, tree_records
from prm.registry import open_scorer
from prm.scoring.base import usual_threshold
from tasks.errors import UsageError
from tasks.math import shutdown
from treesearch.formats import delimiter
from treesearch.policies import card_folder, policy_config
from treesearch.policy import Policy
from treesearch.run.session import open_plan
from treesearch.together import together
from treesearch.tree import Tree

__all__ = ["METHODS", "LabelConfig", "LabelPlan", "prepare_labels", "run_labels"]


async def run_labels(plan: LabelPlan, on_change: OnChange = ignore) -> dict[str, Any]:
    """Label what is left and derive; returns the summary. Cancelling leaves a file to go on with."""
    started = time.perf_counter()
    file = RecordFile(Path(plan.config.out))
    try:
        check_made(plan, file.records)
        problems = plan.plan.problems if plan.trees is None else plan.trees.problems
        progress = Progress(total=len(problems))
        if plan.method == "tree":
            await _label_trees(plan, file, progress, on_change)
        elif plan.method == "judge":
            await _judge_trees(plan, file, progress, on_change)
        else:
            await _label_with_policy(plan, file, progress, on_change)
        derived = _derive(plan, file.records)
    finally:
        file.close()
    return _summary(plan, file.records, progress, derived, time.perf_counter() - started)


async def _label_with_policy(
    plan: LabelPlan, file: RecordFile, progress: Progress, on_change: OnChange
) -> None:
    problems = list(plan.plan.problems) if plan.trees is None else plan.trees.problems
    marks = {(key[0], key[2], key[3]) for key in file.keys if not key[1]}
    if all((problem.id, plan.model, plan.source) in marks for problem in problems):
        progress.done = len(problems)
        return  # nothing is left: no model is loaded
    async with open_plan(plan.plan) as policy:
        output = Output(
            file=file,
            policy=policy,
            model=plan.model,
            source=plan.source,
            progress=progress,
            on_change=on_change,
        )
        if isinstance(plan.settings, MonteCarlo):
            await label_monte_carlo(problems, output, plan.settings, given=_chains(plan, policy))
        elif isinstance(plan.settings, Omega):
            await label_omega(problems, output, plan.settings)


def _chains(plan: LabelPlan, policy: Policy) -> dict[str, list[Steps]] | None:
    """The solutions of the run, if there is one, in ids that `policy` reads: its own run's as they are."""
    if plan.trees is None:
        return None
    if plan.plan is plan.trees.plan:
        return {tree.problem.id: tree_chains(tree) for tree in plan.trees.trees}
    return readable_chains(plan.trees.trees, policy)


async def _label_trees(plan: LabelPlan, file: RecordFile, progress: Progress, on_change: OnChange) -> None:
    """The records of every tree; graded in threads or workers, one tree after another."""
    settings = plan.plan.settings
    folder = card_folder(plan.plan.resolved.config.policy, settings["engine"])
    step = delimiter(policy_config(folder, settings["policy"])[0].delimiter)

    async def records(tree: Tree) -> list[StepRecord]:
        return await tree_records(tree, plan.plan.task, model=plan.model, source=plan.source, step=step)

    try:
        await _write_trees(plan, records, file, progress, on_change, concurrency=1)
    finally:
        shutdown()


async def _judge_trees(plan: LabelPlan, file: RecordFile, progress: Progress, on_change: OnChange) -> None:
    """The verdicts on the solutions of every tree; no model is loaded where all are there."""
    if plan.trees is None or all(_key(plan, tree) in file.keys for tree in plan.trees.trees):
        progress.done = progress.total
        return
    scorer = await asyncio.to_thread(open_scorer, plan.model, judge_settings(plan.config))
    given = plan.config.threshold

    async def records(tree: Tree) -> list[StepRecord]:
        return await judged_records(tree, scorer, judge=plan.model, threshold=given, on_tokens=progress.spend)

    try:
        if given is None:
            usual_threshold(scorer)  # one that has none is refused here, not solution by solution
        await _write_trees(plan, records, file, progress, on_change, concurrency=plan.config.concurrency)
    finally:
        await scorer.close()


async def _write_trees(
    plan: LabelPlan,
    records_of: Callable[[Tree], Awaitable[list[StepRecord]]],
    file: RecordFile,
    progress: Progress,
    on_change: OnChange,
    *,
    concurrency: int,
) -> None:
    """Write the records of every tree that is not done, `concurrency` trees at once."""
    if plan.trees is None:
        raise UsageError(f"the method {plan.method} needs a run")
    places = asyncio.Semaphore(concurrency)

    async def write(tree: Tree) -> None:
        async with places:
            records: list[StepRecord] = []
            if _key(plan, tree) not in file.keys:
                try:
                    records = await records_of(tree)
                except Exception as error:  # noqa: BLE001 - one problem's failure is its result
                    progress.failed[tree.problem.id] = f"{type(error).__name__}: {error}"
            for record in sorted(records, key=lambda each: each.step is None):  # the question comes last
                if record.key not in file.keys:
                    file.append(record)
                    progress.records += 1
            progress.done += 1
            on_change(progress)
            await asyncio.sleep(0)

    await together([write(tree) for tree in plan.trees.trees])


def _key(plan: LabelPlan, tree: Tree) -> tuple[str, tuple[str, ...], str, str]:
    """Key of the record that marks a tree's problem as done."""
    return tree.problem.id, (), plan.model, plan.source


def _derive(plan: LabelPlan, records: Sequence[StepRecord]) -> dict[str, int]:
    config, made = plan.config, dict[str, int]()
    if config.rows is not None:
        options = RuleOptions(penalty=config.penalty)
        rows = label_rows(records, plan.rule, once=config.once, options=options)
        if plan.agreeing is not None:
            agreed = consensus(rows, plan.agreeing)
            rows, made["compared"] = list(agreed.kept), agreed.compared
        made["rows"] = write_rows(Path(config.rows), rows)
    if config.pairs is not None:
        pairs = sibling_pairs(records, gap=config.gap, rule=plan.rule, extremes=config.extremes)
        made["pairs"] = write_pairs(Path(config.pairs), pairs)
    return made


def _summary(
    plan: LabelPlan,
    records: Sequence[StepRecord],
    progress: Progress,
    derived: Mapping[str, int],
    seconds: float,
) -> dict[str, Any]:
    graded = [record for record in records if record.completions and record.step is not None]
    share = sum(record.right / record.completions for record in graded) / len(graded) if graded else None
    return {
        "method": plan.method,
        "source": plan.source,
        "model": plan.model,
        "out": plan.config.out,
        "n_problems": progress.total,
        "n_failed": len(progress.failed),
        "failed": progress.failed,
        "n_records": len(records),
        "n_new_records": progress.records,
        "completions": progress.completions,
        "tokens": progress.tokens,
        "mean_soft": share,
        "rule": plan.rule if derived else None,
        "note": why_none(records, plan.rule) if 0 in derived.values() else None,
        "n_rows": derived.get("rows"),
        "n_compared": derived.get("compared"),
        "n_pairs": derived.get("pairs"),
        "seconds": round(seconds, 3),
    }
