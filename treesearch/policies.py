"""Opening a policy by name: the embedded model, a local folder, or a model of a hub.

A model folder may hold a card, `treesearch.json`: `PolicyConfig` settings that fit the model (format,
delimiter, caps) and a `note` that every run repeats. Settings that the caller gives win over the card's.
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
from tasks.errors import DataError
from treesearch.engines.base import Engine
from treesearch.policy import Policy, PolicyConfig
from treesearch.registry import find
from treesearch.settings import build

EMBEDDED = "embedded"
CARD = "treesearch.json"


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
    if not path.is_file():
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
    build(PolicyConfig, card, what=f"{Path(model) / CARD}")
    return build(PolicyConfig, card | dict(settings), what="policy"), note


async def open_policy(
    name: str,
    task: Task,
    *,
    engine: str = "transformers",
    settings: Mapping[str, Any] | None = None,
    engine_settings: Mapping[str, Any] | None = None,
) -> OpenPolicy:
    """Open the model `name` with an engine by name; loading runs in a thread."""
    model = resolve_model(name)
    config, note = policy_config(model, settings or {})
    opened: Engine = await asyncio.to_thread(find("engine", engine), model, dict(engine_settings or {}))
    return OpenPolicy(policy=Policy(engine=opened, task=task, config=config), note=note)
