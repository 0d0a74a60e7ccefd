"""The members of an ensemble, and other settings of parts, from one line of text.

    logprob;prm:prm=models/a,aggregate=min;prm:prm=models/b

Contract: `parse_parts` gives each part's name and settings; a backslash makes the next character part of the
text around it, so that a value may hold ``;``, ``,``, ``:`` or ``=`` (only the first ``:`` of a part and the
first ``=`` of a setting part anything). `open_members` builds the values by their names; unknown names and
settings name the nearest valid one. Pure functions; nothing is loaded.
"""

from __future__ import annotations

from functools import lru_cache

from tasks.errors import UsageError
from treesearch.registry import find
from treesearch.settings import build
from treesearch.values.base import Value


@lru_cache(maxsize=64)
def open_members(text: str) -> tuple[Value, ...]:
    """The values that `text` names, in order, not loaded; `UsageError` for none, or for a wrong one."""
    parts = parse_parts(text)
    if not parts:
        raise UsageError(
            f"value.members must name values, such as 'prm:prm=FOLDER_A;prm:prm=FOLDER_B', got {text!r}"
        )
    return tuple(
        build(find("value", name), settings, what=f"value {name} (a member)") for name, settings in parts
    )


def parse_parts(text: str) -> list[tuple[str, dict[str, str]]]:
    """Name and settings of every part of ``NAME:KEY=VALUE,KEY=VALUE;NAME``; empty parts are left out."""
    parts: list[tuple[str, dict[str, str]]] = []
    for part in _cut(text, ";"):
        name, _, rest = _once(part, ":")
        if name.strip() or rest.strip():
            parts.append((_plain(name).strip(), parse_settings(rest)))
    return parts


def parse_settings(text: str) -> dict[str, str]:
    """``KEY=VALUE,KEY=VALUE`` as a mapping; `UsageError` for a setting without ``=``."""
    settings: dict[str, str] = {}
    for item in _cut(text, ","):
        if not item.strip():
            continue
        key, equals, value = _once(item, "=")
        if not equals or not key.strip():
            raise UsageError(f"a setting of a part is KEY=VALUE, got {item!r} in {text!r}")
        settings[_plain(key).strip()] = _plain(value).strip()
    return settings


def _cut(text: str, separator: str) -> list[str]:
    """`text` at every separator without a backslash in front; escapes are kept."""
    pieces, start, at = list[str](), 0, 0
    while at < len(text):
        if text[at] == "\\":
            at += 2
            continue
        if text[at] == separator:
            pieces.append(text[start:at])
            start = at + 1
        at += 1
    return [*pieces, text[start:]]


def _once(text: str, separator: str) -> tuple[str, str, str]:
    """`str.partition` at the first separator without a backslash in front."""
    head, *rest = _cut(text, separator)
    return head, separator if rest else "", separator.join(rest)


def _plain(text: str) -> str:
    """`text` without its escapes; a backslash before any other character stays."""
    plain, at = list[str](), 0
    while at < len(text):
        if text[at] == "\\" and at + 1 < len(text) and text[at + 1] in ";,:=\\":
            at += 1
        plain.append(text[at])
        at += 1
    return "".join(plain)
