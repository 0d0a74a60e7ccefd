"""What a run stands at: the current model, its value model, and the problems in quarantine.

Contract: everything here is a fold over the manifests of finished iterations, so it is the same whenever it
is computed. A `System` is what searches and is measured: a policy and perhaps a reward model as its value.

The gate's decisions change it so: `promote` makes the iteration's policy and reward model current; `hold`
keeps the policy, and takes the reward model over only where it serves in searching and is not part of what
was measured; `roll back` changes nothing. `previous` is the policy before the current one.

Problems are set aside by `selftrain.quarantine`; rolled-back iterations count there, since what was searched
is not what was learned.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from selftrain.loop.gate import Action
from selftrain.loop.hashing import model_hash
from selftrain.loop.layout import stage_folder
from selftrain.loop.manifest import Manifest, read_manifest
from selftrain.loop.sections import PrmPart, QuarantinePart
from selftrain.quarantine import Quarantine, State, observe, set_aside
from tasks.errors import DataError

MODEL = "policy/model"
PRM = "prm/model"
SOLVED = "solved.json"


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model by where it is and by the hash of what it is."""

    place: str
    hash: str


@dataclass(frozen=True, kw_only=True)
class System:
    """A policy and its value models. `measured` is the iteration whose `evaluate` stage measured it.

    `search_value` and `evaluate_value` are reward models that serve as the value there, if any.
    """

    policy: Model
    previous: Model | None = None
    search_value: Model | None = None
    evaluate_value: Model | None = None
    measured: int = 0


def base_system(policy: str) -> System:
    """What a run starts from."""
    from treesearch.policies import resolve_model

    return System(policy=Model(place=policy, hash=model_hash(resolve_model(policy))))


def stage_model(run: Path, iteration: int, stage: str, name: str) -> Model | None:
    """The model that a finished stage made; None where there is no such stage."""
    folder = stage_folder(run, iteration, stage)
    manifest = read_manifest(folder)
    if manifest is None or "model" not in manifest.outputs:
        return None
    return Model(place=str((folder / name).absolute()), hash=manifest.outputs["model"].hash)


def trained_policy(run: Path, iteration: int, *, phase: int = 2) -> Model | None:
    """The policy that an iteration trained; with `phase` 1 that of the first phase alone."""
    later = stage_model(run, iteration, "train-2", MODEL) if phase > 1 else None
    return later or stage_model(run, iteration, "train", MODEL)


def candidate(run: Path, iteration: int, system: System, prm: PrmPart | None, *, phase: int = 2) -> System:
    """The system that an iteration made out of the current one: what is to be measured.

    With `phase` 1 the policy is the first phase's, whether or not there has been a second one.
    """
    trained = trained_policy(run, iteration, phase=phase)
    reward = stage_model(run, iteration, "prm", PRM) if prm is not None else None
    found = replace(system, measured=iteration)
    if trained is not None:
        found = replace(found, policy=trained, previous=system.policy)
    if reward is not None and prm is not None:
        if prm.use in ("search", "both"):
            found = replace(found, search_value=reward)
        if prm.use in ("evaluate", "both"):
            found = replace(found, evaluate_value=reward)
    return found


def after(run: Path, iteration: int, system: System, prm: PrmPart | None) -> System:
    """The current system after an iteration's gate."""
    decided = require_manifest(run, iteration, "gate")
    action = Action(decided.results["action"])
    new = candidate(run, iteration, system, prm)
    if action is Action.PROMOTE:
        return new
    if action is Action.HOLD and prm is not None and prm.use == "search":
        return replace(system, search_value=new.search_value)
    return system


def require_manifest(run: Path, iteration: int, stage: str) -> Manifest:
    """The manifest of a stage that must be done."""
    found = read_manifest(stage_folder(run, iteration, stage))
    if found is None:
        raise DataError(f"stage {stage} of iteration {iteration} is not done in {run}")
    return found


def quarantined(run: Path, iteration: int, settings: QuarantinePart) -> dict[str, set[str]]:
    """Problems by task that `iteration` leaves out, by what the iterations before it searched and solved."""
    if not settings.after:
        return {}
    rule = Quarantine(after=settings.after, retry_every=settings.retry_every)
    states: dict[str, State] = {}
    for before in range(1, iteration):
        path = stage_folder(run, before, "grade") / SOLVED
        for task, problems in json.loads(path.read_text(encoding="utf-8")).items():
            solved = {name: right > 0 for name, (right, _) in problems.items()}
            states[task] = observe(states.get(task, {}), before, solved)
    return {task: set(set_aside(state, iteration, rule)) for task, state in states.items()}
