"""Checks of a configuration that need the names of others: algorithms, values, builders, losses.

Contract: `check` raises `UsageError` for the first thing that cannot work, before anything is searched, read
or loaded; a run must not find out after a night of searching that its loss has no such setting.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from selftrain.loop.config import LoopConfig
from selftrain.loop.labelling import check_labels
from selftrain.loop.parts import Parts
from selftrain.loop.reading import read
from selftrain.loop.stages.build import SUPPLIED
from selftrain.monitors import MonitorSettings
from tasks.errors import UsageError
from treesearch.api import open_algorithm, open_task, open_value
from treesearch.engines.address import is_url
from treesearch.policy import PolicyConfig
from treesearch.settings import build, split_settings


def check(config: LoopConfig, parts: Parts) -> None:
    """Check every name and setting; see the module."""
    for part in config.tasks:
        open_task(part.task)
    _check_search(config.search.algorithm, config.search.value, config.search.settings)
    _check_search(config.evaluate.algorithm, config.evaluate.value, config.evaluate.settings)
    if config.tune is not None:
        _check_search("best-of-n", config.tune.value or "logprob", config.tune.settings)
    build(parts.get("decontamination"), config.decontamination.settings, what="decontamination")
    read(MonitorSettings, config.monitors.settings, "monitors.settings")
    if config.train is not None:
        _check_training(config, parts)
    if config.prm is not None:
        check_labels(dict(config.prm.labels))
        if config.train is None and config.prm.use not in ("evaluate", "both"):
            raise UsageError(
                "only a reward model is trained and the evaluation does not use it, so there is nothing to "
                "compare: set prm.use to evaluate or both"
            )


def _check_search(algorithm: str, value: str | None, settings: Mapping[str, Any]) -> None:
    given = split_settings(settings)
    if given["engine"]:
        raise UsageError("settings of the engine belong under engine.settings, once for the whole run")
    open_value(value, open_algorithm(algorithm, given["algorithm"]), given["value"])
    build(PolicyConfig, given["policy"], what="policy")


def _check_training(config: LoopConfig, parts: Parts) -> None:
    if is_url(config.policy):
        raise UsageError(
            f"the policy {config.policy} is a server's and cannot be trained here; give a folder or hub id, "
            "or leave training out: train: none"
        )
    settings: dict[str, Any] = dict(config.train.settings) if config.train else {}
    build(parts.get("train_config"), settings, what="training")
    if parts.open_builder is not None:
        return
    from selftrain.builders import builder_inputs, find_builder

    name = config.builder.name
    build(find_builder(name), config.builder.settings, what=f"builder {name}")
    for wanted, what in builder_inputs(name, optional=False).items():
        if wanted not in SUPPLIED:
            raise UsageError(f"builder {name!r} needs {wanted}, {what}; a run cannot give it")
