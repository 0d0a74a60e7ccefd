"""What a run will do: every name and setting checked, the problems loaded, no model opened.

Contract: `prepare` makes a `Plan` of a resolved configuration, or says what is wrong with it; it writes
nothing. `session` carries a plan out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tasks.base import Problem, Task
from tasks.errors import DataError, UsageError, unknown_name
from treesearch.algorithms.base import Algorithm
from treesearch.api import open_algorithm, open_task, open_value
from treesearch.engines.address import is_url
from treesearch.policies import EMBEDDED, card_folder, policy_config, settings_of_engine
from treesearch.registry import names
from treesearch.run.config import Resolved
from treesearch.settings import split_settings
from treesearch.values.base import Value

_TOKENIZER = "engine.tokenizer"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A configuration with all that it names, but for the model. `note` is what the model's card says.

    `extends` are the limits that grow as against the run that is gone on with (`run.extend`).
    """

    resolved: Resolved
    task: Task
    problems: Sequence[Problem]
    algorithm: Algorithm
    value: Value
    settings: Mapping[str, Mapping[str, Any]]
    note: str
    extends: Mapping[str, int | None] = field(default_factory=dict[str, "int | None"])


def prepare(resolved: Resolved) -> Plan:
    """Check names and settings, load the problems; paths become absolute, so that a run can move on.

    Raises `UsageError` for a wrong name or setting, `DataError` for problems that cannot be read.
    """
    resolved = anchored(resolved)
    config = resolved.config
    settings = split_settings(config.settings)
    task = open_task(config.task)
    algorithm = open_algorithm(config.algorithm, settings["algorithm"])
    algorithm.require_end(config.budget())
    value = open_value(config.value, algorithm, settings["value"])
    if config.engine not in names("engine"):
        raise unknown_name("engine", config.engine, names("engine"))
    settings_of_engine(
        config.policy,
        config.engine,
        settings["engine"],
        model=config.model,
        engine_args=config.engine_args,
    )
    _, note = policy_config(card_folder(config.policy, settings["engine"]), settings["policy"])
    return Plan(
        resolved=resolved,
        task=task,
        problems=_load(task, resolved),
        algorithm=algorithm,
        value=value,
        settings=settings,
        note=note,
    )


def anchored(resolved: Resolved) -> Resolved:
    """The configuration with local paths made absolute."""
    config = resolved.config
    if config.data is not None:
        config = replace(config, data=str(Path(config.data).expanduser().absolute()))
    if config.policy != EMBEDDED and not is_url(config.policy) and Path(config.policy).expanduser().is_dir():
        config = replace(config, policy=str(Path(config.policy).expanduser().absolute()))
    tokenizer = config.settings.get(_TOKENIZER)
    if tokenizer is not None and Path(str(tokenizer)).expanduser().is_dir():
        anchored = {_TOKENIZER: str(Path(str(tokenizer)).expanduser().absolute())}
        config = replace(config, settings={**config.settings, **anchored})
    return replace(resolved, config=config)


def _load(task: Task, resolved: Resolved) -> list[Problem]:
    config = resolved.config
    if config.question is not None:
        return [task.problem(config.question)]
    data = Path(config.data) if config.data is not None else None
    problems = task.load(data, limit=config.limit, seed=config.seed)
    if not problems:
        raise DataError(f"{config.data or task.name}: no problem to solve")
    if other := {problem.task for problem in problems} - {task.name}:
        named = " and ".join(sorted(other))
        raise UsageError(f"{config.data} holds problems of the task {named}, not {task.name}; use --task")
    return problems
