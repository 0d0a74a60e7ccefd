"""Dataclasses as JSON objects and back, every field checked by its annotation.

Contract: `to_object` gives a dict of plain data, tuples as lists, fields at their defaults left out unless
`full`. `from_object` gives the dataclass back, equal, or `DataError` with file and line for a key that is not
a field (naming the nearest), one that is missing, or a value of another type. Numbers must be finite, true is
no number. Dataclasses with other annotations than `KINDS` are refused with a `KeyError`: that is a bug.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from prm.evaluation.rows import Row
from tasks.errors import DataError, UsageError, unknown_name

R = TypeVar("R")


def to_object(record: Any, *, full: bool = False) -> dict[str, Any]:
    """A dataclass as JSON data."""
    found: dict[str, Any] = {}
    for entry in fields(record):
        value = getattr(record, entry.name)
        if full or entry.default is MISSING or value != entry.default:
            found[entry.name] = list(value) if isinstance(value, tuple) else value
    return found


def from_object(row: Row, cls: type[R], what: str) -> R:
    """The dataclass `cls` of a JSON object; `what` names the kind of record in messages."""
    entries = {entry.name: entry for entry in fields(cls)}  # type: ignore[arg-type]
    for key in row.content:
        if key not in entries:
            row.fail(str(unknown_name(f"key of {what}", key, entries)))
    values = {
        key: checked(row, f"{what}.{key}", row.get(key), str(entry.type))
        for key, entry in entries.items()
        if key in row.content or entry.default is MISSING
    }
    try:
        return cls(**values)
    except UsageError as error:
        raise DataError(f"{row.file}:{row.line}: {error}") from error


def checked(row: Row, name: str, value: Any, kind: str) -> Any:
    """`value` if it is of the annotation `kind`, lists as tuples; `DataError` naming the field else."""
    check, wanted = KINDS[kind]
    if kind.startswith("tuple"):
        if not isinstance(value, list) or not all(map(check, value)):
            row.fail(f"{name!r} must be a list of {wanted}, got {str(value)[:60]}")
        return tuple(value)
    if not check(value):
        row.fail(f"{name!r} must be {wanted}, got {value!r}")
    return float(value) if kind.startswith("float") and value is not None else value


def _whole(value: Any) -> bool:
    return type(value) is int


def _number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


KINDS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "int": (_whole, "a whole number"),
    "float": (_number, "a finite number"),
    "float | None": (lambda value: value is None or _number(value), "a finite number or null"),
    "bool | None": (lambda value: value is None or isinstance(value, bool), "true, false or null"),
    "str": (lambda value: isinstance(value, str), "text"),
    "tuple[int, ...]": (_whole, "whole numbers"),
    "tuple[float, ...]": (_number, "finite numbers"),
}
"""Annotations that can be read, what they take and how a message calls it."""
