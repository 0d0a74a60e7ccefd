"""Numbers in English words: ``three hundred and five`` is 305, ``twenty five`` 25, ``2 million`` 2000000.

Contract: pure functions. ``one`` alone is no number (it is a pronoun too often); before a scale or behind
tens it is. Ordinals, fractions and dozens are words.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation

_UNITS = {
    "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
}  # fmt: skip
_TEENS = {
    "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16,
    "seventeen": 17, "eighteen": 18, "nineteen": 19,
}  # fmt: skip
_TENS = {
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80,
    "ninety": 90,
}  # fmt: skip
_SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9}


def spelled_number(words: Sequence[str], start: int) -> tuple[str, int] | None:
    """The number that begins at `start`, in digits, and the index behind it; None if none begins.

    `words` may hold numbers in digits: one followed by a scale (``1.5 million``) begins a number too.
    """
    total, at, least = Decimal(0), start, None
    while (found := _group(words, at)) is not None:
        value, behind = found
        scale = 1
        while behind < len(words) and words[behind] in _SCALES and words[behind] != "hundred":
            scale *= _SCALES[words[behind]]
            behind += 1
        if least is not None and scale >= least:
            break
        total, at, least = total + value * scale, behind, scale
        if scale == 1 or at >= len(words):
            break
    alone = at == start + 1 and (words[start] == "one" or words[start][0].isdigit())
    return None if at == start or alone else (f"{total.normalize():f}", at)


def _group(words: Sequence[str], start: int) -> tuple[Decimal, int] | None:
    """Below a thousand, or in digits: ``[below a hundred] [hundred [[and] below a hundred]]``."""
    small = _below_hundred(words, start) or _digits(words, start)
    value, at = (Decimal(1), start) if small is None else small
    if at >= len(words) or words[at] != "hundred":
        return (Decimal(1), start) if small is None and _scale_at(words, start) else small
    value, at = value * 100, at + 1
    joined = at + 1 if at < len(words) and words[at] == "and" else at
    rest = _below_hundred(words, joined)
    if rest is not None and not (rest[1] < len(words) and words[rest[1]] == "hundred"):
        return value + rest[0], rest[1]
    return value, at


def _scale_at(words: Sequence[str], at: int) -> bool:
    return at < len(words) and words[at] in _SCALES


def _below_hundred(words: Sequence[str], start: int) -> tuple[Decimal, int] | None:
    word = words[start] if start < len(words) else ""
    if word in _TENS:
        unit = _UNITS.get(words[start + 1], 0) if start + 1 < len(words) else 0
        return Decimal(_TENS[word] + unit), start + (2 if unit else 1)
    value = 0 if word == "zero" else _UNITS.get(word) or _TEENS.get(word)
    return None if value is None else (Decimal(value), start + 1)


def _digits(words: Sequence[str], start: int) -> tuple[Decimal, int] | None:
    """Digits that a scale follows."""
    if start >= len(words) or not _scale_at(words, start + 1):
        return None
    try:
        return Decimal(words[start]), start + 1
    except InvalidOperation:
        return None
