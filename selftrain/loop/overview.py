"""What a run stands at, read from its manifests without a lock and without a model.

Contract: `status` may be called while the run goes on. Every figure is that of a finished stage; the stage
that was begun and is not finished is named. `to_json` is what `search selftrain status --json` prints.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from selftrain.loop.config import LoopConfig, from_json
from selftrain.loop.context import BEGUN
from selftrain.loop.layout import RUN, begun_iterations, stage_folder, stages_of
from selftrain.loop.manifest import FILE, Costs, Manifest, read_json, read_manifest
from selftrain.loop.state import System, after, base_system, quarantined
from tasks.errors import DataError, UsageError


@dataclass(frozen=True, kw_only=True)
class IterationStatus:
    """One iteration: hashes of its finished stages, the one under way, and what came of it.

    `action` and `reason` are the gate's, empty before it; `tasks` its comparison; `accuracy` that of the
    model which the iteration made (iteration 0: the base).
    """

    iteration: int
    stages: Mapping[str, str]
    under_way: str
    action: str
    reason: str
    accuracy: Mapping[str, float]
    tasks: Mapping[str, Any]
    costs: Costs


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """A run. `state` is unfinished or finished. `policy` is where the current model is.

    `value` is the reward model that serves in searching, None without one. `quarantined` counts problems that
    are left out, by task.
    """

    run: str
    state: str
    iterations: tuple[IterationStatus, ...]
    wanted: int
    policy: str
    value: str | None
    quarantined: Mapping[str, int]
    costs: Costs

    @property
    def finished(self) -> bool:
        """Whether every iteration is done."""
        return self.state == "finished"

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def status(folder: Path | str) -> RunStatus:
    """The status of the run in `folder`; `UsageError` if there is none, `DataError` if it is damaged."""
    run = Path(folder)
    config = read_header(run)
    found = [_iteration(run, number) for number in begun_iterations(run)]
    system = _system(run, config.policy, found, config.prm)
    done = [each for each in found if each.iteration and _is_done(run, each.iteration)]
    left_out = quarantined(run, len(done) + 1, config.quarantine)
    return RunStatus(
        run=str(run),
        state="finished" if len(done) >= config.iterations else "unfinished",
        iterations=tuple(found),
        wanted=config.iterations,
        policy=system.policy.place,
        value=None if system.search_value is None else system.search_value.place,
        quarantined={task: len(names) for task, names in left_out.items() if names},
        costs=sum((each.costs for each in found), Costs()),
    )


def read_header(folder: Path) -> LoopConfig:
    """The configuration of the run in `folder`; `UsageError` if it holds none, `DataError` if damaged."""
    content = read_json(folder / RUN)
    if content is None:
        raise UsageError(f"{folder} is not a self-training run: it has no {RUN}")
    if "selftrain" not in content:
        raise DataError(f"{folder / RUN} is not of a self-training run, but of a search or a training")
    return from_json(content["selftrain"])


def _is_done(run: Path, iteration: int) -> bool:
    return read_json(run / "iterations" / f"{iteration:03}" / FILE) is not None


def _system(run: Path, policy: str, found: list[IterationStatus], prm: Any) -> System:
    system = base_system(policy)
    for each in found:
        if each.iteration and each.action:
            system = after(run, each.iteration, system, prm)
    return system


def _iteration(run: Path, iteration: int) -> IterationStatus:
    manifests: dict[str, Manifest] = {}
    under_way = ""
    for stage in stages_of(iteration):
        place = stage_folder(run, iteration, stage)
        manifest = read_manifest(place)
        if manifest is not None:
            manifests[stage] = manifest
        elif (place / BEGUN).exists():
            under_way = stage
    decided = manifests["gate"].results if "gate" in manifests else {}
    measured = manifests["evaluate"].results if "evaluate" in manifests else {}
    decision = stage_folder(run, iteration, "gate") / "decision.json"
    return IterationStatus(
        iteration=iteration,
        stages={stage: manifest.hash for stage, manifest in manifests.items()},
        under_way=under_way,
        action=decided.get("action", ""),
        reason=decided.get("reason", ""),
        accuracy=measured.get("accuracy", {}),
        tasks=_tasks(decision) if decided else {},
        costs=sum((manifest.costs for manifest in manifests.values()), Costs()),
    )


def _tasks(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))["tasks"]


def find_run(name: str, root: Path) -> Path:
    """The folder of a run: a path, or a name under `root`; `UsageError` if there is none."""
    for folder in (Path(name), root / name):
        if (folder / RUN).is_file():
            return folder
    known = sorted(path.parent.name for path in root.glob(f"*/{RUN}"))
    hint = f"under {root} there are {', '.join(known)}" if known else f"there are none under {root}"
    raise UsageError(f"{name!r} is not a self-training run (it has no {RUN}); {hint}")
