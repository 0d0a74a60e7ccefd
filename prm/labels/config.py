"""What is asked of a labelling, and which of it each method uses.

Contract: `LabelConfig` is the one place for names and defaults of what `search prm label` takes.
`refuse_unused` refuses what is given and would be passed over: a setting of another method, one of rows or
pairs that are not written. What is given as the default is not told from what is not given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from prm.labels.derive import PENALTY
from prm.labels.pairs import GAP
from prm.scoring.options import ScoringOptions
from tasks.errors import UsageError

METHODS: Mapping[str, str] = {
    "mc": "every distinct prefix of sampled solutions is completed K times (Math-Shepherd)",
    "omega": "the first wrong step of a solution is found by halving, with K completions a probe (OmegaPRM)",
    "tree": "what a search found at or below each step; no model is loaded",
    "judge": "a model scores the steps; the first below its threshold is the first error",
}
"""Ways to label, each with a line about it."""
POLICY = ("policy", "model", "engine", "engine_args")
"""Fields that say who completes."""
_COMPLETING = ("mc", "omega")
_USED_BY: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("completions", "temperature", *POLICY), _COMPLETING),
    "solutions": ("mc",),
    "searches": ("omega",),
    "max_completions": ("omega",),
    "judge": ("judge",),
    "threshold": ("judge",),
}
_WRITTEN_TO: Mapping[str, tuple[str, ...]] = {
    "rule": ("rows", "pairs"),
    "penalty": ("rows",),
    "once": ("rows",),
    "consensus": ("rows",),
    "gap": ("pairs",),
    "extremes": ("pairs",),
}
"""Files that a field is of."""
_BACK_END = frozenset(each.name for each in fields(ScoringOptions)) | {"backend", "engine_args"}


@dataclass(frozen=True, kw_only=True)
class LabelConfig:
    """What is labelled, how, and where to. None: the default of the run, of the task or of the method.

    `method` None is `tree` with a run, else `mc`. `rule` is of `prm.labels.derive.RULES`; None is `quality`
    for trees and `soft` else; `penalty` is lambda of the rule `dual`. `judge` is the model of the method
    `judge`, a name of `prm.registry`; a step that it scores below `threshold` is wrong (None: its family's).
    `consensus` is a file of rows: those rows are written whose first error is the same there. `settings` are
    `policy.KEY` and `engine.KEY`; for the method `judge`, `judge.KEY` of `prm.registry.ScorerSettings`. The
    others are those of `treesearch.run.config`, `prm.labels.montecarlo`, `prm.labels.omega` and
    `prm.labels.pairs`.
    """

    out: str
    run: str | None = None
    task: str | None = None
    data: str | None = None
    limit: int | None = None
    policy: str | None = None
    model: str | None = None
    engine: str | None = None
    engine_args: str | None = None
    settings: Mapping[str, Any] | None = None
    method: str | None = None
    judge: str | None = None
    threshold: float | None = None
    completions: int = 8
    solutions: int = 4
    searches: int = 16
    max_completions: int | None = None
    temperature: float | None = None
    seed: int = 0
    concurrency: int = 64
    rule: str | None = None
    penalty: float = PENALTY
    rows: str | None = None
    consensus: str | None = None
    pairs: str | None = None
    gap: float = GAP
    extremes: bool = False
    once: bool = False


def refuse_unused(config: LabelConfig, method: str) -> None:
    """Raise `UsageError` for a field that is given and has no use under `method`, or that it lacks."""
    if method == "judge" and config.judge is None:
        raise UsageError("the method judge needs a model that judges; name one with --judge")
    given = {each.name for each in fields(config) if getattr(config, each.name) != each.default}
    for name, methods in _USED_BY.items():
        if name in given and method not in methods:
            raise UsageError(
                f"{_option(name)} is for the method {' or '.join(methods)}, not for {method}; leave it out, "
                f"or give --method {methods[0]}"
            )
    if "solutions" in given and config.run is not None:
        raise UsageError("--solutions are sampled ones; --run has its own, so leave --solutions out")
    for name, files in _WRITTEN_TO.items():
        if name in given and not given & set(files):
            wanted = " or ".join(f"{_option(file)} FILE" for file in files)
            raise UsageError(
                f"{_option(name)} is for what {wanted} writes; give that, or leave {_option(name)} out"
            )


def settings_used(config: LabelConfig, method: str) -> dict[str, Any]:
    """The settings that records of a method depend on, besides what the records say of themselves.

    Where and how fast a model runs (`engine.KEY`, the back end of a judge) is none of them.
    """
    names = [
        name for name, methods in _USED_BY.items() if method in methods and name not in (*POLICY, "judge")
    ]
    used = {name: getattr(config, name) for name in names}
    if method in _COMPLETING:
        used["seed"] = config.seed
    for key, value in (config.settings or {}).items():
        part, _, name = key.partition(".")
        if part == "policy" or (part == "judge" and name not in _BACK_END):
            used[key] = value
    return used


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
