"""One budget with one meaning: limits, what was used, and the meter that holds one to the other.

`Usage` counts generated tokens (proposing), value tokens (scoring: what a roll-out generates, what a reward
model reads), prompt tokens, calls (engine requests), nodes. `Budget` limits them; `tokens` limits generated
and value tokens together, because scoring is never free. The `Meter` of a tree checks twice: `reserve` when
work is issued, with the most that it can cost, and `settle` when its reply is there, with what it did cost.
What is used and reserved never passes a limit, so a budget holds to the token. Prompt tokens are counted
and not limited: they follow from the calls.

Seconds are checked when work is issued; they are the one limit that makes a run depend on the clock.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, fields

from tasks.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What was used, by role. Adding two gives their sum."""

    generated_tokens: int = 0
    prompt_tokens: int = 0
    value_tokens: int = 0
    calls: int = 0
    nodes: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            generated_tokens=self.generated_tokens + other.generated_tokens,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            value_tokens=self.value_tokens + other.value_tokens,
            calls=self.calls + other.calls,
            nodes=self.nodes + other.nodes,
        )

    def with_nodes(self, nodes: int) -> Usage:
        """The same usage with another count of nodes."""
        return Usage(
            generated_tokens=self.generated_tokens,
            prompt_tokens=self.prompt_tokens,
            value_tokens=self.value_tokens,
            calls=self.calls,
            nodes=nodes,
        )

    @property
    def tokens(self) -> int:
        """Generated and value tokens: what `Budget.tokens` limits."""
        return self.generated_tokens + self.value_tokens


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Limits for one problem; None is no limit. `tokens` limits generated plus value tokens.

    Raises `UsageError` for a limit below 1.
    """

    tokens: int | None = None
    calls: int | None = None
    nodes: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if value is not None and not value > 0:
                raise UsageError(f"budget {entry.name} must be positive, got {value!r}")


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The most that a piece of work may use. What is reserved for it, and what it must stay inside.

    With fewer than `least` tokens it can do nothing: a search that has no more left ends.
    """

    tokens: int = 0
    calls: int = 0
    nodes: int = 0
    least: int = field(default=1, compare=False)


LIMITS = ("tokens", "calls", "nodes")


@dataclass(kw_only=True)
class Meter:
    """Holds a tree's usage and reservations to its budget."""

    budget: Budget = field(default_factory=Budget)
    used: Usage = field(default_factory=Usage)
    reserved: Cost = field(default_factory=Cost)
    started: float = field(default_factory=time.monotonic)

    def left(self, name: str) -> int | None:
        """What is neither used nor reserved of the limit `name` (of `LIMITS`); None without a limit."""
        limit: int | None = getattr(self.budget, name)
        return None if limit is None else limit - getattr(self.used, name) - getattr(self.reserved, name)

    def most(self, cost: Cost) -> Cost:
        """As much of `cost` as can still be reserved."""
        return Cost(
            tokens=_least(cost.tokens, self.left("tokens")),
            calls=_least(cost.calls, self.left("calls")),
            nodes=_least(cost.nodes, self.left("nodes")),
        )

    def fits(self, cost: Cost) -> bool:
        """Whether `cost` can be reserved in full."""
        return all((left := self.left(name)) is None or left >= getattr(cost, name) for name in LIMITS)

    def spent(self) -> str | None:
        """The name of a limit that is used up, or None. Seconds count from the meter's making."""
        for name in LIMITS:
            left = self.left(name)
            if left is not None and left <= 0:
                return name
        if self.budget.seconds is not None and time.monotonic() - self.started >= self.budget.seconds:
            return "seconds"
        return None

    def reserve(self, cost: Cost) -> None:
        """Set `cost` aside. The caller has checked that it fits."""
        self.reserved = _add(self.reserved, cost, 1)

    def settle(self, cost: Cost, used: Usage) -> None:
        """Give a reservation back and count what was used in its place."""
        self.reserved = _add(self.reserved, cost, -1)
        self.used = self.used + used


def _least(wanted: int, left: int | None) -> int:
    return wanted if left is None else max(0, min(wanted, left))


def _add(first: Cost, second: Cost, sign: int) -> Cost:
    return Cost(
        tokens=first.tokens + sign * second.tokens,
        calls=first.calls + sign * second.calls,
        nodes=first.nodes + sign * second.nodes,
    )
