"""Linear equations in x with whole solutions, worked in lines that can each be checked.

Every line is one calculation with numbers: the coefficient that is left, the constant that is left, x.
Solutions and constants may be negative; a negative operand stands in brackets.
"""

from __future__ import annotations

from tasks.generator.draft import Draft, Redraw
from tasks.generator.registry import template


def _signed(value: int) -> str:
    """` + 5` or ` - 5`: a constant that follows a term."""
    return f" + {value}" if value >= 0 else f" - {-value}"


def _unknown(t: Draft) -> int:
    high = t.ranges.medium[1]
    return t.between(-high // 2, high)


def _constant(t: Draft) -> int:
    value = t.medium()
    return -value if t.rng.random() < 0.4 else value


def _coefficient(t: Draft) -> int:
    return t.between(2, t.difficulty.coefficient)


def _ask(t: Draft, equation: str) -> str:
    return t.say(f"Solve for x: {equation}.", f"Find x: {equation}.", f"What is x if {equation}?")


@template("eq_linear", "equation")
def linear(t: Draft) -> str:
    """`a x + b = c`."""
    x, a, b = _unknown(t), _coefficient(t), _constant(t)
    c = a * x + b
    rest = t.sub("constant", c, b)
    t.div("x", rest, a)
    return _ask(t, f"{a}x{_signed(b)} = {c}")


@template("eq_minus", "equation")
def minus(t: Draft) -> str:
    """`b - a x = c`."""
    x, a, b = _unknown(t), _coefficient(t), t.medium()
    c = b - a * x
    rest = t.sub("constant", c, b)
    t.div("x", rest, -a)
    return _ask(t, f"{b} - {a}x = {c}")


@template("eq_bracket", "equation")
def bracket(t: Draft) -> str:
    """`a(x + b) + c = d`."""
    x, a, b, c = _unknown(t), _coefficient(t), _constant(t), _constant(t)
    d = a * (x + b) + c
    product = t.sub("product", d, c)
    inside = t.div("bracket", product, a)
    t.sub("x", inside, b)
    return _ask(t, f"{a}(x{_signed(b)}){_signed(c)} = {d}")


@template("eq_bracket_short", "equation")
def bracket_short(t: Draft) -> str:
    """`a(x + b) = c`."""
    x, a, b = _unknown(t), _coefficient(t), _constant(t)
    c = a * (x + b)
    inside = t.div("bracket", c, a)
    t.sub("x", inside, b)
    return _ask(t, f"{a}(x{_signed(b)}) = {c}")


@template("eq_both_sides", "equation")
def both_sides(t: Draft) -> str:
    """`a x + b = c x + d`."""
    x, a, c, b = _unknown(t), _coefficient(t), _coefficient(t), _constant(t)
    d = (a - c) * x + b
    if a == c or d == 0:
        raise Redraw
    coefficient = t.sub("coefficient", a, c)
    constant = t.sub("constant", d, b)
    t.div("x", constant, coefficient)
    return _ask(t, f"{a}x{_signed(b)} = {c}x{_signed(d)}")


@template("eq_bracket_both", "equation")
def bracket_both(t: Draft) -> str:
    """`a(x + b) = c x + d`."""
    x, a, c, b = _unknown(t), _coefficient(t), _coefficient(t), _constant(t)
    d = (a - c) * x + a * b
    if a == c or d == 0:
        raise Redraw
    opened = t.mul("open", a, b)
    coefficient = t.sub("coefficient", a, c)
    constant = t.sub("constant", d, opened)
    t.div("x", constant, coefficient)
    return _ask(t, f"{a}(x{_signed(b)}) = {c}x{_signed(d)}")


@template("eq_fraction", "equation")
def fraction(t: Draft) -> str:
    """`x/a + b = c`."""
    quotient, a, b = _unknown(t), _coefficient(t), _constant(t)
    c = quotient + b
    rest = t.sub("constant", c, b)
    t.mul("x", rest, a)
    return _ask(t, f"x/{a}{_signed(b)} = {c}")


@template("eq_like_terms", "equation")
def like_terms(t: Draft) -> str:
    """`a x + b + c x = d`."""
    x, a, b, c = _unknown(t), _coefficient(t), _constant(t), _coefficient(t)
    d = (a + c) * x + b
    coefficient = t.add("coefficient", a, c)
    constant = t.sub("constant", d, b)
    t.div("x", constant, coefficient)
    return _ask(t, f"{a}x{_signed(b)} + {c}x = {d}")
