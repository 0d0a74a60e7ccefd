"""The builder that templates write with: numbers drawn by difficulty, steps that compute their own value.

Contract: `Draft.add`, `sub`, `mul` and `div` append one line `label: expr=value` and return the value, so
that the text of a step and the number used later cannot disagree. A value outside the allowed range, or a
division with a remainder, raises `Redraw`, upon which the caller draws the template again. Not here: which
template is drawn, and into which split the question falls (`tasks.generator.source`).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from tasks.errors import UsageError
from tasks.generator.vocabulary import NAMES

_T = TypeVar("_T")

MAX_VALUE = 9999
"""Largest value that a step of a word problem may have."""


class Redraw(Exception):
    """The numbers drawn do not make a clean problem; draw again. Never leaves the package."""


@dataclass(frozen=True, kw_only=True)
class Ranges:
    """Inclusive ranges of the numbers that templates draw: counts, prices and totals."""

    small: tuple[int, int] = (3, 9)
    medium: tuple[int, int] = (11, 40)
    large: tuple[int, int] = (60, 300)


@dataclass(frozen=True, kw_only=True)
class Difficulty:
    """A mixture of ranges: each problem draws one of `levels` with the chance in `weights` (they sum to 1).

    `max_operators` bounds arithmetic expressions, from 3 up; `coefficient` bounds those of equations.
    """

    levels: tuple[Ranges, ...] = (
        Ranges(small=(2, 6), medium=(5, 20), large=(20, 90)),
        Ranges(),
        Ranges(small=(6, 15), medium=(21, 79), large=(150, 800)),
    )
    weights: tuple[float, ...] = (0.5, 0.4, 0.1)
    max_operators: int = 6
    coefficient: int = 12

    def __post_init__(self) -> None:
        if not self.levels or len(self.levels) != len(self.weights):
            raise UsageError(
                f"difficulty has {len(self.levels)} levels and {len(self.weights)} weights; "
                f"give one weight a level"
            )


STANDARD = Difficulty()
"""The difficulty of the stock data set."""

HARD = Difficulty(weights=(0.25, 0.45, 0.30))
"""More of the larger numbers."""


def literal(value: int) -> str:
    """Write `value` as an operand: negative numbers stand in brackets."""
    return f"({value})" if value < 0 else str(value)


class Draft:
    """A problem being written: draws numbers and names from `rng`, records the worked steps."""

    def __init__(
        self, rng: random.Random, difficulty: Difficulty = STANDARD, *, signed: bool = False
    ) -> None:
        self.rng = rng
        self.difficulty = difficulty
        self.steps: list[str] = []
        self.value = 0
        self._signed = signed
        draw, level = rng.random(), 0
        for level, weight in enumerate(difficulty.weights):  # noqa: B007
            draw -= weight
            if draw < 0:
                break
        self.ranges = difficulty.levels[level]

    def between(self, low: int, high: int) -> int:
        """A whole number, both ends included."""
        return low + int(self.rng.random() * (high - low + 1))

    def small(self) -> int:
        """A count such as bags or hours."""
        return self.between(*self.ranges.small)

    def medium(self) -> int:
        """A number such as a price or the items of a box."""
        return self.between(*self.ranges.medium)

    def large(self) -> int:
        """A number such as a stock or a distance."""
        return self.between(*self.ranges.large)

    def pick(self, options: Sequence[_T]) -> _T:
        """One of `options`."""
        return options[int(self.rng.random() * len(options))]

    def say(self, *phrasings: str) -> str:
        """One of the phrasings of the same text."""
        return self.pick(phrasings)

    def some(self, options: Sequence[_T], count: int) -> list[_T]:
        """`count` different `options`, in random order."""
        return self.rng.sample(options, count)

    def name(self) -> str:
        """A person."""
        return self.pick(NAMES)

    def names(self, count: int) -> list[str]:
        """`count` different persons."""
        return self.some(NAMES, count)

    def add(self, label: str, *terms: int) -> int:
        """Record a sum."""
        return self._record(label, "+", terms, sum(terms))

    def sub(self, label: str, first: int, *others: int) -> int:
        """Record a difference."""
        return self._record(label, "-", (first, *others), first - sum(others))

    def mul(self, label: str, *factors: int) -> int:
        """Record a product."""
        value = 1
        for factor in factors:
            value *= factor
        return self._record(label, "*", factors, value)

    def div(self, label: str, first: int, second: int) -> int:
        """Record an exact division; `Redraw` if it leaves a remainder."""
        if second == 0 or first % second:
            raise Redraw
        return self._record(label, "/", (first, second), first // second)

    def _record(self, label: str, operator: str, operands: tuple[int, ...], value: int) -> int:
        if not self._signed and not 0 < value <= MAX_VALUE:
            raise Redraw
        expression = operator.join([literal(operand) for operand in operands])
        self.steps.append(f"{label}: {expression}={value}" if label else f"{expression}={value}")
        self.value = value
        return value
