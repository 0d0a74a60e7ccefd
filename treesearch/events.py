"""The few events of which a tree is the fold, and their JSON form.

A record is a list of events that happened together (one reply's steps, scores and backup); the journal
stores a record whole or not at all, so a tree never holds half a simulation. Events are small and immutable;
floats are rounded to `DIGITS` decimals when an event is made, so that what is written, read back
and held in memory is the same number.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from tasks.errors import DataError
from treesearch.budget import Cost, Usage
from treesearch.engines.base import FinishReason

DIGITS = 6


class StopReason(enum.StrEnum):
    """Why a search ended."""

    COMPLETED = "completed"
    """The algorithm did all that its parameters ask for."""
    SOLVED = "solved"
    """A finished path reached the value gate."""
    EXHAUSTED = "exhausted"
    """Nothing is left to expand."""
    CONFIDENT = "confident"
    """The vote is decided: more samples would hardly change it."""
    BUDGET_TOKENS = "budget_tokens"
    BUDGET_CALLS = "budget_calls"
    BUDGET_NODES = "budget_nodes"
    BUDGET_SECONDS = "budget_seconds"
    ERROR = "error"
    """The problem failed; the run's results say how."""


class BackupRule(enum.StrEnum):
    """How a return changes the values of the nodes above it."""

    MEAN = "mean"
    """q is the arithmetic mean of all returns seen at or below the node (UCT)."""
    MAX = "max"
    """q is the largest return seen at or below the node."""
    WEIGHTED = "weighted"
    """q of the leaf is the return; above it, the visit-weighted mean of the children's q (ReST-MCTS*)."""


@dataclass(frozen=True, slots=True)
class Step:
    """A piece of a solution, as the policy generated it.

    `token_ids` end with the token that completed the delimiter, so that the ids of a path's steps joined are
    what the model wrote. `logprobs` align with them (natural log, temperature 1). `certainty` is the mean
    self-certainty of the step's tokens in nats, or None. `finish` END makes the path a finished solution;
    `answer` is then what the task extracted from it, and `vote` its canonical form.
    """

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish: FinishReason
    certainty: float | None = None
    answer: str | None = None
    vote: str | None = None


@dataclass(frozen=True, slots=True)
class Issued:
    """Work number `work` on `node` was issued: visits are pending on its path and `cost` is reserved."""

    work: int
    node: int
    cost: Cost


@dataclass(frozen=True, slots=True)
class Settled:
    """Work number `work` is done; `usage` is what it took."""

    work: int
    usage: Usage


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Work number `work` was given up before its reply was waited for; its reservation is given back.

    What the engine wrote for it until then is known to the engine alone and is in the engine's own count.
    """

    work: int


@dataclass(frozen=True, slots=True)
class Added:
    """A step was added below `parent`; the new node's id is the number of nodes so far."""

    parent: int
    step: Step
    prior: float


@dataclass(frozen=True, slots=True)
class Scored:
    """The value source gave `node` this value."""

    node: int
    value: float


@dataclass(frozen=True, slots=True)
class Rolled:
    """A completion was sampled from `node` to estimate its value; kept as an answer candidate."""

    node: int
    text: str
    tokens: int
    answer: str | None
    vote: str | None
    reward: float | None


@dataclass(frozen=True, slots=True)
class Backed:
    """A return was backed up from `node` to the root."""

    node: int
    value: float
    rule: BackupRule


@dataclass(frozen=True, slots=True)
class Expanded:
    """`node` was expanded once more; what came of it are the events that follow in the record."""

    node: int


@dataclass(frozen=True, slots=True)
class Closed:
    """Nothing is to be gained below `node` any more."""

    node: int


@dataclass(frozen=True, slots=True)
class Stopped:
    """The search ended. A later event means that it was taken up again."""

    reason: StopReason


Event: TypeAlias = (
    Issued | Settled | Cancelled | Added | Scored | Rolled | Backed | Expanded | Closed | Stopped
)
Record: TypeAlias = Sequence[Event]


def rounded(value: float) -> float:
    """`value` to `DIGITS` decimals."""
    return round(value, DIGITS)


def to_json(event: Event) -> list[Any]:
    """The event as a JSON list: its name, then its fields in order; trailing empty fields are left out."""
    return _WRITE[type(event)](event)


def from_json(row: Any) -> Event:
    """Read an event back; `DataError` if it is none."""
    try:
        return _READ[row[0]](row)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise DataError(f"not an event: {str(row)[:120]!r} ({type(error).__name__}: {error})") from error


def _write_step(event: Added) -> list[Any]:
    step = event.step
    row = ["add", event.parent, event.prior, step.text, step.token_ids, step.logprobs, step.finish]
    if step.certainty is not None or step.answer is not None or step.vote is not None:
        row += [step.certainty, step.answer, step.vote]
    return row


def _read_step(row: list[Any]) -> Added:
    certainty, answer, vote = row[7:10] if len(row) > 7 else (None, None, None)
    step = Step(row[3], tuple(row[4]), tuple(row[5]), FinishReason(row[6]), certainty, answer, vote)
    return Added(row[1], step, row[2])


_WRITE: dict[type, Callable[[Any], list[Any]]] = {
    Issued: lambda e: ["issue", e.work, e.node, e.cost.tokens, e.cost.calls, e.cost.nodes],
    Settled: lambda e: [
        "settle",
        e.work,
        e.usage.generated_tokens,
        e.usage.prompt_tokens,
        e.usage.value_tokens,
        e.usage.calls,
        e.usage.nodes,
    ],
    Cancelled: lambda e: ["cancel", e.work],
    Added: _write_step,
    Scored: lambda e: ["score", e.node, e.value],
    Rolled: lambda e: ["roll", e.node, e.text, e.tokens, e.answer, e.vote, e.reward],
    Backed: lambda e: ["back", e.node, e.value, e.rule],
    Expanded: lambda e: ["expand", e.node],
    Closed: lambda e: ["close", e.node],
    Stopped: lambda e: ["stop", e.reason],
}

_READ: dict[str, Callable[[list[Any]], Event]] = {
    "issue": lambda r: Issued(r[1], r[2], Cost(tokens=r[3], calls=r[4], nodes=r[5])),
    "settle": lambda r: Settled(
        r[1],
        Usage(generated_tokens=r[2], prompt_tokens=r[3], value_tokens=r[4], calls=r[5], nodes=r[6]),
    ),
    "cancel": lambda r: Cancelled(r[1]),
    "add": _read_step,
    "score": lambda r: Scored(r[1], r[2]),
    "roll": lambda r: Rolled(r[1], r[2], r[3], r[4], r[5], r[6]),
    "back": lambda r: Backed(r[1], r[2], BackupRule(r[3])),
    "expand": lambda r: Expanded(r[1]),
    "close": lambda r: Closed(r[1]),
    "stop": lambda r: Stopped(StopReason(r[1])),
}
