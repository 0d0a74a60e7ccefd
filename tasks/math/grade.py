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
from fractions import Fraction

from tasks.base import Grade, Verdict
from tasks.math import exact, worker
from tasks.math.latex import plain
from tasks.math.limits import MAX_CHARS, exceeded
from tasks.math.numerals import parse_number
from tasks.math.worker import Outcome

GRADER = "math/1"
MAX_PROSE = 200


class _Open(Exception):
    """Ends a comparison that cannot be decided; carries the verdict."""

    def __init__(self, verdict: Verdict, decided_by: str, detail: str) -> None:
        super().__init__(decided_by)
        self.verdict, self.decided_by, self.detail = verdict, decided_by, detail


def grade(gold: str | None, answer: str | None) -> Grade:
    """Compare `answer` with `gold`; see the module docstring for the verdicts."""
    started = time.perf_counter()
    verdict, decided_by, detail = _judge(gold, answer)
    seconds = time.perf_counter() - started
    return Grade(verdict=verdict, decided_by=decided_by, grader=GRADER, seconds=seconds, detail=detail)


def _judge(gold: str | None, answer: str | None) -> tuple[Verdict, str, str]:
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
        return Verdict.CORRECT, "exact", ""
    for text, verdict in ((expected, Verdict.UNGRADABLE_GOLD), (given, Verdict.UNGRADABLE_ANSWER)):
        cap = exceeded(text)
        if cap is not None:
            return verdict, f"cap:{cap}", text[:MAX_PROSE]
    comparison = _Comparison()
    try:
        equal = exact.compare(expected, given, comparison.undecided)
    except _Open as ended:
        return ended.verdict, ended.decided_by, ended.detail
    return (Verdict.CORRECT if equal else Verdict.INCORRECT), comparison.decided_by, ""


class _Comparison:
    """The symbolic part of one grading call: all its questions to the worker share one time limit."""

    def __init__(self) -> None:
        self.decided_by = "exact"
        self._left_s = worker.TIMEOUT_S

    def undecided(self, gold: str, answer: str) -> bool:
        """Ask the worker about one pair of elements."""
        self.decided_by = "symbolic"
        if self._left_s <= 0:
            raise _Open(Verdict.UNGRADABLE_ANSWER, "timeout", f"no time left for {answer[:MAX_PROSE]}")
        reply = worker.compare(gold, answer, tolerance=_tolerance(gold), timeout_s=self._left_s)
        self._left_s -= reply.seconds
        outcome, detail = reply.outcome, reply.detail
        if outcome in (Outcome.EQUAL, Outcome.DIFFERENT):
            return outcome is Outcome.EQUAL
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


def _is_prose(text: str) -> bool:
    return len(text) <= MAX_PROSE and "\\" not in text
