"""Reading what a judge wrote: the last verdict, the last line of scores, or nothing.

Contract: pure functions, linear in the text however hostile it is. The last marker line counts, even where
it is unreadable and an earlier one is not: a judgement that quotes a verdict before its own must not be read
at the quotation. Unreadable is None, never 0.
"""

from __future__ import annotations

import re

LOWEST, HIGHEST = 1, 10
_SCORES = re.compile(r"^[^\w\n]{0,16}scores[^\w\n:]{0,8}:([^\n]*)", re.IGNORECASE | re.MULTILINE)
_WRAP = r"[\s\[\](){}*_`$.\"']{0,8}"
_NUMBERS = re.compile(rf"{_WRAP}(\d{{1,2}}(?:[\s,;|&]{{1,4}}\d{{1,2}})*){_WRAP}")


def verdict_start(text: str, positive: str, negative: str) -> int | None:
    """Where the last verdict line begins; None where it has neither of the words, or there is none."""
    line = re.compile(r"^[^\w\n]{0,16}verdict[^\w\n:]{0,8}:([^\n]*)", re.IGNORECASE | re.MULTILINE)
    found = None
    for found in line.finditer(text):  # noqa: B007 - only the last one is wanted
        pass
    word = rf"[^\w\n]{{0,16}}(?:{re.escape(positive.strip())}|{re.escape(negative.strip())})(?!\w)"
    if found is None or re.match(word, found[1], re.IGNORECASE) is None:
        return None
    return found.start()


def read_grades(text: str, count: int, *, cut: bool) -> tuple[int, ...] | None:
    """The `count` whole numbers from 1 to 10 of the last line of scores; None where they are not just that.

    `cut`: the text was cut at its end, so that a number there may lack a digit.
    """
    found = None
    for found in _SCORES.finditer(text):  # noqa: B007 - only the last one is wanted
        pass
    if found is None or (cut and found.end() == len(text)):
        return None
    numbers = _NUMBERS.fullmatch(found[1])
    grades = tuple(map(int, re.findall(r"\d+", numbers[1]))) if numbers else ()
    fit = len(grades) == count and all(LOWEST <= grade <= HIGHEST for grade in grades)
    return grades if fit else None
