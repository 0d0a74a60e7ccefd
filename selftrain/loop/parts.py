"""The parts of a run by interface: what searches, grades, builds, trains, labels and evaluates.

Contract: a `Part` is looked up by name when it is first called, so that importing the loop loads no model
library; whoever wants another one hands in a `Parts` with a field replaced. The protocols say what the loop
relies on, no more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from selftrain.loop.gate import Evaluation
from selftrain.loop.manifest import Costs
from selftrain.loop.watch import Watch
from tasks.base import Problem
from treesearch.threads import Stop

if TYPE_CHECKING:
    from selftrain.data.record import TrainingTree
    from selftrain.data.searched import Searched
    from selftrain.loop.searching import SearchedSet, SearchJob


class Searcher(Protocol):
    """Searches every set of a job into a folder of its own, and goes on with what is there."""

    async def __call__(self, job: SearchJob, folder: Path, watch: Watch) -> dict[str, SearchedSet]:
        """The sets by name."""
        ...


class Grader(Protocol):
    """Grades the trees of a set that a `Searcher` left."""

    async def __call__(
        self, folder: Path, name: str, problems: Sequence[Problem], task: str
    ) -> list[Searched]:
        """One graded tree a problem that was searched, in the order of the problems."""
        ...


class Evaluator(Protocol):
    """Measures one model on frozen problems, `samples` searches each."""

    async def __call__(
        self, job: SearchJob, folder: Path, watch: Watch, *, samples: int
    ) -> tuple[Evaluation, Costs]:
        """Right answers of every problem by task. Goes on with what is in `folder`."""
        ...


class BuiltData(Protocol):
    """What a builder made; see `selftrain.builders`."""

    @property
    def trees(self) -> tuple[TrainingTree, ...]:
        """The training trees."""
        ...

    @property
    def counts(self) -> dict[str, int]:
        """What was kept and what was dropped."""
        ...


class TrainedModel(Protocol):
    """What a trainer made: `model` in the folder `out`, if it finished."""

    @property
    def finished(self) -> bool:
        """Whether training reached its end."""
        ...

    @property
    def summary(self) -> Mapping[str, Any] | None:
        """Counts and figures."""
        ...


class Trainer(Protocol):
    """Trains a policy on trees, into ``out/model``, and goes on with what is in `out`."""

    def __call__(
        self,
        trees: Sequence[TrainingTree],
        *,
        base: str,
        out: Path,
        config: Any,
        on_progress: Callable[[Any], None] | None = None,
        stop: Stop | None = None,
    ) -> TrainedModel:
        """Train, or go on; polls `stop`."""
        ...


class LogProbs(Protocol):
    """Reads training trees again under a trained model."""

    def __call__(
        self, trees: Sequence[TrainingTree], *, model: str, config: Any, most_tokens: int
    ) -> tuple[list[TrainingTree], list[list[float]]]:
        """Those that were read, and the log-prob of each node of theirs."""
        ...


class PrmTrainer(Protocol):
    """Labels searched sets and trains a reward model on them, into ``out/prm/model``."""

    async def __call__(self, job: PrmJob, out: Path, watch: Watch) -> Costs:
        """Label and train, or go on."""
        ...


@dataclass(frozen=True, kw_only=True)
class PrmJob:
    """What reward models are trained on: the runs of searched sets, from which base, how."""

    runs: Mapping[str, Path]
    base: str
    method: str
    rule: str | None
    labels: Mapping[str, Any]
    settings: Mapping[str, Any]
    seed: int


_HOMES = {
    "search": "selftrain.loop.searching:search_sets",
    "grade": "selftrain.loop.grading:grade_set",
    "evaluate": "selftrain.loop.evaluating:evaluate_sets",
    "open_builder": "selftrain.builders:open_builder",
    "train": "selftrain.training:train",
    "train_config": "selftrain.training:TrainConfig",
    "log_probs": "selftrain.training.log_probs:log_probs_under",
    "train_prm": "selftrain.loop.labelling:train_prm",
    "decontaminate": "selftrain.decontamination:decontaminate",
    "decontamination": "selftrain.decontamination:Decontamination",
}


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The parts of a run; None is the toolkit's own, found when it is asked for by `get`."""

    search: Searcher | None = None
    grade: Grader | None = None
    evaluate: Evaluator | None = None
    open_builder: Callable[[str, Mapping[str, Any]], Callable[[Sequence[Searched]], BuiltData]] | None = None
    train: Trainer | None = None
    train_config: type | None = None
    log_probs: LogProbs | None = None
    train_prm: PrmTrainer | None = None
    decontaminate: Callable[..., tuple[list[Problem], Any]] | None = None
    decontamination: type | None = None

    def get(self, name: str) -> Any:
        """The part of a name: the one given, else the toolkit's own."""
        given = getattr(self, name)
        if given is not None:
            return given
        module, _, attribute = _HOMES[name].partition(":")
        return getattr(import_module(module), attribute)
