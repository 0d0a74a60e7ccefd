"""The sections of a self-training configuration: one frozen dataclass a section.

Contract: a section checks its own values when it is made (`UsageError`, with the name, what would fit and the
value seen). Names that others own (algorithms, builders, losses) are checked by them when a run starts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tasks.errors import UsageError
from treesearch.budget import Budget

Where = Literal["search", "evaluate", "both", "none"]


def require(holds: bool, name: str, what: str, value: Any) -> None:
    """Raise `UsageError` unless a value is valid."""
    if not holds:
        raise UsageError(f"{name} must be {what}, got {value!r}")


@dataclass(frozen=True, kw_only=True)
class ProblemSource:
    """Where problems come from: the file `data`, or `generate` made ones of the seeds from `start` on.

    Generated training problems are of the generator's train split, held-out ones of its test split. `limit`
    takes the first problems.
    """

    data: str | None = None
    generate: int | None = None
    start: int = 0
    limit: int | None = None

    def __post_init__(self) -> None:
        if (self.data is None) == (self.generate is None):
            raise UsageError("problems come from a file (data) or are made (generate: how many): give one")
        for name in ("generate", "limit"):
            value = getattr(self, name)
            require(value is None or value >= 1, name, "at least 1", value)
        require(self.start >= 0, "start", "at least 0", self.start)


@dataclass(frozen=True, kw_only=True)
class TaskPart:
    """Problems under a `name`: of what `task`, what is trained on, what is held out (or one of them).

    The gate measures on `heldout`. `test` is for measuring after the run: the run only keeps its training
    problems apart from it.
    """

    name: str
    task: str = "math"
    train: ProblemSource | None = None
    heldout: ProblemSource | None = None
    test: ProblemSource | None = None

    def __post_init__(self) -> None:
        safe = self.name.replace("-", "").replace("_", "").isalnum() and self.name.isascii()
        require(safe, "the name of a task", "letters, digits, - and _", self.name)
        if self.train is None and self.heldout is None:
            raise UsageError(f"task {self.name!r} has neither train nor heldout; give one of them")


@dataclass(frozen=True, kw_only=True)
class EnginePart:
    """What runs the models in searching and evaluating; `settings` are those of `--set engine.KEY`."""

    name: str = "auto"
    model: str | None = None
    args: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, kw_only=True)
class SearchPart:
    """How training problems are searched. `settings` as for `search solve` (`width`, `policy.temperature`).

    `problems`: how many an iteration takes, in an order that the seed draws, all before one is taken again
    (None: all). `max_failed`: share of problems that may end with an error; beyond it the run stops, and
    resuming tries them again.
    """

    algorithm: str = "mcts"
    value: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    budget_tokens: int | None = 2_000
    budget_calls: int | None = None
    budget_nodes: int | None = None
    problems: int | None = None
    concurrency: int = 64
    max_failed: float = 0.0

    def __post_init__(self) -> None:
        require(self.problems is None or self.problems >= 1, "problems", "at least 1", self.problems)
        require(self.concurrency >= 1, "concurrency", "at least 1", self.concurrency)
        require(0 <= self.max_failed < 1, "max_failed", "in [0, 1)", self.max_failed)
        Budget(tokens=self.budget_tokens, calls=self.budget_calls, nodes=self.budget_nodes)


@dataclass(frozen=True, kw_only=True)
class BuilderPart:
    """Which builder makes the training data. It sees the trees of the last `history` iterations.

    `rewards` log-ratio: the values of solutions are how much likelier the current model finds them than the
    base does, and the builder gets the previous model's rewards too (CREAM). `phases` 2: the model trained on
    the data searches the same problems, the builder is called again with its trees, and training on what it
    makes then gives the model of the iteration (Temporal Self-Rewarding).
    """

    name: str = "sft"
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    history: int = 1
    rewards: Literal["search", "log-ratio"] = "search"
    phases: int = 1

    def __post_init__(self) -> None:
        require(self.history >= 1, "history", "at least 1", self.history)
        require(self.phases in (1, 2), "phases", "1 or 2", self.phases)


@dataclass(frozen=True, kw_only=True)
class TrainPart:
    """Training of the policy; `settings` are those of `selftrain.training.TrainConfig`."""

    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, kw_only=True)
class PrmPart:
    """Labelling the trees and training a process-reward or Q-value model on them.

    `method`, `rule` and `labels` (completions, searches, temperature, gap, once) are those of
    `prm.labels.session`; `settings` are those of `prm.training.TrainConfig`, whose head decides whether rows
    or pairs are learned. `base` None is the run's policy. `use`: where the model serves as the value from the
    next iteration on, with `value` as its settings (`aggregate: last`).
    """

    method: str = "tree"
    rule: str | None = None
    labels: Mapping[str, Any] = field(default_factory=dict[str, Any])
    base: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    use: Where = "search"
    value: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, kw_only=True)
class EvaluatePart:
    """How a model is measured on the held-out problems: `samples` searches a problem, with fixed seeds.

    The seeds depend on the run's seed alone, so that two models are compared under equal draws.
    """

    algorithm: str = "greedy"
    value: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    budget_tokens: int | None = None
    samples: int = 1
    concurrency: int = 64

    def __post_init__(self) -> None:
        require(self.samples >= 1, "samples", "at least 1", self.samples)
        require(self.concurrency >= 1, "concurrency", "at least 1", self.concurrency)
        Budget(tokens=self.budget_tokens)
        if self.algorithm == "greedy" and self.samples > 1:
            raise UsageError(
                "greedy gives the same solution every time: samples > 1 needs best-of-n with n=1"
            )


@dataclass(frozen=True, kw_only=True)
class GatePart:
    """When a new model takes over; see `selftrain.loop.gate`. `hold` empty: no task may fall."""

    test: Literal["exact", "bootstrap"] = "exact"
    rule: Literal["gain", "non-inferior"] = "gain"
    alpha: float = 0.05
    margin: float = 0.0
    hold: tuple[str, ...] = ()
    resamples: int = 10_000

    def __post_init__(self) -> None:
        require(0 < self.alpha < 1, "alpha", "in (0, 1)", self.alpha)
        require(0 <= self.margin < 1, "margin", "in [0, 1)", self.margin)
        require(self.resamples >= 100, "resamples", "at least 100", self.resamples)
        if self.rule == "non-inferior" and not self.margin:
            raise UsageError("rule non-inferior needs a margin that counts as no loss, for example 0.02")


@dataclass(frozen=True, kw_only=True)
class TunePart:
    """Choosing temperature and threshold by the balance score before each search (B-STaR).

    `problems` training problems are sampled at each of `temperatures`, `samples` solutions each, scored by
    `value` (None: logprob) under `settings`. `thresholds` are of the reward 1[right] + `weight` * value; what
    the best one asks of a right solution's value becomes the builder's `setting`. `wanted` is n*, how many
    different right solutions of a problem are enough.
    """

    temperatures: tuple[float, ...] = (0.5, 0.7, 0.9, 1.1)
    thresholds: tuple[float, ...] = (1.0,)
    setting: str = "min_value"
    problems: int = 100
    samples: int = 16
    wanted: int = 8
    weight: float = 1.0
    value: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        for name in ("temperatures", "thresholds"):
            require(len(getattr(self, name)) > 0, name, "one number or more", getattr(self, name))
        require(min(self.temperatures) > 0, "temperatures", "above 0", self.temperatures)
        for name in ("problems", "samples", "wanted"):
            require(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        require(self.weight > 0, "weight", "above 0", self.weight)


@dataclass(frozen=True, kw_only=True)
class QuarantinePart:
    """Problems that were searched in `after` iterations and never solved are left out (0: none are).

    They are tried again `retry_every` iterations after they were searched last (0: never).
    """

    after: int = 0
    retry_every: int = 4

    def __post_init__(self) -> None:
        require(self.after >= 0, "after", "at least 0", self.after)
        require(self.retry_every >= 0, "retry_every", "at least 0", self.retry_every)


@dataclass(frozen=True, kw_only=True)
class DecontaminationPart:
    """Settings of `selftrain.decontamination`; what it finds stops the run before any search."""

    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, kw_only=True)
class MonitorsPart:
    """Settings of `selftrain.monitors.MonitorSettings`: figures of each iteration besides accuracy."""

    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
