"""The verdict on an answer: exact comparison first, caps, then the symbolic worker.

Contract: `grade(gold, answer)` never raises on the text of either, and takes at most 2.5 s once the worker
runs (see `worker`). `MissingPrerequisiteError` is raised if the worker is needed and cannot start.
Stages, named in `Grade.decided_by`:

  `missing`   no answer (incorrect) or no gold (ungradable);
  `cap:NAME`  over a static cap of `limits`: ungradable, of the gold or of the answer;
  `exact`     decided in pure Python by `exact`;
  `symbolic`  decided by the worker, each pair of elements that `exact` left open;
  `timeout`, `crashed`   the worker gave up: ungradable, never incorrect;
  `unreadable` not an expression: a gold is ungradable; an answer is incorrect if it is prose (no LaTeX
              command in it and at most `MAX_PROSE` characters: it says nothing that could be right where the
              gold is a formula), and ungradable otherwise.

The version `GRADER` is stored with every label; it changes when any verdict can.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from fractions import Fraction

from tasks.base import Grade, Verdict
from tasks.math import exact, worker
from tasks.math.latex import plain
from tasks.math.limits import MAX_CHARS, exceeded
from tasks.math.numerals import parse_number
from tasks.math.worker import Outcome

GRADER = "math/2"
MAX_PROSE = 200


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One pair of parts that a comparison looked at. `equal` is None if it stayed open.

    `decided_by` is `exact`, or what `Grade.decided_by` says of the worker; `forms` are its two parses.
    """

    gold: str
    answer: str
    equal: bool | None
    decided_by: str
    forms: tuple[str, ...] = ()


class _Open(Exception):
    """Ends a comparison that cannot be decided; carries the verdict."""

    def __init__(self, verdict: Verdict, decided_by: str, detail: str) -> None:
        super().__init__(decided_by)
        self.verdict, self.decided_by, self.detail = verdict, decided_by, detail


def grade(gold: str | None, answer: str | None) -> Grade:
    """Compare `answer` with `gold`; see the module docstring for the verdicts."""
    return traced(gold, answer)[0]


def traced(gold: str | None, answer: str | None) -> tuple[Grade, list[Compared]]:
    """As `grade`, with the pairs of parts that were compared, in order; none if a cap or no text decided."""
    started = time.perf_counter()
    comparison = _Comparison()
    verdict, decided_by, detail = _judge(gold, answer, comparison)
    seconds = time.perf_counter() - started
    found = Grade(verdict=verdict, decided_by=decided_by, grader=GRADER, seconds=seconds, detail=detail)
    return found, comparison.pairs


def _judge(gold: str | None, answer: str | None, comparison: _Comparison) -> tuple[Verdict, str, str]:
    if gold is None or not gold.strip():
        return Verdict.UNGRADABLE_GOLD, "missing", "the problem has no reference answer"
    if answer is None or not answer.strip():
        return Verdict.INCORRECT, "missing", "no answer"
    if len(gold) > MAX_CHARS:
        return Verdict.UNGRADABLE_GOLD, "cap:length", f"{len(gold)} characters"
    if len(answer) > MAX_CHARS:
        return Verdict.UNGRADABLE_ANSWER, "cap:length", f"{len(answer)} characters"
    expected, given = plain(gold), plain(answer)
    if not expected:
        return Verdict.UNGRADABLE_GOLD, "unreadable", gold[:MAX_PROSE]
    if expected == given:
        comparison.note(expected, given, True)
        return Verdict.CORRECT, "exact", ""
    for text, verdict in ((expected, Verdict.UNGRADABLE_GOLD), (given, Verdict.UNGRADABLE_ANSWER)):
        cap = exceeded(text)
        if cap is not None:
            return verdict, f"cap:{cap}", text[:MAX_PROSE]
    try:
        equal = exact.compare(expected, given, comparison)
    except _Open as ended:
        return ended.verdict, ended.decided_by, ended.detail
    return (Verdict.CORRECT if equal else Verdict.INCORRECT), comparison.decided_by, ""


class _Comparison(exact.Judge):
    """The symbolic part of one grading call: all its questions to the worker share one time limit."""

    def __init__(self) -> None:
        self.decided_by = "exact"
        self.pairs: list[Compared] = []
        self._left_s = worker.TIMEOUT_S

    def note(self, gold: str, answer: str, equal: bool) -> None:
        """Keep a pair that `exact` decided."""
        self.pairs.append(Compared(gold=gold, answer=answer, equal=equal, decided_by="exact"))

    def undecided(self, gold: str, answer: str) -> bool:
        """Ask the worker about one pair of elements."""
        self.decided_by = "symbolic"
        if self._left_s <= 0:
            raise _Open(Verdict.UNGRADABLE_ANSWER, "timeout", f"no time left for {answer[:MAX_PROSE]}")
        spelled = _spelled(gold), _spelled(answer)
        reply = worker.compare(*spelled, tolerance=_tolerance(gold), timeout_s=self._left_s)
        self._left_s -= reply.seconds
        outcome, detail = reply.outcome, reply.detail
        equal = outcome is Outcome.EQUAL if outcome in (Outcome.EQUAL, Outcome.DIFFERENT) else None
        decided_by = outcome.value if equal is None else "symbolic"
        pair = Compared(gold=gold, answer=answer, equal=equal, decided_by=decided_by, forms=reply.forms)
        self.pairs.append(pair)
        if equal is not None:
            return equal
        if outcome is Outcome.GOLD_UNREADABLE:
            raise _Open(Verdict.UNGRADABLE_GOLD, "unreadable", detail)
        if outcome is Outcome.ANSWER_UNREADABLE and _is_prose(answer):
            raise _Open(Verdict.INCORRECT, "unreadable", detail)
        decided_by = "unreadable" if outcome is Outcome.ANSWER_UNREADABLE else outcome.value
        raise _Open(Verdict.UNGRADABLE_ANSWER, decided_by, detail or answer[:MAX_PROSE])


def _tolerance(gold: str) -> str | None:
    number = parse_number(gold)
    tolerance: Fraction | None = number.tolerance if number else None
    return None if tolerance is None else str(tolerance)


def _spelled(text: str) -> str:
    """What the worker reads: the value alone of a number with a unit or a scale (`3 million`)."""
    number = parse_number(text)
    return text if number is None else str(number.value)


def _is_prose(text: str) -> bool:
    return len(text) <= MAX_PROSE and "\\" not in text
