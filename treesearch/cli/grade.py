"""`search grade`: compare an answer with a reference as a run would, and say why.

ANSWER may be a bare answer or a whole solution: a marked answer in it (`\\boxed{}`, `####`, "the answer is")
is what gets graded, else the whole text. GOLD is read alike; for a task that verifies without a reference
(countdown) it is the puzzle itself, such as "Make 24 from 3 5 8 11.".
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from treesearch.cli import options
from treesearch.cli.terminal import one_line, say, say_json

if TYPE_CHECKING:
    from tasks.base import Answer, Grade, Problem, Task

_LONGEST = 200


class GradeCommand(TyperCommand):
    """Takes words that start with one dash, such as -5, as answers and not as options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See `TyperCommand`."""
        if "--" in args or not any(_is_answer(word) for word in args):
            return super().parse_args(ctx, args)
        words, chosen, given = iter(args), list[str](), list[str]()
        for word in words:
            if word == "--task":
                chosen += [word, *[next(words, "")]]
            else:
                (given if _is_answer(word) or not word.startswith("-") else chosen).append(word)
        return super().parse_args(ctx, [*chosen, "--", *given])


def _is_answer(word: str) -> bool:
    return word.startswith("-") and not word.startswith("--") and len(word) > 1


@dataclass(frozen=True, kw_only=True)
class _Reading:
    """A text as given, and the answer in it that is graded."""

    graded: str
    found: Answer | None
    canonical: str

    def explain(self) -> str:
        """How the answer was found."""
        if self.found is None or self.found.fallback:
            return "no marked answer in it: the whole text"
        return f"found by {self.found.source}"


def grade(
    gold: Annotated[str, typer.Argument(metavar="GOLD", help="The reference; for countdown, the puzzle.")],
    answer: Annotated[str, typer.Argument(metavar="ANSWER", help="An answer, or a whole solution.")],
    task: options.TaskName = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show what was extracted, compared, and what decided.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Grade ANSWER against GOLD; exits 0 whatever the verdict."""
    from treesearch.api import open_task

    opened = open_task(task or "math")
    given = _read(opened, answer)
    if opened.verifies_without_gold:
        problem, reference = opened.problem(gold), None
    else:
        reference = _read(opened, gold)
        problem = replace(opened.problem("graded by hand"), gold=reference.graded)
    _start_worker(opened, reference, given)
    found, total_s = _timed(opened, problem, given.graded)
    if as_json:
        say_json(_json(found, reference, given, explain=explain))
        return
    say(f"{found.verdict.value} (decided by {found.decided_by}, {found.seconds:.3f} s)")
    if explain:
        _show(found, reference, given, total_s)


def _read(task: Task, text: str) -> _Reading:
    found = task.extract(text)
    graded = text if found is None or found.fallback else found.text
    return _Reading(graded=graded, found=found, canonical=task.canonical(graded))


def _start_worker(task: Task, reference: _Reading | None, given: _Reading) -> None:
    """Have the process for symbolic comparison ready where it is needed: its start is not timed."""
    from tasks.math import MathTask, prewarm

    if not isinstance(task, MathTask) or reference is None or reference.canonical == given.canonical:
        return
    if _needs_symbols(reference.graded, given.graded):
        prewarm()


def _needs_symbols(gold: str, answer: str) -> bool:
    """Whether neither a cap nor exact comparison decides."""
    from tasks.math import exact
    from tasks.math.latex import plain
    from tasks.math.limits import MAX_CHARS, exceeded

    if max(len(gold), len(answer)) > MAX_CHARS:
        return False
    expected, found = plain(gold), plain(answer)
    if exceeded(expected) is not None or exceeded(found) is not None:
        return False
    open_pairs: list[tuple[str, str]] = []

    def undecided(first: str, second: str) -> bool:
        open_pairs.append((first, second))
        return True

    exact.compare(expected, found, undecided)
    return bool(open_pairs)


def _timed(task: Task, problem: Problem, answer: str) -> tuple[Grade, float]:
    from tasks.math import shutdown

    started = time.perf_counter()
    try:
        return task.grade(problem, answer), time.perf_counter() - started
    finally:
        shutdown()


def _json(found: Grade, reference: _Reading | None, given: _Reading, *, explain: bool) -> dict[str, Any]:
    content: dict[str, Any] = {
        "verdict": found.verdict.value,
        "decided_by": found.decided_by,
        "seconds": found.seconds,
    }
    if explain:
        content |= {
            "grader": found.grader,
            "detail": found.detail,
            "gold": None if reference is None else _reading_json(reference),
            "answer": _reading_json(given),
        }
    return content


def _reading_json(reading: _Reading) -> dict[str, Any]:
    return {
        "graded": reading.graded,
        "extracted_by": None if reading.found is None or reading.found.fallback else reading.found.source,
        "canonical": reading.canonical,
    }


def _show(found: Grade, reference: _Reading | None, given: _Reading, total_s: float) -> None:
    readings = {"gold": reference, "answer": given}
    for name, reading in readings.items():
        if reading is None:
            continue
        say(f"  {name:9} {one_line(reading.graded, _LONGEST)}  ({reading.explain()})")
        say(f"  {'canonical':9} {one_line(reading.canonical, _LONGEST)}")
    say(
        f"  {'decided':9} {found.decided_by}{f': {one_line(found.detail, _LONGEST)}' if found.detail else ''}"
    )
    say(f"  {'grader':9} {found.grader}")
    say(f"  {'time':9} {total_s:.3f} s")
