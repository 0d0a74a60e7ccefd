"""Problem sets of a run: read or made once, written into the run, and read from there ever after.

Contract: `load` gives the problems of a source, of equal questions only the first; `freeze` writes them as
JSON lines that every task reader takes, and refuses problems that do not come back the same. `thaw` reads
them. The hash of a frozen file stands for the problems, wherever they came from.

A problem without a gold whose task cannot verify answers either can be neither learned from nor graded: it is
refused here.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from selftrain.loop.sections import ProblemSource, TaskPart
from tasks.base import Problem
from tasks.errors import DataError, UsageError
from treesearch.api import open_task
from treesearch.atomic import write_text
from treesearch.seeds import derive

TRAIN, HELDOUT, TEST = "train", "heldout", "test"


def load(part: TaskPart, side: str) -> list[Problem]:
    """The problems of one side (`TRAIN`, `HELDOUT` or `TEST`) of a task; none where it has no such side."""
    source: ProblemSource | None = getattr(part, side)
    if source is None:
        return []
    task = open_task(part.task)
    if source.data is not None:
        problems = task.load(Path(source.data), limit=source.limit)
    else:
        problems = _made(part.task, source, "train" if side == TRAIN else "test")
    if not problems:
        raise DataError(f"task {part.name!r} has no {side} problem")
    for problem in problems:
        if problem.task != task.name:
            raise UsageError(f"task {part.name!r}: problem {problem.id!r} is of the task {problem.task!r}")
        if side != TEST and problem.gold is None and not task.verifies_without_gold:
            raise DataError(f"task {part.name!r}: problem {problem.id!r} has no answer to grade against")
    first: dict[str, Problem] = {}
    for problem in problems:
        first.setdefault(problem.question, problem)
    return list(first.values())


def _made(task: str, source: ProblemSource, split: str) -> list[Problem]:
    count = min(source.generate or 0, source.limit or source.generate or 0)
    seeds = range(source.start, source.start + count)
    if task == "math":
        from tasks.generator import generate

        drawn = [generate(seed, split=split) for seed in seeds]  # pyright: ignore[reportArgumentType]
        return [Problem(id=one.id, question=one.question, gold=one.gold) for one in drawn]
    if task == "countdown":
        from tasks.countdown import generate as puzzle
        from tasks.countdown.task import puzzle_problem

        puzzles = [puzzle(seed, split=split) for seed in seeds]  # pyright: ignore[reportArgumentType]
        return [puzzle_problem(id=one.id, numbers=one.numbers, target=one.target) for one in puzzles]
    raise UsageError(f"problems of the task {task!r} cannot be made; give a file: data")


def freeze(path: Path, problems: Sequence[Problem], task: str) -> None:
    """Write problems of `task` by atomic replace.

    `DataError`, and `path` as it was, if two have one id or the task would read others from the file.
    """
    seen: set[str] = set()
    for problem in problems:
        if problem.id in seen:
            raise DataError(f"cannot write {path}: two problems have the id {problem.id!r}; give them others")
        seen.add(problem.id)
    beside = path.with_stem(f"{path.stem}.new")
    try:
        write_text(beside, "".join(json.dumps(_row(one), ensure_ascii=False) + "\n" for one in problems))
        same = thaw(beside, task) == [replace(problem, meta=dict(problem.meta)) for problem in problems]
        if same:
            os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    if not same:
        raise DataError(
            f"the problems of the task {task!r} do not survive being written to {path} and read back; their "
            "ids must be texts without surrounding blanks and their metadata plain JSON"
        )


def _row(problem: Problem) -> dict[str, object]:
    if problem.gold is None:
        return {"question": problem.question, **problem.meta, "id": problem.id}
    return {
        "id": problem.id,
        "question": problem.question,
        "answer": problem.gold,
        "meta": dict(problem.meta),
    }


def thaw(path: Path, task: str) -> list[Problem]:
    """Read what `freeze` wrote."""
    return open_task(task).load(path)


def choose(
    problems: Sequence[Problem], *, without: Collection[str], most: int | None, turn: int, seed: int
) -> list[Problem]:
    """The problems of turn number `turn` (from 0), as they stand in `problems`.

    Those are all but the ones `without`, or `most` of them: the problems are gone through in an order that
    the seed draws, round and round, `most` a turn, so that all are taken before one is taken again.
    """
    left = [problem for problem in problems if problem.id not in without]
    if most is None or most >= len(left):
        return left
    order = [problem.id for problem in problems]
    random.Random(derive(seed, "problems")).shuffle(order)
    first = turn * most % len(order)
    in_turn = (name for name in (*order[first:], *order[:first]) if name not in without)
    taken = set(islice(in_turn, most))
    return [problem for problem in left if problem.id in taken]
