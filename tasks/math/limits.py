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
MAX_OPERATORS = 1024
MAX_COMMANDS = 256
MAX_EXPONENT = 10_000
"""Largest number allowed as a power; towers such as `9^{9^{9}}` are evaluated up to here and no further."""
MAX_FACTORIAL = 10_000
MAX_BINOMIAL = 10_000
MAX_RANGE = 100_000
"""Largest numeric bound of a sum, product or integral."""

_DIGIT_RUN = re.compile(r"\d+")
_OPERATORS = re.compile(r"[-+*/^=<>!]")
_POWER = re.compile(r"(?:\^|\*\*)")
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
    return _oversized_value(text)


def _oversized_value(text: str) -> str | None:
    """Name of the operation whose result would be huge, judged from the literals it is applied to."""
    if _largest_power(text) > MAX_EXPONENT:
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


def _clipped_power(base: int, exponent: int) -> int:
    if base <= 1 or exponent == 0:
        return min(base, 1)
    value = 1
    for _ in range(min(exponent, MAX_EXPONENT)):
        value *= base
        if value > MAX_EXPONENT:
            return MAX_EXPONENT + 1
    return value
