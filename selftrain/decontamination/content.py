"""What a problem is, apart from its wording: the keys that two copies of it share, and hashes of inputs.

Contract: pure functions. A problem whose task says in data what is asked (countdown: `numbers` and `target`)
is those data; its text is the same sentence for every problem and tells nothing. Every other problem is its
text. `Item` holds both forms: `keys` (problems that share one are the same) and, for problems that are their
text, the `reading` that near methods compare. `read_items` refuses a problem without text, because it could
not be compared with anything.

A task of your own with such data: a function from problem to content in `_CONTENT`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from selftrain.decontamination.text import Reading, read_text
from tasks.base import Problem
from tasks.errors import DataError


@dataclass(frozen=True, slots=True)
class Item:
    """A problem ready to be compared; `structured` says that it is its data and not its text."""

    problem: Problem
    keys: frozenset[str]
    reading: Reading
    structured: bool


def read_items(problems: Sequence[Problem], what: str) -> list[Item]:
    """Items in the order of `problems`; `what` names the set in errors.

    `DataError` for a set without problems, and for a problem without text.
    """
    if not problems:
        raise DataError(f"{what} holds no problem; nothing can be said about overlap with it")
    return [_item(problem, what) for problem in problems]


def fingerprint(problems: Sequence[Problem]) -> str:
    """SHA-256 of what was compared: task, id, question and content of each problem, in order."""
    digest = hashlib.sha256()
    for problem in problems:
        row = [problem.task, problem.id, problem.question, _content(problem)]
        digest.update(json.dumps(row, ensure_ascii=False).encode() + b"\n")
    return digest.hexdigest()


def _item(problem: Problem, what: str) -> Item:
    reading, content = read_text(problem.question), _content(problem)
    if not reading.key:
        raise DataError(f"{what}: problem {problem.id!r} has no text, got {problem.question!r}")
    keys = {f"text:{reading.key}"} | ({f"{problem.task}:{content}"} if content else set())
    return Item(problem, frozenset(keys), reading, structured=content is not None)


def _content(problem: Problem) -> str | None:
    find = _CONTENT.get(problem.task)
    return None if find is None else find(problem.meta)


def _countdown(meta: Mapping[str, object]) -> str | None:
    """Numbers in ascending order and target; None where the problem does not hold them."""
    numbers, target = meta.get("numbers"), meta.get("target")
    if not isinstance(numbers, Sequence) or isinstance(numbers, str) or target is None:
        return None
    return f"{sorted(int(number) for number in numbers)}={target}"


_CONTENT: Mapping[str, Callable[[Mapping[str, object]], str | None]] = {"countdown": _countdown}
