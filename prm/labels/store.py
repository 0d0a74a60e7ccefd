"""Step records on disk: JSON lines, appended as they come, read with the line of whatever is broken.

Contract: `RecordFile` adds records to a file and knows which keys and problems it holds, so that labelling
goes on where it was stopped; records reach the disk (fsync) at most `COMMIT_SECONDS` later, in order. A torn
last line (a kill in the middle of a write) is cut off when the file is opened for appending; any other
damage is `DataError` with file and line. One writer at a time, held by a lock (`UsageError`).

`read_records` reads a finished or unfinished file; `write_records` replaces one at once. Records of equal
`key` may occur twice (two runs' files joined): `merged` adds their counts.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from prm.evaluation.rows import read_rows
from prm.labels.record import StepRecord, from_row
from tasks.errors import UsageError
from treesearch.atomic import write_text

COMMIT_SECONDS = 1.0


def read_records(path: Path) -> list[StepRecord]:
    """All records of a file, in order; `DataError` with file and line for a line that is none."""
    return [from_row(row) for row in read_rows(path)]


def write_records(path: Path, records: Iterable[StepRecord]) -> None:
    """Replace `path` by `records`."""
    write_text(path, "".join(_line(record.to_json()) for record in records))


def merged(records: Sequence[StepRecord]) -> list[StepRecord]:
    """One record for each key, in the order of first occurrence: counts and visits added.

    The smallest `shortest` stays. The `value` is the mean of the values, weighted by visits (equally without
    any), which for a mean backup is the mean of all returns.
    """
    found: dict[object, StepRecord] = {}
    for record in records:
        old = found.get(record.key)
        if old is None:
            found[record.key] = record
            continue
        lengths = [each.shortest for each in (old, record) if each.shortest is not None]
        found[record.key] = replace(
            old,
            completions=old.completions + record.completions,
            right=old.right + record.right,
            shortest=min(lengths, default=None),
            value=_mean_value(old, record),
            visits=old.visits + record.visits,
        )
    return list(found.values())


def _mean_value(first: StepRecord, second: StepRecord) -> float | None:
    if first.value is None or second.value is None:
        return second.value if first.value is None else first.value
    visits = first.visits + second.visits
    weight = first.visits / visits if visits else 0.5
    return weight * first.value + (1 - weight) * second.value


class RecordFile:
    """An open file of records, with this process as its only writer."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file = path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise UsageError(f"another process is writing to {path}; wait for it or stop it") from error
        try:
            self._cut_torn_line()
            self.records = read_records(path) if path.stat().st_size else []
        except BaseException:
            self._file.close()
            raise
        self.keys = {record.key for record in self.records}
        self._waiting: list[str] = []
        self._next_commit = time.monotonic() + COMMIT_SECONDS

    def append(self, record: StepRecord) -> None:
        """Add a record; it reaches the disk within `COMMIT_SECONDS`, or with `flush`."""
        self.records.append(record)
        self.keys.add(record.key)
        self._waiting.append(_line(record.to_json()))
        if time.monotonic() >= self._next_commit:
            self.flush()

    def flush(self) -> None:
        """Write what is gathered and wait until the disk has it."""
        self._next_commit = time.monotonic() + COMMIT_SECONDS
        if self._waiting:
            data, self._waiting = "".join(self._waiting).encode(), []
            self._file.write(data)
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Flush and let go of the file."""
        if not self._file.closed:
            self.flush()
            self._file.close()

    def _cut_torn_line(self) -> None:
        data = self.path.read_bytes()
        if data and not data.endswith(b"\n"):
            self._file.truncate(data.rfind(b"\n") + 1)


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"
