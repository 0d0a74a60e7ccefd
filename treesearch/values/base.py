"""The value seam: scores paths of steps.

A value is a frozen dataclass of settings. `load` gives the value that scores: itself, unless a model has to
be loaded for it, and then one that holds the model; `close` lets go of what `load` took.

Contract: `score` gets paths (tuples of steps from the root) of one problem and returns one `Score` each, in
order. It is a function of problem, path and seed: it does not see the tree, so that scoring runs beside
other work and a score can be cached; what depends on the whole tree (a vote among roll-outs) is decided by
`settle` when the score enters the tree. It stays inside the `grant` it is given, and says what it used.

`oracle` values read the gold answer: results made with them are labelled so. They are for building data and
for upper bounds, never for claims about accuracy.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from tasks.base import Problem
from treesearch.budget import Cost, Usage
from treesearch.engines.base import FinishReason
from treesearch.events import Step
from treesearch.policy import Policy
from treesearch.tree import Tree

Path = tuple[Step, ...]


def is_finished(path: Path) -> bool:
    """Whether the model ended the text itself: the path is a whole solution."""
    return bool(path) and path[-1].finish is FinishReason.END


@dataclass(frozen=True, slots=True)
class RollOut:
    """A completion from a path: its text, tokens, answer and reward (None where nothing graded it)."""

    text: str
    tokens: int
    answer: str | None
    vote: str | None
    reward: float | None


@dataclass(frozen=True, slots=True)
class Score:
    """The value of one path, usually in [0, 1], None for no opinion; `rollouts` led to it."""

    value: float | None
    rollouts: tuple[RollOut, ...] = ()


@dataclass(frozen=True, slots=True)
class Scores:
    """One score a path, and what scoring them used."""

    scores: tuple[Score, ...]
    usage: Usage


class Value(ABC):
    """A source of values. Subclasses are frozen, keyword-only dataclasses of their settings."""

    name: ClassVar[str]

    @abstractmethod
    def oracle(self, policy: Policy) -> bool:
        """Whether scores read the gold answer for this policy's task."""

    @abstractmethod
    def cost(self, policy: Policy, path: Sequence[Step], n: int, *, finished: bool = False) -> Cost:
        """The most that scoring `n` paths takes, each `path` with one step more, or `finished` from there."""

    @abstractmethod
    async def score(
        self, policy: Policy, problem: Problem, paths: Sequence[Path], *, grant: Cost, seed: int, known: int
    ) -> Scores:
        """Score `paths` within `grant`; a path that the grant does not cover gets the value None.

        The first `known` steps of every path are in the tree already: reading them again is no new work, and
        their tokens count as those of a prompt.
        """

    @property
    def model_hash(self) -> str:
        """Hash of the weights that scores come from; empty where there are none of its own."""
        return ""

    @property
    def needs_certainty(self) -> bool:
        """Whether steps must carry the engine's self-certainty (`policy.certainty`)."""
        return False

    async def load(self, policy: Policy) -> Value:
        """The value ready to score for `policy`; a failure to load is an error here. Default: itself."""
        del policy
        return self

    async def close(self) -> None:  # noqa: B027 - most values have nothing to let go of
        """Let go of what `load` took. Default: nothing."""

    def gate(self, policy: Policy) -> float | None:
        """The value of a finished path that proves it right, so that a search may stop; None if none does."""
        del policy

    def settle(self, tree: Tree, score: Score) -> float | None:
        """The value that enters the tree, given what the tree holds by then. Default: the score's own."""
        del tree
        return score.value
