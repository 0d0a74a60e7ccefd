"""The configuration of a comparison: methods, budgets, seeds, and what all of its runs have in common.

`read_wanted` merges a YAML file and flags; `settle` adds the defaults and what the comparison's directory
holds already. A comparison may grow: methods, budgets and seeds that are given are added to those there are.
It never changes: another task, other data or another model, or another method of the same name, is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from tasks.errors import UsageError, unknown_name
from treesearch.comparison.methods import Method, read_method, with_baselines
from treesearch.run.config import RUNTIME, Resolved, RunConfig, resolve
from treesearch.run.plan import anchored
from treesearch.settings import read_settings, read_yaml, split_settings

DEFAULT_BUDGETS = (1_000, 4_000, 16_000)
_OWN = ("methods", "budgets", "seeds")
_PER_RUN = ("question", "algorithm", "value", "seed")
COMMON = tuple(
    entry.name
    for entry in fields(RunConfig)
    if entry.name not in _PER_RUN and not entry.name.startswith("budget_")
)
"""Settings of a run that all runs of a comparison share."""
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)([kmg]?)", re.IGNORECASE)
_SCALE = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000}


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What was asked for: no more than what was given. `origin` says where a common setting is from."""

    methods: tuple[Method, ...] = ()
    budgets: tuple[int, ...] = ()
    seeds: tuple[int, ...] = ()
    common: Mapping[str, Any]
    origin: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """A comparison: every method under every token budget with every seed.

    `methods` hold the baselines first. `budgets` are tokens for each problem, ascending. `common` is the run
    configuration of which each run changes algorithm, value, settings, budget and seed.
    """

    methods: tuple[Method, ...]
    budgets: tuple[int, ...]
    seeds: tuple[int, ...]
    common: Resolved

    def to_json(self) -> dict[str, Any]:
        """The configuration as JSON data."""
        common = asdict(self.common.config)
        return {
            "methods": [method.to_json() for method in self.methods],
            "budgets": list(self.budgets),
            "seeds": list(self.seeds),
            "common": {name: common[name] for name in COMMON},
            "origin": {name: self.common.origin[name] for name in COMMON},
        }


def read_wanted(flags: Mapping[str, Any], file: Path | None = None) -> Wanted:
    """What flags (None: not given) and a YAML file ask for; flags win, settings are merged key by key.

    `methods` is a list of texts, mappings or `Method`; `budgets` a list or text such as ``1k,4k``; `seeds` a
    number of seeds or a list of them. Raises `UsageError` for what cannot be read, naming nearest keys.
    """
    read = read_yaml(file) if file is not None else {}
    from_file = {name.replace("-", "_"): value for name, value in read.items()}
    given = {name: value for name, value in flags.items() if value is not None}
    for source, names in ((f"key in {file}", from_file), ("setting of a comparison", given)):
        for name in names:
            if name not in (*_OWN, *COMMON):
                raise unknown_name(source, name, (*_OWN, *COMMON))
    merged = from_file | given
    settings = read_settings(from_file.get("settings")) | read_settings(given.get("settings"))
    _check_settings(settings)
    common = {name: merged[name] for name in COMMON if name in merged} | (
        {"settings": settings} if settings else {}
    )
    return Wanted(
        methods=_methods(merged.get("methods") or ()),
        budgets=_budgets(merged.get("budgets") or ()),
        seeds=_seeds(merged.get("seeds")),
        common=common,
        origin={name: "flag" if name in given else "file" for name in common},
    )


def settle(wanted: Wanted, stored: CompareConfig | None = None) -> CompareConfig:
    """The whole configuration: `wanted` over the defaults, or added to `stored`.

    Raises `UsageError`, saying what differs, if `wanted` contradicts `stored`.
    """
    if stored is None:
        resolved = anchored(resolve(wanted.common))
        origin = {name: wanted.origin.get(name, "default") for name in resolved.origin}
        methods, budgets, seeds = wanted.methods, wanted.budgets or DEFAULT_BUDGETS, wanted.seeds or (0,)
        common = Resolved(config=resolved.config, origin=origin)
    else:
        _refuse_contradiction(wanted, stored)
        methods = (*stored.methods, *wanted.methods)
        budgets, seeds = (*stored.budgets, *wanted.budgets), (*stored.seeds, *wanted.seeds)
        runtime = {name: wanted.common[name] for name in RUNTIME if name in wanted.common}
        common = replace(stored.common, config=replace(stored.common.config, **runtime))
    return CompareConfig(
        methods=with_baselines(methods),
        budgets=tuple(sorted(set(budgets))),
        seeds=tuple(dict.fromkeys(seeds)),
        common=common,
    )


def read_config(content: Mapping[str, Any]) -> CompareConfig:
    """Read `CompareConfig.to_json` back."""
    config = RunConfig(**content["common"])
    origin = {entry.name: content["origin"].get(entry.name, "default") for entry in fields(RunConfig)}
    return CompareConfig(
        methods=tuple(read_method(entry) for entry in content["methods"]),
        budgets=tuple(content["budgets"]),
        seeds=tuple(content["seeds"]),
        common=Resolved(config=config, origin=origin),
    )


def _refuse_contradiction(wanted: Wanted, stored: CompareConfig) -> None:
    old = asdict(stored.common.config)
    settings = {**old["settings"], **wanted.common.get("settings", {})}
    new = asdict(anchored(resolve({**old, **wanted.common, "settings": settings})).config)
    old["settings"] = {key: str(value) for key, value in old["settings"].items()}
    new["settings"] = {key: str(value) for key, value in new["settings"].items()}
    found = [
        f"{name}: {old[name]!r} there, {new[name]!r} now"
        for name in wanted.common
        if name not in RUNTIME and old[name] != new[name]
    ]
    known = {method.name: method for method in stored.methods}
    for method in wanted.methods:
        there = known.get(method.name, method)
        if there != method:
            found.append(f"method {method.name}: {_shown(there)} there, {_shown(method)} now")
    if found:
        raise UsageError(f"another comparison is there: {'; '.join(found)}; name another directory")


def _shown(method: Method) -> str:
    settings = ", ".join(f"{key}={value}" for key, value in method.settings.items())
    return f"{method.algorithm} with value {method.value or 'by default'} and {settings or 'no settings'}"


def _methods(entries: Any) -> tuple[Method, ...]:
    if isinstance(entries, str | Mapping | Method) or not isinstance(entries, Iterable):
        raise UsageError(f"methods must be a list, got {entries!r}")
    return tuple(read_method(entry) for entry in entries)


def _budgets(entries: Any) -> tuple[int, ...]:
    listed: Sequence[Any] = entries.split(",") if isinstance(entries, str) else entries
    if isinstance(listed, int | float):
        listed = [listed]
    return tuple(_amount(entry) for entry in listed)


def _amount(raw: Any) -> int:
    """A budget in tokens from a number, or from text such as ``4k``."""
    match = _AMOUNT.fullmatch(str(raw).strip().replace("_", ""))
    value = float(match[1]) * _SCALE[match[2].lower()] if match else 0.0
    if not value.is_integer() or value < 1:
        raise UsageError(f"a budget must be a whole number of tokens such as 4000 or 4k, got {raw!r}")
    return int(value)


def _seeds(given: Any) -> tuple[int, ...]:
    if given is None:
        return ()
    text = given if isinstance(given, str) else None
    listed = text.split(",") if text is not None and "," in text else given
    try:
        if isinstance(listed, bool):
            raise ValueError
        found = range(int(listed)) if isinstance(listed, str | int) else [int(seed) for seed in listed]
    except (TypeError, ValueError):
        raise UsageError(f"seeds must be how many, or a list of whole numbers, got {given!r}") from None
    if not found:
        raise UsageError(f"seeds must be at least 1, got {given!r}")
    return tuple(found)


def _check_settings(settings: Mapping[str, Any]) -> None:
    parts = split_settings(settings)
    for part, prefix in (("algorithm", ""), ("value", "value.")):
        for key in parts[part]:
            raise UsageError(
                f"the setting {prefix}{key} belongs to a method: --method NAME:{prefix}{key}=..., "
                "or its settings in the file"
            )
