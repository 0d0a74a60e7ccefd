"""Checks of a configuration that need the names of others: algorithms, values, builders, losses.

Contract: `check` raises `UsageError` for the first thing that cannot work, before anything is searched, read
or loaded; a run must not find out after a night of searching that its loss has no such setting.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from selftrain.loop.config import LoopConfig
from selftrain.loop.labelling import check_labels, learned_by
from selftrain.loop.parts import Parts
from selftrain.loop.reading import read
from selftrain.loop.sections import PrmPart
from selftrain.loop.stages.build import SUPPLIED
from selftrain.monitors import MonitorSettings
from tasks.errors import MissingPrerequisiteError, UsageError, unknown_name
from treesearch.api import open_algorithm, open_task, open_value
from treesearch.engines.address import AUTO, choose_engine, is_url
from treesearch.policies import EMBEDDED, resolve_model, settings_of_engine
from treesearch.policy import PolicyConfig
from treesearch.registry import names
from treesearch.settings import build, split_settings


def check(config: LoopConfig, parts: Parts) -> None:
    """Check every name and setting; see the module."""
    for part in config.tasks:
        open_task(part.task)
    _check_search(config.search.algorithm, config.search.value, config.search.settings)
    _check_search(config.evaluate.algorithm, config.evaluate.value, config.evaluate.settings)
    if config.tune is not None:
        _check_search("best-of-n", config.tune.value or "logprob", config.tune.settings)
    if parts.search is None:
        _check_engine(config)
    build(parts.get("decontamination"), config.decontamination.settings, what="decontamination")
    read(MonitorSettings, config.monitors.settings, "monitors.settings")
    if config.train is not None:
        _check_training(config, parts)
    if config.prm is not None:
        _check_prm(config, config.prm, own=parts.train_prm is None)


def _check_search(algorithm: str, value: str | None, settings: Mapping[str, Any]) -> None:
    given = split_settings(settings)
    if given["engine"]:
        raise UsageError("settings of the engine belong under engine.settings, once for the whole run")
    open_value(value, open_algorithm(algorithm, given["algorithm"]), given["value"])
    build(PolicyConfig, given["policy"], what="policy")


def _check_engine(config: LoopConfig) -> None:
    engine = config.engine
    if engine.name != AUTO and engine.name not in names("engine"):
        raise unknown_name("engine", engine.name, names("engine"))
    settings_of_engine(
        config.policy,
        choose_engine(engine.name, config.policy),
        dict(engine.settings),
        model=engine.model,
        engine_args=engine.args,
    )
    _check_model(config.policy)


def _check_model(name: str) -> None:
    """A folder that is named must be there; hub ids and servers are asked when they are opened."""
    from treesearch.engines.hf_load import check_folder, is_path

    if not is_url(name) and is_path(resolve_model(name)):
        check_folder(Path(resolve_model(name)).expanduser())


def _check_prm(config: LoopConfig, prm: PrmPart, *, own: bool) -> None:
    check_labels(dict(prm.labels), method=prm.method, rule=prm.rule)
    if config.train is None and prm.use not in ("evaluate", "both"):
        raise UsageError(
            "only a reward model is trained and the evaluation does not use it, so there is nothing to "
            "compare: set prm.use to evaluate or both"
        )
    if not own:
        return
    from prm.training import TrainConfig

    settings = build(TrainConfig, prm.settings, what="prm.settings")
    check_labels(dict(prm.labels), method=prm.method, rule=prm.rule, learned=learned_by(settings))
    _check_machine(settings)
    _check_model(prm.base or config.policy)
    for part in (config.search, config.evaluate):
        algorithm = open_algorithm(part.algorithm, split_settings(part.settings)["algorithm"])
        open_value("prm", algorithm, {"prm": EMBEDDED} | dict(prm.value))


def _check_machine(settings: Any) -> None:
    """What training asks of the machine: its device, the package of its sink, and peft for adapters."""
    from treesearch.engines.hf_load import choose_device

    choose_device(settings.device)
    for package, wanted in ((settings.sink, settings.sink != "none"), ("peft", settings.lora_rank > 0)):
        if wanted and find_spec(package) is None:
            raise MissingPrerequisiteError(f"training needs {package}: pip install {package}")


def _check_training(config: LoopConfig, parts: Parts) -> None:
    if is_url(config.policy):
        raise UsageError(
            f"the policy {config.policy} is a server's and cannot be trained here; give a folder or hub id, "
            "or leave training out: train: none"
        )
    settings: dict[str, Any] = dict(config.train.settings) if config.train else {}
    wanted = build(parts.get("train_config"), settings, what="training")
    if parts.train is None:
        from selftrain.training.objectives import objective_of

        objective_of(wanted)
        _check_machine(wanted)
    if parts.open_builder is not None:
        return
    from selftrain.builders import builder_inputs, find_builder

    name = config.builder.name
    tuned = {} if config.tune is None else {config.tune.setting: 0.0}
    build(find_builder(name), tuned | dict(config.builder.settings), what=f"builder {name}")
    for wanted, what in builder_inputs(name, optional=False).items():
        if wanted not in SUPPLIED:
            raise UsageError(f"builder {name!r} needs {wanted}, {what}; a run cannot give it")
    _check_records(name, settings.get("objective", "sft"))


def _check_records(builder: str, objective: str) -> None:
    """A builder of records that the objective does not read cannot train it; own builders are left alone."""
    from selftrain.training.objectives import OBJECTIVES, find_objective

    made = {row.records for row in OBJECTIVES.values() if builder in row.made_by}
    row = find_objective(objective)
    if made and row.records not in made:
        others = f"; builders for it: {', '.join(row.made_by)}" if row.made_by else ""
        raise UsageError(
            f"objective {objective!r} learns from {row.records}, builder {builder!r} makes "
            f"{' and '.join(sorted(made))}{others}"
        )
