r"""Plain numbers, read exactly: integers, decimals, fractions, mixed numbers, scientific notation, bases.

Contract: every function takes a spelling made by `latex.plain`, never raises, and bounds the size of a
number before any conversion (at most `MAX_DIGIT_RUN` digits and a power of ten of `MAX_TEN_POWER`), so that
Python's limit on digits of an integer is never met. It reads literals only: `2+3` is not a number here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from tasks.math.limits import MAX_DIGIT_RUN

MAX_TEN_POWER = 1000
_DIGITS = rf"[0-9]{{1,{MAX_DIGIT_RUN}}}"
_DECIMAL = rf"(?:{_DIGITS}(?:\.[0-9]{{0,{MAX_DIGIT_RUN}}})?|\.{_DIGITS})"
_SIGNED = rf"[-+]?{_DECIMAL}"
_PLAIN = re.compile(rf"([-+]?)({_DECIMAL})")
_FRACTION = re.compile(rf"([-+]?)\\frac\{{({_SIGNED})\}}\{{({_SIGNED})\}}|([-+]?)({_DECIMAL})/({_SIGNED})")
_MIXED = re.compile(
    rf"([-+]?)({_DIGITS})(?:\\frac\{{({_DIGITS})\}}\{{({_DIGITS})\}}| ({_DIGITS})/({_DIGITS}))"
)
_SCIENTIFIC = re.compile(
    rf"([-+]?)(?:({_DECIMAL})(?:\\times ?|\\cdot ?|\*|x))?10\^(?:\{{([-+]?[0-9]{{1,4}})\}}|([0-9]))"
    rf"|([-+]?)({_DECIMAL})[eE]([-+]?[0-9]{{1,4}})"
)
_BASE = re.compile(rf"([0-9][0-9A-F]{{0,{MAX_DIGIT_RUN}}})_(?:\{{([0-9]{{1,2}}|[a-z]{{3,12}})\}}|([0-9]))")
_BASE_NAMES = (
    "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen",
    "fourteen", "fifteen", "sixteen",
)  # fmt: skip
_SCALES = {
    "dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12
}  # fmt: skip
_UNIT_WORDS = re.compile(r"(.*[0-9}])( ?)([A-Za-z][A-Za-z ./,'-]*)", re.DOTALL)
_SHORT_UNITS = {
    "cm", "mm", "km", "kg", "mg", "ml", "ft", "in", "oz", "lb", "lbs", "hr", "hrs", "mi", "mph", "sec",
    "min", "sq", "cents",
}  # fmt: skip
_NOT_UNIT_WORDS = {
    "or", "and", "not", "more", "less", "than", "to", "if", "is", "base", "mod", "modulo", "remainder",
    "times", "plus", "minus", "over", "choose", "factorial", "squared", "cubed", "half", "pi", "sqrt",
    "sin", "cos", "tan", "cot", "csc", "log", "ln", "exp", "theta", "alpha", "beta", "infinity", "inf",
    "halves", "third", "thirds", "fourths", "fifth", "fifths", "sixths", "sevenths", "eighths", "ninths",
    "tenths", "hundredths", "thousandths",
}  # fmt: skip

# A gold decimal counts as rounded only if it prints at least this much; `0.15` and `326.5` are exact.
_ROUNDED_DECIMALS = 3
_ROUNDED_SIGNIFICANT = 4


@dataclass(frozen=True, kw_only=True)
class Number:
    """An exact value; `decimals` counts the digits printed after the point, None if it was not a decimal."""

    value: Fraction
    decimals: int | None = None
    significant: int = 0

    @property
    def tolerance(self) -> Fraction | None:
        """Half a unit of the last printed digit if, as a gold, this looks rounded (3 decimals, 4 digits)."""
        if self.decimals is None or self.decimals < _ROUNDED_DECIMALS:
            return None
        return Fraction(1, 2 * 10**self.decimals) if self.significant >= _ROUNDED_SIGNIFICANT else None


def parse_number(text: str) -> Number | None:
    r"""The number that `text` spells, units in words after it dropped; None if it spells none."""
    return _bare_number(text) or _number_with_unit(text)


def parse_base(text: str) -> tuple[str, int] | None:
    r"""Digits (leading zeros dropped) and base of `52_8` or `101_{two}`, None for anything else."""
    match = _BASE.fullmatch(text)
    if match is None:
        return None
    name = match.group(2) or match.group(3)
    base = int(name) if name.isdigit() else _BASE_NAMES.index(name) + 2 if name in _BASE_NAMES else 0
    if not 2 <= base <= 36 or any(int(digit, 16) >= base for digit in match.group(1)):
        return None
    return match.group(1).lstrip("0") or "0", base


def same_number(gold: Number, answer: Number) -> bool:
    """Exact equality; within half a printed unit if `gold` looks rounded and `answer` is no coarser."""
    if gold.value == answer.value:
        return True
    tolerance = gold.tolerance
    coarser = answer.decimals is not None and gold.decimals is not None and answer.decimals < gold.decimals
    return tolerance is not None and not coarser and abs(gold.value - answer.value) <= tolerance


def _bare_number(text: str) -> Number | None:
    if match := _PLAIN.fullmatch(text):
        sign, digits = match.groups()
        whole, point, decimals = digits.partition(".")
        significant = len((whole + decimals).lstrip("0"))
        value = _signed(sign, Fraction(_decimal(digits)))
        return Number(value=value, decimals=len(decimals) if point else None, significant=significant)
    if match := _FRACTION.fullmatch(text):
        sign, top, bottom = match.group(1, 2, 3) if match.group(2) else match.group(4, 5, 6)
        return _quotient(sign, Fraction(0), _decimal(top), _decimal(bottom))
    if match := _MIXED.fullmatch(text):
        sign, whole, *parts = match.groups()
        top, bottom = parts[:2] if parts[0] else parts[2:]
        return _quotient(sign, Fraction(whole), Fraction(top), Fraction(bottom))
    if match := _SCIENTIFIC.fullmatch(text):
        return _scientific(match)
    return None


def _scientific(match: re.Match[str]) -> Number | None:
    sign, mantissa, power = (
        match.group(5, 6, 7) if match.group(7) else (match[1], match[2], match[3] or match[4])
    )
    exponent = int(power)
    if abs(exponent) > MAX_TEN_POWER:
        return None
    return Number(value=_signed(sign, _decimal(mantissa or "1") * Fraction(10) ** exponent))


def _number_with_unit(text: str) -> Number | None:
    """`15 apples`, `3 cm^2`, `2 million dollars`: the number, if what follows can only be scale and unit."""
    match = _UNIT_WORDS.fullmatch(re.sub(r"\^[23]\Z", "", text))
    if match is None:
        return None
    prefix, space, tail = match.groups()
    words = re.findall(r"[A-Za-z]+", tail)
    if any(word.lower() in _NOT_UNIT_WORDS for word in words):
        return None
    if not (words[0].lower() in _SHORT_UNITS or (space and len(words[0]) >= 3)):
        return None
    number = _bare_number(prefix)
    if number is None or words[0].lower() not in _SCALES:
        return number
    return Number(value=number.value * _SCALES[words[0].lower()])


def _quotient(sign: str | None, whole: Fraction, top: Fraction, bottom: Fraction) -> Number | None:
    return None if bottom == 0 else Number(value=_signed(sign, whole + top / bottom))


def _decimal(digits: str) -> Fraction:
    return Fraction(digits.rstrip(".") or "0")


def _signed(sign: str | None, value: Fraction) -> Fraction:
    return -value if sign == "-" else value
