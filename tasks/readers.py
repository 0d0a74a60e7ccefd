"""Problem files: recognised by their content, read line by line, every broken line reported.

Contract: `read_problems(path)` returns a `ReadReport` with the problems in file order and every line that
could not be read, with its number and the reason. It raises `DataError` only if the file cannot be opened or
its format is not recognised. The format is that of the first readable record; UTF-8, with or without a
byte-order mark; blank lines are allowed. A record without `id` gets the file's stem and its line number.

Formats (a test reads a fixture of each):
  gsm8k           JSON lines `question`, `answer` ending in `#### gold`
  math500         JSON lines `problem`, `answer`, and perhaps `solution`, `level`, `subject`, `unique_id`
  aime            JSON lines `problem`, `extracted_groundtruth`, and perhaps `solution`, `url`
  qa              JSON lines `question`, `answer` (text or a number)
  countdown       JSON lines `numbers`, `target`
  game24          CSV with a column `Puzzles`, the target being 24
It downloads nothing and does not judge whether a gold can be graded.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.base import Problem
from tasks.errors import DataError

Record = Mapping[str, Any]
_SHOWN = 5
_GAME_TARGET = 24
_META_KEYS = ("level", "subject", "solution", "url")


@dataclass(frozen=True, kw_only=True)
class BrokenLine:
    """A line that holds no problem: where it is (`line` counts from 1) and why."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"


@dataclass(frozen=True, kw_only=True)
class ReadReport:
    """Outcome of reading a file: the problems, the format recognised, and the broken lines."""

    problems: list[Problem]
    format: str
    broken: list[BrokenLine] = field(default_factory=list[BrokenLine])

    def require_clean(self) -> list[Problem]:
        """The problems; `DataError` naming the first broken lines if there are any."""
        if not self.broken:
            return self.problems
        shown = "; ".join(str(line) for line in self.broken[:_SHOWN])
        rest = len(self.broken) - _SHOWN
        more = f"; and {rest} more" if rest > 0 else ""
        raise DataError(f"{len(self.broken)} broken lines: {shown}{more}")


class _Broken(Exception):
    """A record that holds no problem; the message is the reason."""


def read_problems(
    path: str | os.PathLike[str], *, task: str = "math", limit: int | None = None
) -> ReadReport:
    """Read the problems of `path`, at most the first `limit`; see the module docstring.

    `task` is the task of problems with a question and an answer; countdown files name theirs themselves.
    """
    file = Path(path)
    recognised: _Format | None = None
    problems: dict[str, Problem] = {}
    broken: list[BrokenLine] = []
    for number, content in _records(file):
        if limit is not None and len(problems) >= limit:
            break
        if content is None:
            recognised = _FORMATS["game24"]
            continue
        try:
            record = _object(content)
            recognised = recognised or _recognise(record, file)
            problem = _problem(record, recognised, f"{file.stem}-{number}", task)
            if problem.id in problems:
                raise _Broken(f"the id {problem.id!r} occurs twice")
            problems[problem.id] = problem
        except _Broken as error:
            broken.append(BrokenLine(file=str(file), line=number, reason=str(error)))
    if recognised is None:
        first = f"; {broken[0]}" if broken else ""
        raise DataError(f"{file}: no record in a known format{first}. {_known_formats()}")
    return ReadReport(problems=list(problems.values()), format=recognised.name, broken=broken)


@dataclass(frozen=True, kw_only=True)
class _Format:
    """A record format: the keys that it is known by, and how a record becomes the fields of a `Problem`."""

    name: str
    keys: tuple[str, ...]
    fields: Callable[[Record], dict[str, Any]]
    id_key: str = "id"


def _records(file: Path) -> Iterator[tuple[int, object]]:
    """Line number and content of each line: a JSON value, a CSV row as a dict, or the `_Broken` it met.

    None stands for the header of a CSV file.
    """
    header: list[str] | None = None
    first = True
    try:
        with file.open("rb") as stream:
            for number, raw in enumerate(stream, start=1):
                text = _decode(raw)
                if isinstance(text, str) and not text.strip():
                    continue
                if first and isinstance(text, str) and "Puzzles" in (columns := _row(text)):
                    header = columns
                    yield number, None
                elif isinstance(text, _Broken):
                    yield number, text
                elif header is not None:
                    yield number, dict(zip(header, _row(text), strict=False))
                else:
                    yield number, _json(text)
                first = False
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror or error}; check the path") from error


def _decode(raw: bytes) -> str | _Broken:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return _Broken(f"not UTF-8: {error.reason} at byte {error.start}")


def _row(text: str) -> list[str]:
    try:
        return [cell.strip() for row in csv.reader([text.rstrip("\r\n")]) for cell in row]
    except csv.Error:  # a cell above the csv module's limit of 131,072 characters: no puzzle, no header
        return []


def _json(text: str) -> object:
    try:
        content = json.loads(text.rstrip())  # without its line break, behind which columns would count from 1
        check_text(content, text)
        return content
    except json.JSONDecodeError as error:
        return _Broken(f"not JSON: {error.msg} at column {error.colno}")
    except (ValueError, RecursionError) as error:
        return _Broken(f"not usable JSON: {error}")


def check_text(content: object, written: str) -> None:
    """`ValueError` if JSON that was `written` so holds half of a surrogate pair: no encoding has it."""
    if "\\ud" in written.lower():
        try:
            json.dumps(content, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError as error:
            half = error.object[error.start]
            raise ValueError(
                f"a text holds {half!r}, half of a surrogate pair, which is no character"
            ) from None


def _object(content: object) -> Record:
    if isinstance(content, _Broken):
        raise content
    if not isinstance(content, dict):
        raise _Broken(f"expected a JSON object, found {type(content).__name__}")
    return content  # pyright: ignore[reportUnknownVariableType]


def _recognise(record: Record, file: Path) -> _Format:
    for form in _FORMATS.values():
        if all(key in record for key in form.keys):
            if form.name == "qa" and "####" in str(record["answer"]):
                return _FORMATS["gsm8k"]
            return form
    raise DataError(
        f"{file}: a record with the keys {sorted(record)} is of no known format. {_known_formats()}"
    )


def _known_formats() -> str:
    known = "; ".join(f"{form.name} ({', '.join(form.keys)})" for form in _FORMATS.values())
    return f"Known formats and the keys they need: {known}"


def _problem(record: Record, form: _Format, default_id: str, task: str) -> Problem:
    missing = [key for key in form.keys if record.get(key) is None]
    if missing:
        raise _Broken(f"missing {', '.join(repr(key) for key in missing)}")
    identity = record.get(form.id_key, record.get("id", default_id))
    if isinstance(identity, bool) or not isinstance(identity, str | int) or identity == "":
        raise _Broken(f"the id must be text or an integer, found {identity!r}")
    fields: dict[str, Any] = {"id": str(identity), "task": task, **form.fields(record)}
    return Problem(**fields)


def _text(record: Record, key: str) -> str:
    value = record[key]
    if not isinstance(value, str):
        raise _Broken(f"{key!r} must be text, found {type(value).__name__}")
    if not value.strip():
        raise _Broken(f"{key!r} is empty")
    return value.strip()


def _gold(record: Record, key: str) -> str:
    value = record[key]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return _text(record, key)


def _meta(record: Record) -> dict[str, Any]:
    return {key: record[key] for key in _META_KEYS if key in record}


def _gsm8k(record: Record) -> dict[str, Any]:
    solution, mark, gold = _text(record, "answer").rpartition("####")
    gold = gold.strip().replace(",", "").replace("$", "")
    if not mark or not gold:
        raise _Broken("'answer' does not end in '#### gold'")
    return {"question": _text(record, "question"), "gold": gold, "meta": {"solution": solution.strip()}}


def _math500(record: Record) -> dict[str, Any]:
    return {"question": _text(record, "problem"), "gold": _gold(record, "answer"), "meta": _meta(record)}


def _aime(record: Record) -> dict[str, Any]:
    gold = _gold(record, "extracted_groundtruth")
    return {"question": _text(record, "problem"), "gold": gold, "meta": _meta(record)}


def _qa(record: Record) -> dict[str, Any]:
    meta = record.get("meta", {})
    if not isinstance(meta, dict):
        raise _Broken(f"'meta' must be an object, found {type(meta).__name__}")
    return {
        "question": _text(record, "question"),
        "gold": _gold(record, "answer"),
        "meta": {**_meta(record), **meta},
    }


def _countdown(record: Record) -> dict[str, Any]:
    numbers, target = record["numbers"], record["target"]
    if not isinstance(numbers, list) or not numbers or not all(type(n) is int for n in numbers):
        raise _Broken(f"'numbers' must be a list of integers, found {numbers!r}")
    if type(target) is not int:
        raise _Broken(f"'target' must be an integer, found {target!r}")
    return _numbers_problem(list[int](numbers), target)


def _game24(record: Record) -> dict[str, Any]:
    cells = str(record["Puzzles"]).split()
    if not cells or not all(cell.isdecimal() and len(cell) <= 9 for cell in cells):
        raise _Broken(f"'Puzzles' must be numbers, found {record['Puzzles']!r}")
    return _numbers_problem([int(cell) for cell in cells], _GAME_TARGET)


def _numbers_problem(numbers: list[int], target: int) -> dict[str, Any]:
    from tasks.countdown import question_text

    question = question_text(numbers, target)
    return {"question": question, "task": "countdown", "meta": {"numbers": numbers, "target": target}}


_FORMATS: Mapping[str, _Format] = {
    form.name: form
    for form in (
        _Format(name="aime", keys=("problem", "extracted_groundtruth"), fields=_aime),
        _Format(name="math500", keys=("problem", "answer"), fields=_math500, id_key="unique_id"),
        _Format(name="qa", keys=("question", "answer"), fields=_qa),
        _Format(name="gsm8k", keys=("question", "answer"), fields=_gsm8k),
        _Format(name="countdown", keys=("numbers", "target"), fields=_countdown),
        _Format(name="game24", keys=("Puzzles",), fields=_game24),
    )
}
