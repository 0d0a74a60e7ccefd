"""Nested configurations: mappings as frozen dataclasses, overlays of YAML files, and dotted assignments.

Contract: `read` builds a dataclass from a mapping, part by part; an unknown key is an error that names the
nearest valid one with the path to it, and a value of the wrong kind says what would fit. Fields may be
numbers, texts, literals, other such dataclasses (perhaps None), mappings (kept as they are), tuples of plain
values, and tuples of dataclasses with a field `name` (written as a mapping from name to part).

`overlay` lays one mapping over another, key by key. `assign` sets one value by a dotted path; below a key
`settings` the rest of the path is one key, as in ``search.settings.policy.temperature=0.7``.

It knows nothing of self-training.
"""

from __future__ import annotations

import types
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import yaml

from tasks.errors import UsageError, unknown_name
from treesearch.settings import coerce

T = TypeVar("T")
Instead = Mapping[str, Collection[str]]
_OF_NONE: Instead = {}
_WHOLE = "settings"
_NONE = ("none", "null", "")


def read(cls: type[T], given: Mapping[str, Any], what: str) -> T:
    """An instance of the frozen dataclass `cls` from `given`; `what` names it in errors."""
    hints = get_type_hints(cls)
    valid = [entry.name for entry in fields(cls)]  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for raw_key, raw in given.items():
        key = str(raw_key).replace("-", "_")
        if key not in valid:
            raise unknown_name(f"key of {what}", key, valid)
        values[key] = _value(raw, hints[key], f"{what}.{key}")
    try:
        return cls(**values)
    except TypeError as error:
        raise UsageError(f"{what} is not complete: {error}") from error


def _value(raw: Any, hint: Any, name: str) -> Any:
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType) and any(_is_part(arg) for arg in args):
        if _is_none(raw):
            return None
        return _value(raw, next(arg for arg in args if _is_part(arg)), name)
    if _is_part(hint):
        return read(hint, _mapping(raw, name), name)
    if origin is tuple:
        return _tuple(raw, args[0], name)
    if origin is Mapping:
        return dict(_mapping(raw, name))
    return coerce(raw, hint, name)


def _tuple(raw: Any, hint: Any, name: str) -> tuple[Any, ...]:
    if _is_part(hint):
        parts = _mapping(raw, name)
        return tuple(
            read(hint, {"name": str(key), **_mapping(part, f"{name}.{key}")}, f"{name}.{key}")
            for key, part in parts.items()
        )
    listed = raw.split(",") if isinstance(raw, str) else raw
    if not isinstance(listed, Sequence):
        listed = [] if listed is None else [listed]
    return tuple(coerce(_trimmed(each), hint, name) for each in cast("Sequence[Any]", listed) if each != "")


def _trimmed(raw: Any) -> Any:
    return raw.strip() if isinstance(raw, str) else raw


def _is_part(hint: Any) -> bool:
    return isinstance(hint, type) and is_dataclass(hint)


def _mapping(raw: Any, name: str) -> Mapping[str, Any]:
    if raw is None:
        return {}
    if not isinstance(raw, Mapping):
        raise UsageError(f"{name} must hold keys and values, got {raw!r}")
    return {str(key): value for key, value in cast("Mapping[Any, Any]", raw).items()}


def overlay(
    below: Mapping[str, Any], above: Mapping[str, Any], *, instead: Instead = _OF_NONE
) -> dict[str, Any]:
    """`above` laid over `below`: mappings are merged key by key, anything else is replaced.

    `instead` names the keys whose place another key of the same mapping takes.
    """
    merged = _without_others(below, above, instead)
    for key, value in above.items():
        old = merged.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            lower, upper = cast("Mapping[str, Any]", old), cast("Mapping[str, Any]", value)
            merged[key] = overlay(lower, upper, instead=instead)
        else:
            merged[key] = value
    return merged


def _without_others(below: Mapping[str, Any], above: Mapping[str, Any], instead: Instead) -> dict[str, Any]:
    given = [key for key, value in above.items() if not _is_none(value)]
    others = {other for key in given for other in instead.get(key, ())}.difference(above)
    return {key: value for key, value in below.items() if key not in others}


def _is_none(raw: Any) -> bool:
    return raw is None or (isinstance(raw, str) and raw.lower() in _NONE)


def assign(given: Mapping[str, Any], key: str, text: str, *, instead: Instead = _OF_NONE) -> dict[str, Any]:
    """`given` with the value of `text` (read as YAML) at the dotted path `key`; `instead` as in `overlay`."""
    head, dot, rest = key.partition(".")
    if not head or (dot and not rest):
        raise UsageError(f"--set takes a dotted name such as search.budget_tokens=500, got {key!r}")
    if not dot:
        above = {head: _scalar(text, key)}
        return _without_others(given, above, instead) | above
    below = given.get(head)
    inner: Mapping[str, Any] = cast("Mapping[str, Any]", below) if isinstance(below, Mapping) else {}
    if head == _WHOLE:
        return {**given, head: {**inner, rest: _scalar(text, key)}}
    return {**given, head: assign(inner, rest, text, instead=instead)}


def _scalar(text: str, key: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"--set {key}: {text!r} is not a YAML value") from error
