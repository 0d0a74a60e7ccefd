"""Records of benchmark and score files: JSON lines, or one JSON array, each record with its line.

Contract: `read_rows` yields (line, record) for every record of a file, `line` counting from 1 where the
record begins. A file that cannot be opened, a line that is not JSON and a record that is not an object raise
`DataError` with file and line. The `Row` accessors check one field each and raise alike, so that a reader
that is built of them names the place of whatever is wrong. Blank lines are allowed.

It reads UTF-8, with or without a byte-order mark. It keeps no index and skips nothing silently.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import jsonlines

from tasks.errors import DataError
from tasks.readers import check_text


@dataclass(frozen=True, slots=True)
class Row:
    """A record of a file and where it is."""

    file: Path
    line: int
    content: Mapping[str, Any]

    def fail(self, reason: str) -> NoReturn:
        """Raise `DataError` for this record."""
        raise DataError(f"{self.file}:{self.line}: {reason}")

    def get(self, key: str) -> Any:
        """A field that must be there."""
        if key not in self.content:
            self.fail(f"no key {key!r}; the record has {', '.join(sorted(self.content)) or 'none'}")
        return self.content[key]

    def text(self, key: str, *, empty: bool = False) -> str:
        """A field that is text, and not blank unless `empty`."""
        value = self.get(key)
        if not isinstance(value, str) or not (empty or value.strip()):
            self.fail(f"{key!r} must be {'' if empty else 'non-empty '}text, got {_shown(value)}")
        return value

    def name(self, key: str) -> str:
        """An identifier: text, or a whole number as text."""
        value = self.get(key)
        if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
            self.fail(f"{key!r} must be text or a whole number, got {_shown(value)}")
        return str(value)

    def integer(self, key: str, low: int, high: int | None = None) -> int:
        """A whole number in [low, high]."""
        value = self.get(key)
        if type(value) is not int or value < low or (high is not None and value > high):
            limits = f"at least {low}" if high is None else f"from {low} to {high}"
            self.fail(f"{key!r} must be a whole number {limits}, got {_shown(value)}")
        return value

    def flag(self, key: str) -> bool:
        """True or false."""
        value = self.get(key)
        if not isinstance(value, bool):
            self.fail(f"{key!r} must be true or false, got {_shown(value)}")
        return value

    def items(self, key: str, *, empty: bool = False) -> list[Any]:
        """A list, not empty unless `empty`."""
        value = self.get(key)
        if not isinstance(value, list) or not (empty or value):
            self.fail(f"{key!r} must be a {'' if empty else 'non-empty '}list, got {_shown(value)}")
        return value

    def texts(self, key: str, *, empty: bool = False) -> tuple[str, ...]:
        """A list of texts."""
        values = self.items(key, empty=empty)
        for value in values:
            if not isinstance(value, str):
                self.fail(f"{key!r} must be a list of texts, got {_shown(value)} in it")
        return tuple(values)

    def scores(self, key: str) -> tuple[float, ...]:
        """A non-empty list of finite numbers."""
        return self.numbers(self.items(key), key)

    def numbers(self, values: Any, what: str) -> tuple[float, ...]:
        """`values`, a part of this record, as a non-empty list of finite numbers."""
        if not isinstance(values, list) or not values:
            self.fail(f"{what!r} must be a non-empty list of numbers, got {_shown(values)}")
        for value in values:
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                self.fail(f"{what!r} must hold finite numbers, got {_shown(value)} in it")
        return tuple(float(value) for value in values)

    def part(self, value: Any, what: str) -> Row:
        """An object inside this record, as a row of the same line."""
        if not isinstance(value, dict):
            self.fail(f"{what!r} must be an object, got {_shown(value)}")
        return Row(self.file, self.line, value)


def read_rows(path: Path) -> Iterator[Row]:
    """The records of `path`, a JSON-lines file or one JSON array; see the module docstring."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 ({error.reason} at byte {error.start})") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}; check the path") from error
    if not text.strip():
        raise DataError(f"{path}: the file is empty")
    found = _array(path, text) if text.lstrip().startswith("[") else _lines(path, text)
    for line, content, written in found:
        if not isinstance(content, dict):
            raise DataError(f"{path}:{line}: expected a JSON object, found {_shown(content)}")
        try:
            check_text(content, written)
        except ValueError as error:
            raise DataError(f"{path}:{line}: {error}") from error
        yield Row(path, line, content)


def _lines(path: Path, text: str) -> Iterator[tuple[int, Any, str]]:
    """Every object with its line and as it is written."""
    number, line = 0, ""

    def numbered() -> Iterator[str]:
        nonlocal number, line
        for line in text.split("\n"):
            number += 1
            if line.strip():
                yield line

    with jsonlines.Reader(numbered()) as reader:
        while True:
            try:
                value = reader.read(allow_none=True)
            except EOFError:
                return
            except (jsonlines.InvalidLineError, ValueError, RecursionError) as error:
                reason = getattr(error, "__cause__", None) or error
                raise DataError(f"{path}:{number}: not JSON ({reason})") from error
            yield number, value, line


def _array(path: Path, text: str) -> Iterator[tuple[int, Any, str]]:
    """As `_lines`, of a JSON array."""
    decoder = json.JSONDecoder()
    position, line, counted = text.index("[") + 1, 1, 0
    while True:
        position = _after_space(text, position)
        if text[position : position + 1] == "]":
            return
        line, counted = line + text.count("\n", counted, position), position
        begin = position
        try:
            value, position = decoder.raw_decode(text, begin)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}:{error.lineno}: not JSON ({error.msg})") from error
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}:{line}: not usable JSON ({error})") from error
        yield line, value, text[begin:position]
        position = _after_space(text, position)
        if text[position : position + 1] == ",":
            position += 1
        elif text[position : position + 1] != "]":
            place = text.count("\n", 0, position) + 1
            raise DataError(f"{path}:{place}: not JSON (expected a comma or the end of the list)")


def _after_space(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t\r\n":
        position += 1
    return position


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{type(value).__name__} {shown[:50]}..."
