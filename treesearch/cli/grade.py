"""`search grade`: compare an answer with a reference as a run would, and say why.

ANSWER may be a bare answer or a whole solution: a marked answer in it (`\\boxed{}`, `####`, "the answer is")
is what gets graded, else the whole text. GOLD is read alike; for a task that verifies without a reference
(countdown) it is the puzzle itself, such as "Make 24 from 3 5 8 11.".
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from treesearch.cli import options
from treesearch.cli.terminal import one_line, say, say_json

if TYPE_CHECKING:
    from tasks.base import Answer, Grade, Problem, Task
    from tasks.math.explain import Explanation, Reading

_LONGEST = 200
_MOST_PAIRS = 8


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
    found, how, total_s = _timed(opened, problem, given.graded)
    if as_json:
        say_json(_json(found, how, reference, given) if explain else _verdict(found))
        return
    say(f"{found.verdict.value} (decided by {found.decided_by}, {found.seconds:.3f} s)")
    if explain:
        _show(found, how, reference, given, total_s)


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

    class Asked(exact.Judge):
        """Notes whether anything stays open, and goes on as if it were equal."""

        opened = False

        def undecided(self, gold: str, answer: str) -> bool:
            del gold, answer
            self.opened = True
            return True

    judge = Asked()
    exact.compare(expected, found, judge)
    return judge.opened


def _timed(task: Task, problem: Problem, answer: str) -> tuple[Grade, Explanation | None, float]:
    """The grade, how it came about (for the mathematics task only), and the seconds of both."""
    from tasks.math import MathTask, explain, shutdown

    started = time.perf_counter()
    try:
        if isinstance(task, MathTask):
            how = explain(problem.gold, answer)
            return how.grade, how, time.perf_counter() - started
        return task.grade(problem, answer), None, time.perf_counter() - started
    finally:
        shutdown()


def _verdict(found: Grade) -> dict[str, Any]:
    return {
        "verdict": found.verdict.value,
        "decided_by": found.decided_by,
        "grader": found.grader,
        "seconds": found.seconds,
    }


def _json(
    found: Grade, how: Explanation | None, reference: _Reading | None, given: _Reading
) -> dict[str, Any]:
    gold = None if reference is None else _reading_json(reference, how.gold if how else None)
    return {
        **_verdict(found),
        "detail": found.detail,
        "gold": gold,
        "answer": _reading_json(given, how.answer if how else None),
        "comparisons": [asdict(pair) for pair in how.comparisons] if how else [],
    }


def _reading_json(reading: _Reading, parse: Reading | None) -> dict[str, Any]:
    return {
        "graded": reading.graded,
        "extracted_by": None if reading.found is None or reading.found.fallback else reading.found.source,
        "canonical": reading.canonical,
        "plain": parse.plain if parse else None,
        "structure": parse.structure if parse else None,
        "items": list(parse.items) if parse else [],
    }


def _show(
    found: Grade, how: Explanation | None, reference: _Reading | None, given: _Reading, total_s: float
) -> None:
    parses = {"gold": how.gold, "answer": how.answer} if how else {}
    for name, reading in {"gold": reference, "answer": given}.items():
        if reading is None:
            continue
        say(f"  {name:9} {one_line(reading.graded, _LONGEST)}  ({reading.explain()})")
        say(f"  {'canonical':9} {one_line(reading.canonical, _LONGEST)}")
        parse = parses.get(name)
        if parse is not None:
            parts = one_line("; ".join(parse.items) or parse.plain, _LONGEST)
            say(f"  {'read as':9} {parse.structure}: {parts}")
    for pair in how.comparisons[-_MOST_PAIRS:] if how else ():
        sign = {True: "=", False: "is not", None: "against"}[pair.equal]
        forms = f", parsed as {' and '.join(pair.forms)}" if pair.forms else ""
        line = f"{pair.answer} {sign} {pair.gold} ({pair.decided_by}{forms})"
        say(f"  {'compared':9} {one_line(line, _LONGEST)}")
    say(
        f"  {'decided':9} {found.decided_by}{f': {one_line(found.detail, _LONGEST)}' if found.detail else ''}"
    )
    say(f"  {'grader':9} {found.grader}")
    say(f"  {'time':9} {total_s:.3f} s")
