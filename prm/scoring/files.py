"""Scoring a file of solutions: JSON lines in, the same lines with scores out.

Contract: `score_file` reads rows `id`, `prompt`, `completions` (the steps; or one text, a whole solution,
which is cut as the model's convention cuts). To `out` it appends, in order of the input, `id`, `prompt`,
`completions`, `scores` (one a step), `aggregates` (every one that is finite), `tokens`, and, where that is
told, `by`, what scored it, with `by_hash`. Labels are carried over, so that `search prm eval --bench steps
--scores` reads the result. A file that is there is gone on with: rows that it holds already are not scored
again, and one that does not begin as the input does, or that something else scored, is refused. What a kill
leaves is a prefix of the whole result. A row that cannot be scored ends it with an error that names file,
line and id; the rows before it are in the file by then.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from prm.aggregates import aggregate, applicable
from prm.evaluation.rows import Row, read_rows
from prm.evaluation.scoring import CONCURRENCY, named, score_until_failure
from prm.scoring.base import StepScorer, StepScores, split_solution
from tasks.errors import DataError, UsageError

_BATCH = 256
"""Solutions scored before what is there is written."""
_CARRIED = ("labels", "counts")


@dataclass(frozen=True, kw_only=True)
class FileSummary:
    """How many solutions and steps the file holds, how many were scored now, and the tokens read for them."""

    n_solutions: int
    n_steps: int
    n_new: int
    tokens: int


async def score_file(
    scorer: StepScorer,
    data: Path,
    out: Path,
    *,
    by: str = "",
    by_hash: str = "",
    concurrency: int = CONCURRENCY,
    on_done: Callable[[int], None] = lambda _: None,
) -> FileSummary:
    """Score every solution of `data` into `out`; `on_done` gets the number of those scored now.

    `by` names the model and the settings that its scores depend on, `by_hash` is a hash of both, so that a
    file that another began is not gone on with. The hash decides, where both sides have one.

    Raises `DataError` with file and line for a broken row, `UsageError` for an `out` of other rows or one
    that cannot be written, and what the scorer raises with the place of the row.
    """
    rows = list(read_rows(data))
    if not rows:
        raise DataError(f"{data}: no record in the file")
    wanted = [(row.text("prompt"), _steps(row, scorer)) for row in rows]
    ids = [row.name("id") for row in rows]
    make_place(out)
    made_by = {key: value for key, value in (("by", by), ("by_hash", by_hash)) if value}
    done = _done(out, list(zip(ids, wanted, strict=True)), made_by)
    tokens = 0
    for start in range(done, len(rows), _BATCH):
        part = slice(start, start + _BATCH)
        found, failure = await score_until_failure(
            scorer,
            wanted[part],
            concurrency=concurrency,
            on_done=lambda count, start=start: on_done(start - done + count),
        )
        tokens += sum(scores.tokens for scores in found)
        new = zip(rows[part], wanted[part], found, strict=False)
        _append(out, [_line(row, steps, scores, made_by) for row, (_, steps), scores in new])
        if failure is not None:
            _fail(rows[start + len(found)], failure)
    steps = sum(len(texts) for _, texts in wanted)
    return FileSummary(n_solutions=len(rows), n_steps=steps, n_new=len(rows) - done, tokens=tokens)


def make_place(out: Path) -> None:
    """Make the folder that `out` is in; `UsageError` where no file can be written there."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write {out}: {error.strerror}; name another file with --out") from error
    if out.is_dir() or not os.access(out if out.exists() else out.parent, os.W_OK):
        raise UsageError(f"cannot write {out}: no file can be written there; name another with --out")


def _fail(row: Row, failure: Exception) -> NoReturn:
    """Raise the failure of a row with its place."""
    raise named(failure, f"{row.file}:{row.line}: the solution {row.name('id')!r}") from failure


def _done(
    out: Path, wanted: Sequence[tuple[str, tuple[str, Sequence[str]]]], made_by: Mapping[str, str]
) -> int:
    """How many rows `out` holds; a torn last line is cut off."""
    if not out.exists():
        return 0
    content = out.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        out.write_bytes(whole)
    if not whole:
        return 0
    count = 0
    for count, (row, (name, (question, steps))) in enumerate(zip(read_rows(out), wanted, strict=False), 1):
        if (row.name("id"), row.text("prompt"), row.texts("completions")) != (name, question, tuple(steps)):
            raise UsageError(f"{out}:{row.line} is not row {count} of the data; name another file with --out")
        if "scores" not in row.content:
            raise UsageError(f"{out}:{row.line} has no scores; name another file with --out")
        _check_made_by(f"{out}:{row.line}", row.content, made_by)
    if whole.count(b"\n") > len(wanted):
        raise UsageError(f"{out} holds more rows than the data; name another file with --out")
    return count


def _check_made_by(where: str, there: Mapping[str, Any], here: Mapping[str, str]) -> None:
    """Raise for a row that something else scored; by the hash where both have one, else by the name."""
    key = "by_hash" if "by_hash" in there and "by_hash" in here else "by"
    old, new = there.get(key), here.get(key)
    if old is None or new is None or old == new:
        return
    named, by = there.get("by"), here.get("by")
    other = f"{named} with other weights" if named == by else f"{named}, not {by}"
    raise UsageError(f"{where} was scored by {other}; name another file with --out")


def _steps(row: Row, scorer: StepScorer) -> tuple[str, ...]:
    """The steps of a row; a solution given as one text is cut, and then cannot have labels by step."""
    if not isinstance(row.get("completions"), str):
        return row.texts("completions")
    for key in _CARRIED:
        if row.content.get(key) is not None:
            row.fail(
                f"'completions' is one text, which is cut here, so {key!r} by step fit nothing; give steps"
            )
    return tuple(split_solution(scorer, row.text("completions")))


def _line(row: Row, steps: Sequence[str], scores: StepScores, made_by: Mapping[str, str]) -> dict[str, Any]:
    made = {"id": row.name("id"), "prompt": row.text("prompt"), "completions": list(steps)}
    made |= {key: row.content[key] for key in _CARRIED if key in row.content}
    numbers = {how.value: aggregate(scores.scores, how) for how in applicable([scores.scores])}
    return made | {
        "scores": list(scores.scores),
        "aggregates": {name: value for name, value in numbers.items() if math.isfinite(value)},
        "tokens": scores.tokens,
        **made_by,
    }


def _append(out: Path, lines: Sequence[dict[str, Any]]) -> None:
    try:
        with out.open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(line) + "\n" for line in lines))
    except OSError as error:
        raise UsageError(f"cannot write {out}: {error.strerror}; name another file with --out") from error
