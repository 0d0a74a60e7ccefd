"""Settings of frozen dataclasses from text: what `--set key=value` and YAML keys become.

The dataclass is the one place where a setting's name, type and default are written. An unknown key is an
error that names the nearest valid one; a value that does not fit its field's type says what would.
"""

from __future__ import annotations

import enum
import types
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from tasks.errors import UsageError, unknown_name

T = TypeVar("T")


def build(cls: type[T], given: Mapping[str, Any], *, what: str) -> T:
    """An instance of the frozen dataclass `cls` with the settings `given` (text or YAML values)."""
    hints = get_type_hints(cls)
    valid = [entry.name for entry in fields(cls) if entry.init]  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for key, raw in given.items():
        if key not in valid:
            raise unknown_name(f"setting of {what}", key, valid)
        values[key] = coerce(raw, hints[key], f"{what}.{key}")
    return cls(**values)


def read_yaml(path: Path, *, may_be_empty: bool = False) -> dict[str, Any]:
    """The mapping that a YAML file of settings holds; `UsageError` where there is none."""
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"config file {str(path)!r} cannot be read: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not YAML ({' '.join(str(error).split())})") from error
    if content is None and may_be_empty:
        return {}
    if not isinstance(content, dict):
        raise UsageError(f"{path}: must hold keys and values, such as 'limit: 100'")
    return {str(key): value for key, value in cast("dict[Any, Any]", content).items()}


def read_settings(given: Any) -> dict[str, Any]:
    """The key `settings` of a file or a call as a mapping, empty for None; `UsageError` for anything else."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise UsageError(f"settings must be keys and values, such as 'policy.top_p: 0.9'; got {given!r}")
    return {str(key): value for key, value in cast("Mapping[Any, Any]", given).items()}


def coerce(raw: Any, hint: Any, name: str) -> Any:
    """`raw` as the type `hint`; `UsageError` naming the setting, the value and what would fit."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if raw is None or (isinstance(raw, str) and raw.lower() in ("none", "null")):
            if type(None) in args:
                return None
        else:
            return coerce(raw, next(arg for arg in args if arg is not type(None)), name)
    elif origin is Literal:
        if raw in args:
            return raw
        raise unknown_name(f"value of {name}", str(raw), map(str, args))
    elif isinstance(hint, type) and issubclass(hint, enum.Enum):
        if raw in [member.value for member in hint]:
            return hint(raw)
        raise unknown_name(f"value of {name}", str(raw), [str(member.value) for member in hint])
    elif hint is bool:
        if isinstance(raw, bool):
            return raw
        if str(raw).lower() in ("true", "false"):
            return str(raw).lower() == "true"
    elif hint in (int, float, str):
        return _number(raw, hint, name) if hint is not str else str(raw)
    raise UsageError(f"{name} must be {_readable(hint)}, got {raw!r}")


def _number(raw: Any, hint: type, name: str) -> Any:
    try:
        if isinstance(raw, bool):
            raise ValueError
        if hint is int and isinstance(raw, float) and not raw.is_integer():
            raise ValueError
        return hint(str(raw).replace("_", "")) if isinstance(raw, str) else hint(raw)
    except (ValueError, TypeError, OverflowError):
        raise UsageError(f"{name} must be {_readable(hint)}, got {raw!r}") from None


def _readable(hint: Any) -> str:
    if hint is bool:
        return "true or false"
    if hint is int:
        return "a whole number"
    if hint is float:
        return "a number"
    return getattr(hint, "__name__", str(hint))


def parse_assignments(items: list[str]) -> dict[str, str]:
    """``["a=1", "policy.temperature=0.7"]`` as a mapping; `UsageError` for an item without ``=``."""
    parsed: dict[str, str] = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"--set takes key=value, got {item!r}")
        parsed[key.strip()] = value.strip()
    return parsed


def split_settings(given: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Sort dotted keys by the part that they belong to: `algorithm` (no dot), `policy`, `value`, `engine`."""
    parts: dict[str, dict[str, Any]] = {"algorithm": {}, "policy": {}, "value": {}, "engine": {}}
    for key, value in given.items():
        head, dot, rest = key.partition(".")
        if not dot:
            parts["algorithm"][key] = value
        elif head in parts:
            parts[head][rest] = value
        else:
            raise unknown_name("part of a setting", head, parts)
    return parts
