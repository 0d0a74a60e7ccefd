"""Opening a policy by name: the embedded model, a local folder, a model of a hub, or one that a server runs.

A model folder may hold a card, `treesearch.json`: `PolicyConfig` settings that fit the model (format,
delimiter, caps), a `note` that every run repeats, and `values`, the value source to take for a task where an
algorithm would rank by log-probability. What the caller gives wins over the card. For a server's model the
card is that of the local folder its tokenizer comes from, if there is one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from tasks.base import Task
from tasks.errors import DataError, UsageError
from treesearch.engines.address import AUTO, IN_PROCESS, choose_engine, is_url
from treesearch.engines.base import Engine
from treesearch.policy import Policy, PolicyConfig
from treesearch.registry import TABLES, find
from treesearch.settings import build

EMBEDDED = "embedded"
CARD = "treesearch.json"
RANKED_BY_POLICY = "logprob"
"""The default value in whose place a card may name another."""


@dataclass(frozen=True, kw_only=True)
class OpenPolicy:
    """An opened policy and what its card says of the model."""

    policy: Policy
    note: str


def embedded_folder() -> Path:
    """Folder of the model that ships with the package."""
    return Path(str(resources.files("treesearch") / "models" / "embedded"))


def resolve_model(name: str) -> str:
    """Folder or hub id that a policy's name stands for."""
    return str(embedded_folder()) if name == EMBEDDED else name


def read_card(model: str) -> dict[str, Any]:
    """The card of a model folder; empty without one. `DataError` if it is not a JSON object."""
    path = Path(model) / CARD
    if not model or is_url(model) or not path.is_file():
        return {}
    try:
        card = json.loads(path.read_text())
    except ValueError as error:
        raise DataError(f"{path}: not JSON ({error})") from error
    if not isinstance(card, dict):
        raise DataError(f"{path}: must hold a JSON object")
    return card


def policy_config(model: str, settings: Mapping[str, Any]) -> tuple[PolicyConfig, str]:
    """The policy settings for a model: its card's, overridden by `settings`; and the card's note."""
    card = read_card(model)
    note = str(card.pop("note", ""))
    card.pop("values", None)
    build(PolicyConfig, card, what=f"{Path(model) / CARD}")
    return build(PolicyConfig, card | dict(settings), what="policy"), note


def recommended_value(name: str, task: str, default: str) -> str | None:
    """The value source that the card of the policy `name` gives for a task; None where it gives none.

    A card speaks only where an algorithm's own `default` is the model's log-probability: roll-outs, or no
    value at all, belong to the algorithm. Raises `DataError` where `values` are not names by task.
    """
    model = resolve_model(name)
    values = read_card(model).get("values", {})
    if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
        raise DataError(f"{Path(model) / CARD}: 'values' must be an object of task: value source")
    return values.get(task) if default == RANKED_BY_POLICY else None


def served_note(engine: Engine) -> str:
    """The note of the card that came to light when the engine for a server opened; else empty."""
    return str(read_card(getattr(engine, "tokenizer_folder", "")).get("note", ""))


def card_folder(name: str, settings: Mapping[str, Any]) -> str:
    """Where the card of the policy `name` is, as far as can be told before the engine is open."""
    return resolve_model(str(settings.get("tokenizer", "")) if is_url(name) else name)


def settings_of_engine(
    name: str,
    engine: str,
    settings: Mapping[str, Any],
    *,
    model: str | None = None,
    engine_args: str | None = None,
) -> dict[str, Any]:
    """The settings of an engine for the policy `name`, with `model` and `engine_args` among them.

    Raises `UsageError` where the engine has no use for one of them, or cannot run such a policy.
    """
    found = dict(settings)
    if engine == "openai" and not is_url(name):
        raise UsageError(
            f"the engine 'openai' needs a server's address: --policy http://HOST:PORT/v1, got {name!r}"
        )
    if engine in IN_PROCESS and is_url(name):
        raise UsageError(
            f"the engine {engine!r} loads models itself; for the server at {name} leave --engine out"
        )
    if model is not None:
        if engine in TABLES["engine"] and engine != "openai":
            raise UsageError(
                f"--model names one of a server's models; the engine {engine!r} takes its model by --policy"
            )
        found["model"] = model
    if engine_args is not None:
        if engine in TABLES["engine"] and engine != "vllm":
            raise UsageError(
                f"--engine-args is for the engine 'vllm'; the engine {engine!r} has its settings: "
                "--set engine.KEY=VALUE"
            )
        found["args"] = engine_args
    if found.get("tokenizer") == EMBEDDED:
        found["tokenizer"] = str(embedded_folder())
    return found


async def open_policy(
    name: str,
    task: Task,
    *,
    model: str | None = None,
    engine: str = AUTO,
    engine_args: str | None = None,
    settings: Mapping[str, Any] | None = None,
    engine_settings: Mapping[str, Any] | None = None,
) -> OpenPolicy:
    """Open the model `name` with an engine by name; loading runs in a thread.

    `name` may be a server's address, and `model` then one of its models. `engine_args` are vLLM's own.
    """
    engine = choose_engine(engine, name)
    given = settings_of_engine(name, engine, engine_settings or {}, model=model, engine_args=engine_args)
    config, note = policy_config(card_folder(name, given), settings or {})
    opened: Engine = await asyncio.to_thread(find("engine", engine), resolve_model(name), given)
    if is_url(name):
        config, note = policy_config(getattr(opened, "tokenizer_folder", ""), settings or {})
    return OpenPolicy(policy=Policy(engine=opened, task=task, config=config), note=note)
