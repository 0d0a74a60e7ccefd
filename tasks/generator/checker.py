"""Which of a list of worked steps is provably wrong: exact, total and bounded on any text.

A step is a line `label: expr=value` or `expr=value` over whole numbers, `+ - * /` and brackets.
It is wrong when

1. its equation is false in exact rational arithmetic (a division by zero counts as false), or
2. it calculates with a number that is neither written in the question, nor a declared constant of the kind
   of problem, nor a number of an earlier step, or
3. it is the line `#### x` and x is not the gold answer.

The rest is not provable here, and passes: a true equation that does not help, and a line that is not an
equation of that form (decimals, letters, malformed brackets). To stay on the safe side, signs are ignored in
rule 2, the numbers of a line that cannot be read count as known from then on, and after a line longer than
`MAX_STEP_CHARS` rule 2 rests. Rule 3 reads the gold, so that a search which uses it is using an oracle.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fractions import Fraction

from tasks.arithmetic import NotArithmeticError, calculate

MAX_STEP_CHARS = 400
"""A longer step is not read."""
_MAX_DIGITS = 40

_ANSWER = "####"
_BODY = re.compile(r"[0-9+\-*/()= ]*[0-9][0-9+\-*/()= ]*\Z")
_DIGITS = re.compile(r"[0-9]+")
_ADJACENT = re.compile(r"[0-9] +[0-9]")
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")


def wrong_step(
    steps: Sequence[str], *, question: str, gold: str | None = None, constants: Iterable[int] = ()
) -> int | None:
    """Index of the first provably wrong step, or None. Without `gold` the answer line is not judged."""
    known: set[int] | None = {*constants, *_numbers(question[: 10 * MAX_STEP_CHARS])}
    for index, step in enumerate(steps):
        if len(step) > MAX_STEP_CHARS:
            known = None
            continue
        text = step.strip()
        if text.startswith(_ANSWER):
            if gold is not None and not _same_answer(text[len(_ANSWER) :], gold):
                return index
        elif _false_or_unfounded(text, known):
            return index
        if known is not None:
            known.update(_numbers(text))
    return None


def _false_or_unfounded(text: str, known: set[int] | None) -> bool:
    label, colon, body = text.rpartition(":")
    body = body.rstrip(" .")
    if (colon and label[-1:].isdigit()) or "=" not in body or not _BODY.match(body) or _ADJACENT.search(body):
        return False
    sides = [side.strip() for side in body.split("=")]
    try:
        values = [calculate(side).value for side in sides]
    except NotArithmeticError:
        return False
    except ZeroDivisionError:
        return True
    if any(value != values[0] for value in values):
        return True
    calculated = [side for side in sides if not side.strip("()- ").isdigit()] or sides
    return known is not None and any(not known.issuperset(_numbers(side)) for side in calculated)


def _numbers(text: str) -> list[int]:
    return [int(run) for run in _DIGITS.findall(text) if len(run) <= _MAX_DIGITS]


def _same_answer(text: str, gold: str) -> bool:
    found, wanted = _answer(text), _answer(gold)
    return text.strip() == gold.strip() if found is None or wanted is None else found == wanted


def _answer(text: str) -> Fraction | None:
    """The one number of an answer line, thousands commas allowed; None if there is none or more than one."""
    numbers = _NUMBER.findall(text.replace(",", ""))
    return Fraction(numbers[0]) if len(numbers) == 1 and len(numbers[0]) <= _MAX_DIGITS else None
