"""Exact arithmetic over text: ``+ - * /``, brackets, whole numbers and decimals, as `fractions.Fraction`.

Contract: `evaluate` returns None for anything that is not such an expression, and never raises; `calculate`
tells why: `NotArithmeticError` or `ZeroDivisionError`. `parse` builds whatever its caller makes of a number,
by that type's own operators. All are bounded: at most `MAX_CHARS` characters, numbers of at most `MAX_DIGITS`
digits, brackets nested at most `MAX_DEPTH` deep; there are no powers, so values stay small. No `eval`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Generic, Protocol, Self, TypeVar

MAX_CHARS = 2_000
MAX_DIGITS = 30
MAX_DEPTH = 50
_TOKEN = re.compile(r"\s*(?:(\d+(?:\.\d+)?)|([-+*/()]))")


class Operand(Protocol):
    """What has the four operations and a sign."""

    def __add__(self, other: Self, /) -> Self: ...
    def __sub__(self, other: Self, /) -> Self: ...
    def __mul__(self, other: Self, /) -> Self: ...
    def __truediv__(self, other: Self, /) -> Self: ...
    def __neg__(self) -> Self: ...


T = TypeVar("T", bound=Operand)


@dataclass(frozen=True, kw_only=True)
class Value:
    """Value of an expression and the numbers written in it, in order."""

    value: Fraction
    numbers: tuple[Fraction, ...]


class NotArithmeticError(ValueError):
    """The text is no expression of this grammar, or too large."""


def evaluate(text: str) -> Value | None:
    """Evaluate `text` exactly; None if it is no arithmetic expression, divides by zero or is too large."""
    try:
        return calculate(text)
    except (NotArithmeticError, ZeroDivisionError):
        return None


def calculate(text: str) -> Value:
    """Evaluate `text` exactly; raises `NotArithmeticError`, or `ZeroDivisionError` for a division by zero."""
    numbers: list[Fraction] = []

    def noted(number: Fraction) -> Fraction:
        numbers.append(number)
        return number

    return Value(value=parse(text, noted), numbers=tuple(numbers))


def parse(text: str, number: Callable[[Fraction], T]) -> T:
    """The expression `text` with `number` made of each of its numbers; raises what operators and it raise."""
    if len(text) > MAX_CHARS:
        raise NotArithmeticError
    parser = _Parser(_tokens(text), number)
    value = parser.total(0)
    if parser.position != len(parser.tokens):
        raise NotArithmeticError
    return value


def _tokens(text: str) -> list[str]:
    text = text.strip().replace("×", "*").replace("·", "*").replace("÷", "/").replace("−", "-")
    tokens: list[str] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise NotArithmeticError
        tokens.append(match[1] or match[2])
        position = match.end()
    return tokens


class _Parser(Generic[T]):
    """Recursive descent: total = product {+- product}; product = factor {*/ factor}."""

    def __init__(self, tokens: list[str], number: Callable[[Fraction], T]) -> None:
        self.tokens = tokens
        self.position = 0
        self._number = number

    def total(self, depth: int) -> T:
        value = self.product(depth)
        while (op := self._next_if("+-")) is not None:
            term = self.product(depth)
            value = value + term if op == "+" else value - term
        return value

    def product(self, depth: int) -> T:
        value = self.factor(depth)
        while (op := self._next_if("*/")) is not None:
            term = self.factor(depth)
            value = value * term if op == "*" else value / term
        return value

    def factor(self, depth: int) -> T:
        if depth > MAX_DEPTH:
            raise NotArithmeticError
        if (sign := self._next_if("+-")) is not None:
            value = self.factor(depth + 1)
            return value if sign == "+" else -value
        if self._next_if("(") is not None:
            value = self.total(depth + 1)
            if self._next_if(")") is None:
                raise NotArithmeticError
            return value
        token = self.tokens[self.position] if self.position < len(self.tokens) else ""
        if not token[:1].isdigit() or len(token) > MAX_DIGITS:
            raise NotArithmeticError
        self.position += 1
        return self._number(Fraction(token))

    def _next_if(self, wanted: str) -> str | None:
        if self.position < len(self.tokens) and self.tokens[self.position] in wanted:
            self.position += 1
            return self.tokens[self.position - 1]
        return None
