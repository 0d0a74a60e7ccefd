"""The journal of a run: append-only JSONL of records, checksummed, the truth from which trees are folded.

One line a record: ``{"crc": ..., "seq": ..., "problem": ..., "events": [...]}``. `crc` is the CRC-32 of the
rest of the line. Writes are grouped: lines gather in memory and reach the file at most `COMMIT_SECONDS`
later, with one fsync; `flush` does it at once. At most that much work is lost to a power cut, and as much to
a kill; the search asks for it again.

A torn last line (a kill in the middle of a write) is dropped and cut off before the next append. Anything
else that does not check is `DataError` with file and line: a journal is never repaired by guessing.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.errors import DataError, UsageError
from treesearch.events import Event, Record, from_json, to_json

COMMIT_SECONDS = 1.0
_HEAD = 18  # len('{"crc": "89abcdef"')
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


class Journal:
    """Appends records to one file; one writer at a time, held by a lock on the file.

    Raises `UsageError` if another process writes to the same run, `DataError` if the file does not check.
    """

    def __init__(self, path: Path, *, clock: Any = time.monotonic) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise UsageError(
                f"another process is writing to {path.parent.parent}; wait for it or stop it"
            ) from error
        self._clock = clock
        self._lines: list[str] = []
        self._next_commit = clock() + COMMIT_SECONDS
        try:
            self.seq, valid = _check(path)
        except BaseException:
            self._file.close()
            raise
        self._file.truncate(valid)

    def append(self, problem: str, record: Record) -> None:
        """Add a record of `problem`; it reaches the file with the next commit."""
        row = {"seq": self.seq, "problem": problem, "events": [to_json(event) for event in record]}
        body = f",{_encode(row)[1:]}\n"
        self._lines.append(f'{{"crc": "{zlib.crc32(body.encode()):08x}"{body}')
        self.seq += 1
        if self._clock() >= self._next_commit:
            self.flush()

    def flush(self) -> None:
        """Write what is gathered and wait until the disk has it."""
        self._next_commit = self._clock() + COMMIT_SECONDS
        if not self._lines:
            return
        data, self._lines = "".join(self._lines).encode(), []
        self._file.write(data)
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Flush and let go of the file."""
        if not self._file.closed:
            self.flush()
            self._file.close()


def read_journal(path: Path) -> Iterator[tuple[str, list[Event]]]:
    """Records in the order of writing, as (problem id, events); a torn last line is left out."""
    for row, _ in _rows(path):
        yield row["problem"], [from_json(event) for event in row["events"]]


def _check(path: Path) -> tuple[int, int]:
    """Next sequence number and length in bytes of the valid part."""
    seq, valid = 0, 0
    for row, end in _rows(path):
        seq, valid = row["seq"] + 1, end
    return seq, valid


def _rows(path: Path) -> Iterator[tuple[dict[str, Any], int]]:
    if not path.exists():
        return
    end, expected = 0, 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            end += len(line)
            if not line.endswith(b"\n"):
                return  # torn tail
            row = _parse(line)
            if row is None or row["seq"] != expected:
                if not file.read(1):
                    return  # a last line whose middle never reached the disk
                raise DataError(f"{path}:{number}: damaged journal line; restore the file or start a new run")
            expected += 1
            yield row, end


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        if int(line[9:17], 16) != zlib.crc32(line[_HEAD:]):
            return None
        row: dict[str, Any] = json.loads(line)
    except ValueError:
        return None
    return row
