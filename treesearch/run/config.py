"""The configuration of a run: what `search solve` takes, with the origin of each value.

One frozen dataclass is the source of the command's flags, the keys of `--config` files and the Python
arguments. `resolve` merges default < file < flag and remembers which one won; `run.json` stores both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from tasks.errors import UsageError, unknown_name
from treesearch.budget import Budget
from treesearch.engines.address import check_policy, choose_engine
from treesearch.settings import build, read_settings, read_yaml

DEFAULT_TOKENS = 2_000
_TEXT = ("question", "data", "value", "model", "engine_args")
"""Optional texts that are kept as written: in them, `none` is a word (a value source is called so)."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What is searched, with which policy, algorithm and value, under which budget for each problem.

    `policy` is a model's folder, hub id or shipped name, or the address of a server; `model` names one of the
    server's models. `engine` auto is `openai` for an address, else `transformers` (`resolve` writes down
    which). `engine_args` are arguments in the engine's own words, for engines that have such. `value` None
    takes the algorithm's own default. `settings` are dotted overrides (`width`, `policy.temperature`,
    `value.n`, `engine.max_sequences`). `limit` takes the first problems of the data.
    `question` is searched in place of the task's data.
    """

    task: str = "math"
    question: str | None = None
    data: str | None = None
    policy: str = "embedded"
    model: str | None = None
    engine: str = "auto"
    engine_args: str | None = None
    algorithm: str = "mcts"
    value: str | None = None
    budget_tokens: int | None = DEFAULT_TOKENS
    budget_calls: int | None = None
    budget_nodes: int | None = None
    budget_seconds: float | None = None
    limit: int | None = None
    seed: int = 0
    concurrency: int = 64
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        for name in ("limit", "concurrency"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} must be at least 1, got {value}")
        if self.question is not None and self.data is not None:
            raise UsageError("a question and a data file were given; give one of them")
        check_policy(self.policy)
        self.budget()

    def budget(self) -> Budget:
        """The limits for each problem."""
        return Budget(
            tokens=self.budget_tokens,
            calls=self.budget_calls,
            nodes=self.budget_nodes,
            seconds=self.budget_seconds,
        )


RUNTIME = ("concurrency",)
"""Settings that may change between a run and its resumption: they do not change any tree."""


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """A configuration and, for every value, where it came from.

    That is `default`, `file`, `flag`, or `card`: the model's.
    """

    config: RunConfig
    origin: Mapping[str, str]

    def to_json(self) -> dict[str, dict[str, Any]]:
        """``{name: {"value": ..., "origin": ...}}``."""
        return {
            name: {"value": value, "origin": self.origin[name]} for name, value in asdict(self.config).items()
        }


def resolve(flags: Mapping[str, Any], file: Path | None = None) -> Resolved:
    """Merge a YAML file and flags (None: not given) over the defaults; settings are merged key by key."""
    read = read_yaml(file, may_be_empty=True) if file is not None else {}
    from_file = {name.replace("-", "_"): value for name, value in read.items()}
    given = {name: value for name, value in flags.items() if value is not None}
    valid = [entry.name for entry in fields(RunConfig)]
    if "set" in from_file:  # the option's name, whose nearest key would be `seed`
        raise UsageError(f"unknown key in {file} 'set'; did you mean 'settings'?")
    for name in from_file:
        if name not in valid:
            raise unknown_name(f"key in {file}", name, valid)
    merged = from_file | given
    settings = read_settings(from_file.get("settings")) | read_settings(given.get("settings"))
    merged.pop("settings", None)
    texts = {name: merged.pop(name) for name in _TEXT if isinstance(merged.get(name), str)}
    config = replace(build(RunConfig, merged, what="run"), settings=settings, **texts)
    config = replace(config, engine=choose_engine(config.engine, config.policy))
    origin = {name: "flag" if name in given else "file" if name in from_file else "default" for name in valid}
    return Resolved(config=config, origin=origin)


def from_json(stored: Mapping[str, Mapping[str, Any]]) -> Resolved:
    """Read back what `Resolved.to_json` wrote."""
    values = {name: entry["value"] for name, entry in stored.items()}
    origin = {entry.name: "default" for entry in fields(RunConfig)}  # those of settings newer than the run
    origin |= {name: str(entry["origin"]) for name, entry in stored.items()}
    return Resolved(config=RunConfig(**values), origin=origin)


def differences(old: RunConfig, new: RunConfig) -> list[str]:
    """What differs between two configurations, `RUNTIME` settings aside, one readable line each."""
    first, second = asdict(old), asdict(new)
    return [
        f"{name}: {first[name]!r} in the run, {second[name]!r} now"
        for name in first
        if name not in RUNTIME and first[name] != second[name]
    ]
