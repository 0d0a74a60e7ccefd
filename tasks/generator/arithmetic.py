"""Arithmetic with precedence: a random expression tree, reduced one operation a step, left to right.

Leaves are positive; divisions are exact by construction; intermediate values may be negative and stay
within `MAX_MAGNITUDE`. Brackets are written where precedence or the order
of the steps needs them.
"""

from __future__ import annotations

from tasks.generator.draft import Draft, Redraw
from tasks.generator.registry import template

MAX_MAGNITUDE = 999
"""Largest absolute value of any intermediate result."""
_RANK = {"+": 1, "-": 1, "*": 2, "/": 2}
_Part = tuple[int, str, int]
"""Value, text, and rank of the operation at the top (3 for a number)."""


@template("arithmetic_flat", "arithmetic")
def flat(t: Draft) -> str:
    """Three operators."""
    return _expression(t, 3)


@template("arithmetic_long", "arithmetic")
def long(t: Draft) -> str:
    """Five operators or more."""
    return _expression(t, t.between(5, max(5, t.difficulty.max_operators)))


@template("arithmetic_middle", "arithmetic")
def middle(t: Draft) -> str:
    """Four operators."""
    return _expression(t, 4)


def _expression(t: Draft, operators: int) -> str:
    text = _grow(t, operators)[1]
    return t.say(f"Compute {text}.", f"Work out {text}.", f"What is {text}?")


def _leaf(t: Draft) -> _Part:
    value = t.small() if t.rng.random() < 0.5 else t.medium()
    return value, str(value), 3


def _grow(t: Draft, operators: int) -> _Part:
    """A part with so many operators; records the steps that reduce it, inner ones first."""
    if operators == 0:
        return _leaf(t)
    operator = t.pick("++--**/")
    if operator == "/":
        return _quotient(t, operators)
    on_left = t.between(0, operators - 1)
    left = _grow(t, on_left)
    right = _grow(t, operators - 1 - on_left)
    return _join(t, operator, left, right)


def _quotient(t: Draft, operators: int) -> _Part:
    """A division: the divisor is a leaf that divides the left part, or the dividend is a leaf made to fit."""
    if operators == 1 or t.rng.random() < 0.4:
        right = _grow(t, operators - 1)
        if right[0] <= 0:
            raise Redraw
        value = right[0] * t.small()
        return _join(t, "/", (value, str(value), 3), right)
    left = _grow(t, operators - 1)
    divisors = [d for d in range(2, 16) if left[0] % d == 0]
    if not divisors or left[0] == 0:
        raise Redraw
    divisor = t.pick(divisors)
    return _join(t, "/", left, (divisor, str(divisor), 3))


def _join(t: Draft, operator: str, left: _Part, right: _Part) -> _Part:
    act = {"+": t.add, "-": t.sub, "*": t.mul, "/": t.div}[operator]
    value = act("", left[0], right[0])
    if abs(value) > MAX_MAGNITUDE:
        raise Redraw
    rank = _RANK[operator]
    before = f"({left[1]})" if left[2] < rank else left[1]
    after = f"({right[1]})" if right[2] <= rank else right[1]
    return value, f"{before} {operator} {after}", rank
