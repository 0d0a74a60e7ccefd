"""What a labelling will do: every name and setting checked, problems or trees loaded, no model opened.

Contract: `prepare_labels` makes a `LabelPlan` of a `LabelConfig`. With a run the problems are those of its
trees and the policy is the run's, or another one that is named. What the records will say of model and source
is decided here. It writes nothing; `prm.labels.session` carries a plan out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prm.labels.config import METHODS, POLICY, LabelConfig, refuse_unused
from prm.labels.derive import PENALTY, RULES
from prm.labels.montecarlo import MonteCarlo
from prm.labels.omega import Omega
from prm.labels.trees import RunTrees, run_trees
from prm.registry import ScorerSettings
from prm.training.rows import StepRow, read_rows
from tasks.errors import UsageError, unknown_name
from treesearch.engines.address import choose_engine
from treesearch.run.config import RunConfig, resolve
from treesearch.run.plan import Plan, prepare
from treesearch.settings import build

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
    agreeing: Sequence[StepRow] | None = None
    """The rows of `consensus`."""


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
    _check_rule(config, method, rule)
    agreeing = None if config.consensus is None else read_rows(Path(config.consensus))
    _only_parts(config, method)
    trees = _trees(config, method)
    plan = _plan(config) if trees is None else _plan_of_run(config, trees)
    named = {"tree": f"tree:{plan.resolved.config.algorithm}", "judge": f"judge:{config.judge}"}
    return LabelPlan(
        config=config,
        method=method,
        rule=rule,
        plan=plan,
        trees=trees,
        model=config.judge or _model(plan),
        source=named.get(method, method),
        settings=_settings(config, method),
        agreeing=agreeing,
    )


def _check_rule(config: LabelConfig, method: str, rule: str) -> None:
    """Raise `UsageError` for a rule that the records of the method, or pairs, or its settings do not fit."""
    if rule == "tree" and method != "tree":
        raise UsageError(
            f"the rule tree takes what a search backed up, which the method {method} does not record; take "
            "--method tree, or another --rule (soft, hard)"
        )
    if rule == "dual" and config.pairs is not None:
        raise UsageError(
            "the rule dual labels the steps of a whole solution, so siblings have no values by it; write the "
            "pairs by another rule (the same --out, nothing is sampled again)"
        )
    if rule != "dual" and config.penalty != PENALTY:
        raise UsageError(f"--penalty is for the rule dual, not for {rule}; leave it out, or give --rule dual")
    if not config.penalty >= 0:
        raise UsageError(f"penalty must be at least 0, got {config.penalty:g}")


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
        if method in ("tree", "judge"):
            raise UsageError(f"the method {method} labels what a run has found; name one with --run")
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
    return prepare(resolve(flags | {"settings": config.settings, "algorithm": _NEVER_SEARCHED}))


def _plan_of_run(config: LabelConfig, trees: RunTrees) -> Plan:
    """The run's plan, with another policy where one is named."""
    resolved = trees.plan.resolved
    given = {name: getattr(config, name) for name in POLICY if getattr(config, name) is not None}
    if config.judge is not None or (not given and not config.settings):
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


def _only_parts(config: LabelConfig, method: str) -> None:
    parts = ("judge",) if method == "judge" else ("policy", "engine")
    for key in config.settings or {}:
        if key.partition(".")[0] not in parts or "." not in key:
            wanted = " and ".join(f"{part}.KEY" for part in parts)
            raise UsageError(f"--set takes {wanted} here, got {key!r}")
    if method == "judge":
        build(ScorerSettings, judge_settings(config), what="judge")


def judge_settings(config: LabelConfig) -> dict[str, Any]:
    """The settings of the model that judges, without their part's name."""
    return {key.removeprefix("judge."): value for key, value in (config.settings or {}).items()}
