r"""Static caps on an answer, looked at before anything parses it.

Contract: `exceeded(text)` returns the name of the first cap that `text` is over, or None, in linear time,
without building any number larger than the caps allow. A cap is a statement about cost, never about
truth: an answer over a cap is *ungradable*, not wrong. The kind of cap list comes from inspect_ai's `math`
scorer (reference/reliability.md, section 2); the sizes of `MAX_EXPONENT` and below are ours.

The caps need not catch every expensive expression: what slips through meets the time limit of
`tasks.math.worker`. They are there so that the well-known bombs cost microseconds instead of two seconds.
"""

from __future__ import annotations

import re

MAX_CHARS = 4096
MAX_NESTING = 64
MAX_DIGIT_RUN = 256
MAX_DIGITS = 2048
MAX_OPERATORS = 256
MAX_COMMANDS = 128
MAX_RELATIONS = 32
MAX_BARS = 16
MAX_CELLS = 100
"""Entries of matrices."""
MAX_FUNCTIONS = 4
"""Functions or roots directly inside each other: `\\ln(\\ln(x))` has two."""
MAX_EXPONENT = 10_000
"""Largest number allowed as a power; towers such as `9^{9^{9}}` are evaluated up to here and no further.
Powers of powers are multiplied."""
MAX_FACTORIAL = 10_000
MAX_BINOMIAL = 10_000
MAX_RANGE = 100_000
"""Largest numeric bound of a sum, product or integral."""

_DIGIT_RUN = re.compile(r"\d+")
_OPERATORS = re.compile(r"[-+*/^=<>!]")
_RELATION = re.compile(r"[<>=]|\\[lgn]e(?![A-Za-z])")
_FUNCTION = r"\\(?:sqrt(?:\[\w+\])?|(?:arc)?(?:sin|cos|tan)|cot|sec|csc|ln|log|exp|Gamma)"
_NESTED_FUNCTIONS = re.compile(
    rf"(?:{_FUNCTION}(?:[_^](?:\w|\{{-?\w+\}}))?[({{\s]{{1,4}}){{{MAX_FUNCTIONS + 1}}}"
)
_NUMBER_IN_BRACKETS = re.compile(r"\((\d+)\)")
_POWER = re.compile(r"(?:\^|\*\*)")
_GROUP_POWER = re.compile(r"(?:\^|\*\*)(?:\{(\d{1,9})\}|(\d))")
_EXPONENT = re.compile(r"[\s{(]*(-?\d+)\s*")
_FACTORIAL = re.compile(r"(\d+)[\s)}]*(?:!|\\\w*factorial)")
_FACTORIAL_CHAIN = re.compile(r"\d[\s)}]*!(?:[\s)}]*!){2,}")
_BINOMIAL = re.compile(r"\\[dt]?binom\s*\{?\s*(\d+)|\{\s*(\d+)\s*\\choose")
_RANGE = re.compile(r"\\(?:sum|prod|int)(?=([^\\]{0,200}))")
_OPENERS = frozenset("([{")
_CLOSERS = frozenset(")]}")


def exceeded(text: str) -> str | None:
    """Name of the first cap that `text` exceeds: `length`, `nesting`, `digits`, `power`, ... or None."""
    if len(text) > MAX_CHARS:
        return "length"
    if _nesting(text) > MAX_NESTING:
        return "nesting"
    runs = [len(run) for run in _DIGIT_RUN.findall(text)]
    if max(runs, default=0) > MAX_DIGIT_RUN:
        return "digit_run"
    if sum(runs) > MAX_DIGITS:
        return "digits"
    if len(_OPERATORS.findall(text)) > MAX_OPERATORS:
        return "operators"
    if text.count("\\") > MAX_COMMANDS:
        return "commands"
    if len(_RELATION.findall(text)) > MAX_RELATIONS:
        return "relations"
    if text.count("|") > MAX_BARS:
        return "bars"
    if "matrix}" in text and text.count("&") + text.count(r"\\") >= MAX_CELLS:
        return "cells"
    if _NESTED_FUNCTIONS.search(text):
        return "functions"
    return _oversized_value(_NUMBER_IN_BRACKETS.sub(r"\1", text))


def _oversized_value(text: str) -> str | None:
    """Name of the operation whose result would be huge, judged from the literals it is applied to."""
    if _largest_power(text) > MAX_EXPONENT or _power_of_powers(text) > MAX_EXPONENT:
        return "power"
    if any(int(n) > MAX_FACTORIAL for n in _FACTORIAL.findall(text)) or _FACTORIAL_CHAIN.search(text):
        return "factorial"
    if any(int(upper or lower) > MAX_BINOMIAL for upper, lower in _BINOMIAL.findall(text)):
        return "binomial"
    bounds = (int(n) for window in _RANGE.findall(text) for n in _DIGIT_RUN.findall(window))
    return "range" if any(n > MAX_RANGE for n in bounds) else None


def _nesting(text: str) -> int:
    depth = deepest = 0
    for char in text:
        if char in _OPENERS:
            depth += 1
            deepest = max(deepest, depth)
        elif char in _CLOSERS:
            depth = max(0, depth - 1)
    return deepest


def _largest_power(text: str) -> int:
    """Largest literal exponent, towers folded from the right and clipped just above the cap.

    Reads from right to left, so that the exponent of `a^{b^c}` is already known as `b**c` when `a^` is met.
    An exponent with letters counts as 1: its cost is left to the worker's time limit.
    """
    largest, tail_value, tail_start = 0, 1, -1
    for match in reversed(list(_POWER.finditer(text))):
        exponent = _EXPONENT.match(text, match.end())
        if exponent is None:
            continue
        value = abs(int(exponent.group(1)))
        if exponent.end() == tail_start:
            value = _clipped_power(value, tail_value)
        largest, tail_value, tail_start = max(largest, value), value, match.start()
    return largest


def _power_of_powers(text: str) -> int:
    """Largest product of literal exponents around each other: 15 for `((x+1)^3+y)^{5}`."""
    inside = [1]
    for index, char in enumerate(text):
        if char in _OPENERS:
            inside.append(1)
        elif char in _CLOSERS and len(inside) > 1:
            product = inside.pop()
            if match := _GROUP_POWER.match(text, index + 1):
                product *= max(1, int(match[1] or match[2]))
            inside[-1] = max(inside[-1], product)
        elif char == "^" and (match := _GROUP_POWER.match(text, index)) and text[index - 1] not in _CLOSERS:
            inside[-1] = max(inside[-1], int(match[1] or match[2]))
    return inside[0]


def _clipped_power(base: int, exponent: int) -> int:
    if base <= 1 or exponent == 0:
        return min(base, 1)
    value = 1
    for _ in range(min(exponent, MAX_EXPONENT)):
        value *= base
        if value > MAX_EXPONENT:
            return MAX_EXPONENT + 1
    return value
