"""The configuration of a self-training run: what is searched, learned, evaluated and decided, and how often.

    config = read_config([Path("recipe.yaml"), Path("toy.yaml")], ["iterations=1"])

Contract: one frozen dataclass a section (`selftrain.loop.sections`); YAML keys, `--set` paths and Python
arguments come from them. An unknown key names the nearest valid one. `check` knows what does not fit
together; names of algorithms, builders and losses are checked by those who own them, before anything runs
(`selftrain.loop.session`).

Several seeds are several runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from selftrain.loop.reading import assign, overlay, read
from selftrain.loop.sections import (
    BuilderPart,
    DecontaminationPart,
    EnginePart,
    EvaluatePart,
    GatePart,
    MonitorsPart,
    PrmPart,
    ProblemSource,
    QuarantinePart,
    SearchPart,
    TaskPart,
    TrainPart,
    TunePart,
    require,
)
from tasks.errors import UsageError, unknown_name
from treesearch.settings import parse_assignments, read_yaml


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """A self-training run.

    `policy` is the base model: `embedded`, a folder, a hub id, or for a frozen policy a server's address.
    `policy_from`: each iteration trains from the `base`, or from the `last` model that was promoted. `train`
    None leaves the policy as it is.
    """

    tasks: tuple[TaskPart, ...] = ()
    policy: str = "embedded"
    policy_from: Literal["base", "last"] = "base"
    iterations: int = 1
    seed: int = 0
    engine: EnginePart = field(default_factory=EnginePart)
    search: SearchPart = field(default_factory=SearchPart)
    builder: BuilderPart = field(default_factory=BuilderPart)
    train: TrainPart | None = field(default_factory=TrainPart)
    prm: PrmPart | None = None
    tune: TunePart | None = None
    evaluate: EvaluatePart = field(default_factory=EvaluatePart)
    gate: GatePart = field(default_factory=GatePart)
    monitors: MonitorsPart = field(default_factory=MonitorsPart)
    quarantine: QuarantinePart = field(default_factory=QuarantinePart)
    decontamination: DecontaminationPart = field(default_factory=DecontaminationPart)

    def __post_init__(self) -> None:
        require(self.iterations >= 1, "iterations", "at least 1", self.iterations)
        if not any(part.train for part in self.tasks):
            raise UsageError("no task has train problems; name some: tasks.NAME.train.data or .generate")
        if not self.heldout:
            raise UsageError("no task has heldout problems; the gate needs some: tasks.NAME.heldout")
        if self.train is None and self.prm is None:
            raise UsageError("nothing is learned: give train, prm or both")
        for name in self.gate.hold:
            if name not in self.heldout:
                raise unknown_name("task of gate.hold", name, self.heldout)

    @property
    def heldout(self) -> list[str]:
        """Names of the tasks that have held-out problems."""
        return [part.name for part in self.tasks if part.heldout is not None]

    @property
    def trained(self) -> list[str]:
        """Names of the tasks that have training problems."""
        return [part.name for part in self.tasks if part.train is not None]

    def task(self, name: str) -> TaskPart:
        """The task of a name."""
        return next(part for part in self.tasks if part.name == name)

    def to_json(self) -> dict[str, Any]:
        """The configuration as plain data that `from_json` reads back."""
        content = asdict(self)
        content["tasks"] = {part.pop("name"): part for part in content["tasks"]}
        for part in content["tasks"].values():
            if part["test"] is None:
                del part["test"]  # so that configurations without it keep their hash
        return content


def from_json(content: Mapping[str, Any]) -> LoopConfig:
    """The configuration of a mapping: a YAML file's, or what `to_json` wrote."""
    return read(LoopConfig, content, "the configuration")


_SOURCES = {"data": ("generate", "start"), "generate": ("data",)}
"""Of problems: what a key that is laid over others takes the place of."""


def read_config(files: Sequence[Path], assignments: Sequence[str] = ()) -> LoopConfig:
    """YAML files laid over each other, the later ones on top, then assignments such as ``seed=1``.

    Problems from a file take the place of generated ones below them, and the other way round.
    Raises `UsageError` for what cannot be read, unknown keys and values that do not fit.
    """
    given: dict[str, Any] = {}
    for file in files:
        given = overlay(given, read_yaml(file), instead=_SOURCES)
    for key, text in parse_assignments(list(assignments)).items():
        given = assign(given, key.replace("-", "_") if "." not in key else key, text, instead=_SOURCES)
    return from_json(given)


def anchored(config: LoopConfig) -> LoopConfig:
    """The configuration with local paths made absolute, so that a run can be resumed from elsewhere."""
    prm = config.prm
    if prm is not None and prm.base is not None:
        prm = replace(prm, base=_absolute(prm.base))
    tasks = tuple(
        replace(
            part,
            train=_anchored_source(part.train),
            heldout=_anchored_source(part.heldout),
            test=_anchored_source(part.test),
        )
        for part in config.tasks
    )
    return replace(config, policy=_absolute(config.policy), prm=prm, tasks=tasks)


def _anchored_source(source: ProblemSource | None) -> ProblemSource | None:
    if source is None or source.data is None:
        return source
    return replace(source, data=str(Path(source.data).expanduser().absolute()))


def _absolute(model: str) -> str:
    folder = Path(model).expanduser()
    return str(folder.absolute()) if folder.is_dir() else model


def differences(old: LoopConfig, new: LoopConfig) -> list[str]:
    """What differs between two configurations, one readable line each; more iterations are no difference."""
    found: list[str] = []
    _compare(old.to_json(), new.to_json(), "", found)
    grown = new.iterations >= old.iterations
    return [line for line in found if not (grown and line.startswith("iterations:"))]


_FREE = ("search.concurrency", "evaluate.concurrency", "search.max_failed")
"""Settings that change no result of a stage."""


def _compare(old: Any, new: Any, name: str, found: list[str]) -> None:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in {**old, **new}:
            _compare(old.get(key), new.get(key), f"{name}.{key}" if name else str(key), found)
    elif _plain(old) != _plain(new) and name not in _FREE:
        found.append(f"{name}: {old!r} in the run, {new!r} now")


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
