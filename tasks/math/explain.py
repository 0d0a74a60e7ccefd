"""What the grader read, compared and found: the record behind `search grade --explain`.

Contract: `explain(gold, answer)` grades as `grade` does, once, and adds the reading of both texts. It never
raises on their text and is bounded alike. Texts over the length cap are not read; they have no `Reading`.
"""

from __future__ import annotations

from dataclasses import dataclass

from tasks.base import Grade
from tasks.math.canonical import canonical
from tasks.math.grade import Compared, traced
from tasks.math.latex import plain
from tasks.math.limits import MAX_CHARS, exceeded
from tasks.math.shape import Kind, read_shape


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A text as the grader sees it: plain spelling, canonical key, and the structure with its items.

    `structure` is a `Kind`, or `interval` for two items in brackets of which one is square. A text over a cap
    (`cap`) has no items: it is not taken apart.
    """

    plain: str
    canonical: str
    structure: str = Kind.SCALAR.value
    items: tuple[str, ...] = ()
    cap: str | None = None


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """A grade with what led to it; the last of `comparisons` is the one that decided."""

    grade: Grade
    gold: Reading | None
    answer: Reading | None
    comparisons: tuple[Compared, ...]


def explain(gold: str | None, answer: str | None) -> Explanation:
    """Grade `answer` and say how."""
    found, pairs = traced(gold, answer)
    return Explanation(grade=found, gold=read(gold), answer=read(answer), comparisons=tuple(pairs))


def read(text: str | None) -> Reading | None:
    """The reading of one text; None if there is none, or if it is longer than the cap."""
    if text is None or len(text) > MAX_CHARS:
        return None
    spelling = plain(text)
    cap = exceeded(spelling)
    if cap is not None:
        return Reading(plain=spelling, canonical=canonical(text), cap=cap)
    shape = read_shape(spelling)
    interval = len(shape.items) == 2 and ("[" in shape.brackets or "]" in shape.brackets)
    structure = "interval" if interval else shape.kind.value
    return Reading(plain=spelling, canonical=canonical(text), structure=structure, items=shape.items)
