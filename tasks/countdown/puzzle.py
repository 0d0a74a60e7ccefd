"""Countdown: reach a target from given numbers with + - * /, each number used exactly once.

Game of 24 is countdown with target 24. This module is the arithmetic: applying a step, reading and
writing step lines, composing a solution into one expression, and checking it exactly with fractions.
Contract: nothing here raises on model-written text; a line that is no step is `None`, and sizes are
capped before anything is computed (a step's operands have at most `_MAX_DIGITS` digits).

A step line is ``11+3=14 (left: 5 8 14)``: two of the numbers that are left, the operation, its value and
what is left then, in ascending order. A fraction is written ``8/3``, and in brackets as an operand:
``3-(8/3)=1/3 (left: 1/3 8)``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

_MAX_DIGITS = 12
_VALUE = rf"-?\d{{1,{_MAX_DIGITS}}}(?:/\d{{1,{_MAX_DIGITS}}})?"
_OPERAND = rf"(?:\((?P<{{0}}b>{_VALUE})\)|(?P<{{0}}>\d{{1,{_MAX_DIGITS}}}))"
_STEP = re.compile(
    rf"\s*{_OPERAND.replace('{0}', 'a')}\s*(?P<op>[-+*/])\s*{_OPERAND.replace('{0}', 'b')}"
    rf"\s*=\s*(?P<value>{_VALUE})\s*\(left:(?P<left>(?: {_VALUE})*)\s*\)\s*"
)


@dataclass(frozen=True, kw_only=True)
class Move:
    """One step: ``left op right = value``; `left_over` is what the line says remains, ascending."""

    left: Fraction
    op: str
    right: Fraction
    value: Fraction
    left_over: tuple[Fraction, ...]


def apply(left: Fraction, op: str, right: Fraction) -> Fraction | None:
    """Value of ``left op right``; None for a division by zero or an unknown operation."""
    if op == "+":
        return left + right
    if op == "-":
        return left - right
    if op == "*":
        return left * right
    if op == "/" and right != 0:
        return left / right
    return None


def question_text(numbers: Sequence[int], target: int) -> str:
    """The question as a model reads it, such as ``Make 24 from 3 5 8 11.``; numbers ascending."""
    return f"Make {target} from {' '.join(str(number) for number in sorted(numbers))}."


def format_step(left: Fraction, op: str, right: Fraction, left_over: Iterable[Fraction]) -> str:
    """Write a step line; `left_over` is what remains after it, the new value included."""
    value = apply(left, op, right)
    rest = " ".join(str(number) for number in sorted(left_over))
    return f"{_operand(left)}{op}{_operand(right)}={value} (left: {rest})"


def parse_step(line: str) -> Move | None:
    """Read a step line; None if it is not one. The arithmetic is not checked here."""
    match = _STEP.fullmatch(line) if len(line) <= 1_000 else None
    if match is None:
        return None
    try:
        return Move(
            left=Fraction(match["ab"] or match["a"]),
            op=match["op"],
            right=Fraction(match["bb"] or match["b"]),
            value=Fraction(match["value"]),
            left_over=tuple(Fraction(number) for number in match["left"].split()),
        )
    except ZeroDivisionError:
        return None


def take(numbers: Sequence[Fraction], move: Move) -> tuple[Fraction, ...] | None:
    """Numbers after `move`, ascending, or None where the move is wrong.

    Wrong: an operand that is not there, a false value, or another remainder than the line claims.
    """
    rest = list(numbers)
    for operand in (move.left, move.right):
        if operand not in rest:
            return None
        rest.remove(operand)
    if apply(move.left, move.op, move.right) != move.value:
        return None
    rest.append(move.value)
    rest.sort()
    return tuple(rest) if Counter(rest) == Counter(move.left_over) else None


def first_wrong_step(numbers: Sequence[int], target: int, steps: Sequence[str]) -> int | None:
    """Index of the first step line that is no legal move, or of a last one that misses the target."""
    state: tuple[Fraction, ...] = tuple(sorted(Fraction(number) for number in numbers))
    for index, line in enumerate(steps):
        move = parse_step(line)
        after = take(state, move) if move is not None else None
        if after is None or (len(after) == 1 and after[0] != target):
            return index
        state = after
    return None


def compose(solution: str) -> str | None:
    """One expression made of the step lines of `solution`, or None where they do not chain to one number.

    Every operand that an earlier step produced is replaced by that step's own expression, so the result
    can be checked without trusting the values that the lines claim. A solution may try again: only the lines
    of its last `attempt` that ended count.
    """
    made: dict[Fraction, list[str]] = {}
    last: str | None = None
    for move in attempt(filter(None, map(parse_step, solution.splitlines()))):
        terms = [_pop(made, operand) for operand in (move.left, move.right)]
        last = f"({terms[0]}{move.op}{terms[1]})"
        made.setdefault(move.value, []).append(last)
    return last[1:-1] if last is not None and sum(map(len, made.values())) == 1 else None


def attempt(moves: Iterable[Move]) -> list[Move]:
    """The moves that lead to the last one which leaves a single number, in order; empty without such a one.

    A move that starts from other numbers than the one before it left goes back to the latest move that left
    those, or to the beginning. One that starts from numbers never seen goes on from the move before, so that
    a broken chain stays one.
    """
    found: list[Move] = []
    parents: list[int] = []
    places: dict[tuple[Fraction, ...], int] = {}
    end = at = -1
    for number, move in enumerate(moves):
        start = _start(move)
        parents.append(at if start is None else places.get(start, at))
        if number == 0 and start is not None:
            places[start] = -1
        found.append(move)
        at = places[tuple(sorted(move.left_over))] = number
        end = number if len(move.left_over) == 1 else end
    chain: list[Move] = []
    while end >= 0:
        chain.append(found[end])
        end = parents[end]
    return chain[::-1]


def _start(move: Move) -> tuple[Fraction, ...] | None:
    """The numbers that a move starts from, ascending; None where its value is not among those it leaves."""
    rest = list(move.left_over)
    if move.value not in rest:
        return None
    rest.remove(move.value)
    return tuple(sorted((*rest, move.left, move.right)))


def _pop(made: dict[Fraction, list[str]], operand: Fraction) -> str:
    terms = made.get(operand)
    return terms.pop() if terms else _operand(operand)


def _operand(value: Fraction) -> str:
    text = str(value)
    return f"({text})" if "/" in text or "-" in text else text
