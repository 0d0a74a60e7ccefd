"""Monitors of an iteration by name: what is watched besides accuracy, as plain figures.

Contract: a monitor is a function of `Seen`, everything that an iteration has in memory or on disk for it, and
gives numbers and plain data for JSON. `MONITORS` names them; nothing is imported before it is asked for. They
decide nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from selftrain.data.searched import Searched
from tasks.errors import unknown_name


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What monitors look at: graded trees of this iteration and of the one before (empty in the first)."""

    searched: Sequence[Searched]
    before: Sequence[Searched]


Monitor = Callable[[Seen], Mapping[str, Any]]
MONITORS: Mapping[str, Monitor] = {}


def check_monitors(names: Sequence[str]) -> None:
    """Raise `UsageError` for a name that is none, naming the nearest."""
    for name in names:
        if name not in MONITORS:
            raise unknown_name("monitor", name, MONITORS)


def observe(names: Sequence[str], seen: Seen) -> dict[str, Any]:
    """The figures of all named monitors."""
    return {name: dict(MONITORS[name](seen)) for name in names}
