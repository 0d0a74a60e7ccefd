"""A whole labelling from its configuration: open everything, label what is left, derive rows and pairs.

    plan = prepare_labels(LabelConfig(out="labels.jsonl", task="countdown", limit=100))
    summary = await run_labels(plan)

Contract: problems come from a task's data, or with `run` from a finished or unfinished run. Methods: `mc`
completes the steps of sampled solutions, or of the run's trees; `omega` searches first errors; `tree` takes
what the run's trees have found and loads no model. Records go to `out`, which is gone on with if it is
there; one that holds labels of another model, method or number of completions is refused. `rows` and `pairs`
are derived from all records of `out` when labelling is done, and written anew.

A problem that fails is in the summary and is tried again by running again. Nothing here writes to a terminal.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prm.labels.builder import OnChange, Output, Progress, ignore
from prm.labels.completer import Steps
from prm.labels.config import METHODS, POLICY, LabelConfig, refuse_unused
from prm.labels.derive import RULES, label_rows
from prm.labels.montecarlo import MonteCarlo, label_monte_carlo
from prm.labels.omega import Omega, label_omega
from prm.labels.pairs import sibling_pairs
from prm.labels.record import StepRecord
from prm.labels.rows import write_pairs, write_rows
from prm.labels.store import RecordFile
from prm.labels.trees import RunTrees, readable_chains, run_trees, tree_chains, tree_records
from tasks.errors import UsageError, unknown_name
from tasks.math import shutdown
from treesearch.engines.address import choose_engine
from treesearch.formats import delimiter
from treesearch.policies import card_folder, policy_config
from treesearch.policy import Policy
from treesearch.run.config import RunConfig, resolve
from treesearch.run.session import Plan, open_plan, prepare

_NEVER_SEARCHED = "greedy"


@dataclass(frozen=True, kw_only=True)
class LabelPlan:
    """A configuration with all that it names, but for the model. `trees` are the run's, if there is one."""

    config: LabelConfig
    method: str
    rule: str
    plan: Plan
    trees: RunTrees | None
    model: str
    source: str
    settings: MonteCarlo | Omega | None


def prepare_labels(config: LabelConfig) -> LabelPlan:
    """Check every name and setting and load the problems, or the trees; loads no model.

    Raises `UsageError` for names and settings, those that the method has no use for too, `DataError` for data
    that can not be read.
    """
    method = config.method or ("tree" if config.run is not None else "mc")
    if method not in METHODS:
        raise unknown_name("label method", method, METHODS)
    rule = config.rule or ("quality" if method == "tree" else "soft")
    if rule not in RULES:
        raise unknown_name("label rule", rule, RULES)
    refuse_unused(config, method)
    trees = _trees(config, method)
    plan = _plan(config) if trees is None else _plan_of_run(config, trees)
    source = method if method != "tree" else f"tree:{plan.resolved.config.algorithm}"
    return LabelPlan(
        config=config,
        method=method,
        rule=rule,
        plan=plan,
        trees=trees,
        model=_model(plan),
        source=source,
        settings=_settings(config, method),
    )


def _model(plan: Plan) -> str:
    """Who completes, as records have it: the policy, and which of a server's models where one is named."""
    config = plan.resolved.config
    named = config.model or plan.settings["engine"].get("model")
    return f"{config.policy} {named}" if named else config.policy


def _settings(config: LabelConfig, method: str) -> MonteCarlo | Omega | None:
    shared: dict[str, Any] = {
        "completions": config.completions,
        "temperature": config.temperature,
        "seed": config.seed,
        "concurrency": config.concurrency,
    }
    if method == "mc":
        return MonteCarlo(solutions=config.solutions, **shared)
    if method == "omega":
        return Omega(searches=config.searches, max_completions=config.max_completions, **shared)
    return None


def _trees(config: LabelConfig, method: str) -> RunTrees | None:
    if config.run is None:
        if method == "tree":
            raise UsageError("the method tree labels what a run has found; name one with --run")
        return None
    for name in ("task", "data"):
        if getattr(config, name) is not None:
            raise UsageError(f"--run has its own problems; leave --{name} out")
    found = run_trees(Path(config.run))
    return replace(found, trees=found.trees[: config.limit])


def _plan(config: LabelConfig) -> Plan:
    flags = {
        name: getattr(config, name) for name in ("task", "data", "limit", "seed", "concurrency", *POLICY)
    }
    _only_parts(config)
    return prepare(resolve(flags | {"settings": config.settings, "algorithm": _NEVER_SEARCHED}))


def _plan_of_run(config: LabelConfig, trees: RunTrees) -> Plan:
    """The run's plan, with another policy where one is named."""
    _only_parts(config)
    resolved = trees.plan.resolved
    given = {name: getattr(config, name) for name in POLICY if getattr(config, name) is not None}
    if not given and not config.settings:
        return trees.plan
    if "policy" in given and "engine" not in given:
        given["engine"] = choose_engine("auto", given["policy"])
    settings = dict(resolved.config.settings)
    if given.get("engine", resolved.config.engine) != resolved.config.engine:  # what was said to the other
        given = {"model": None, "engine_args": None} | given
        settings = {key: value for key, value in settings.items() if not key.startswith("engine.")}
    settings |= dict(config.settings or {})
    changed: RunConfig = replace(resolved.config, settings=settings, **given)
    return prepare(replace(resolved, config=changed))


def _only_parts(config: LabelConfig) -> None:
    for key in config.settings or {}:
        if not key.startswith(("policy.", "engine.")):
            raise UsageError(f"--set takes policy.KEY and engine.KEY here, got {key!r}")


async def run_labels(plan: LabelPlan, on_change: OnChange = ignore) -> dict[str, Any]:
    """Label what is left and derive; returns the summary. Cancelling leaves a file to go on with."""
    started = time.perf_counter()
    file = RecordFile(Path(plan.config.out))
    try:
        _refuse_other(plan, file.records)
        problems = plan.plan.problems if plan.trees is None else plan.trees.problems
        progress = Progress(total=len(problems))
        if plan.method == "tree":
            await _label_trees(plan, file, progress, on_change)
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
    if plan.trees is None:
        raise UsageError("the method tree needs a run")
    settings = plan.plan.settings
    folder = card_folder(plan.plan.resolved.config.policy, settings["engine"])
    step = delimiter(policy_config(folder, settings["policy"])[0].delimiter)
    try:
        for tree in plan.trees.trees:
            if (tree.problem.id, (), plan.model, plan.source) not in file.keys:
                try:
                    records = await tree_records(
                        tree, plan.plan.task, model=plan.model, source=plan.source, step=step
                    )
                except Exception as error:  # noqa: BLE001 - one problem's failure is its result
                    progress.failed[tree.problem.id] = f"{type(error).__name__}: {error}"
                    records = []
                for record in sorted(records, key=lambda each: each.step is None):  # the question comes last
                    if record.key not in file.keys:
                        file.append(record)
                        progress.records += 1
            progress.done += 1
            on_change(progress)
            await asyncio.sleep(0)
    finally:
        shutdown()


def _refuse_other(plan: LabelPlan, records: Sequence[StepRecord]) -> None:
    """Raise `UsageError` if a file holds labels that were made otherwise."""
    out = plan.config.out
    for record in records:
        if (record.model, record.source) != (plan.model, plan.source):
            raise UsageError(
                f"{out} holds labels of {record.source} by {record.model}, not of {plan.source} by "
                f"{plan.model}; name another file with --out"
            )
        inner = record.step is not None and not record.finished and record.completions
        if plan.method != "tree" and inner and record.completions != plan.config.completions:
            raise UsageError(
                f"{out} holds labels from {record.completions} completions, not {plan.config.completions}; "
                "name another file with --out"
            )


def _derive(plan: LabelPlan, records: Sequence[StepRecord]) -> dict[str, int]:
    config, made = plan.config, dict[str, int]()
    if config.rows is not None:
        made["rows"] = write_rows(Path(config.rows), label_rows(records, plan.rule, once=config.once))
    if config.pairs is not None:
        rule = "soft" if plan.rule == "dual" else plan.rule
        made["pairs"] = write_pairs(Path(config.pairs), sibling_pairs(records, gap=config.gap, rule=rule))
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
        "n_rows": derived.get("rows"),
        "n_pairs": derived.get("pairs"),
        "seconds": round(seconds, 3),
    }
