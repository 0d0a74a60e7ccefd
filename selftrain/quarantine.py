"""Quarantine: problems that are searched again and again and never solved are set aside, not deleted.

Contract: pure functions over a state, one `Record` a problem that was ever searched. `observe` adds what an
iteration searched; `set_aside` names the problems that the next one leaves out; `report` says why. A problem
is in quarantine once `after` iterations searched it and none of its solutions was right. It comes back for a
try when `retry_every` iterations have passed since it was searched last, and for good once it is solved.

The state is saved as JSON by atomic replace (`write_state`); it is also a plain fold over what iterations
solved, so that it can be computed anew at any time.

Such problems often have a wrong gold: 19 of 20 looked at by rStar-Math (arXiv 2501.04519).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tasks.errors import DataError, UsageError
from treesearch.atomic import write_json

_FORMAT = "quarantine/1"


@dataclass(frozen=True, kw_only=True)
class Quarantine:
    """When a problem is set aside, and when it is tried again.

    `after` iterations without a right solution, at least 1. `retry_every`: iterations from one try to the
    next; 0 never tries again.
    """

    after: int = 3
    retry_every: int = 4

    def __post_init__(self) -> None:
        if self.after < 1:
            raise UsageError(f"after must be at least 1, got {self.after}")
        if self.retry_every < 0:
            raise UsageError(f"retry_every must be at least 0 (never), got {self.retry_every}")


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is known of a problem.

    `failed`: iterations that searched it in vain before it was first solved; `solved`: the iteration that
    solved it first, None if none did; `last`: the iteration that searched it last.
    """

    failed: int
    solved: int | None
    last: int


State = Mapping[str, Record]
"""Records by problem id."""


def observe(state: State, iteration: int, solved: Mapping[str, bool]) -> dict[str, Record]:
    """The state after `iteration` searched the problems of `solved` and found a right solution, or not.

    Iterations come in order: `UsageError` for a problem that the same or a later one has searched.
    """
    found = dict(state)
    for problem, right in solved.items():
        before = found.get(problem)
        if before is not None and before.last >= iteration:
            raise UsageError(
                f"problem {problem!r} was searched in iteration {before.last}; observe iterations in order, "
                f"each once, got {iteration}"
            )
        failed, first = (before.failed, before.solved) if before is not None else (0, None)
        if first is None:
            failed, first = (failed, iteration) if right else (failed + 1, None)
        found[problem] = Record(failed=failed, solved=first, last=iteration)
    return found


def in_quarantine(state: State, settings: Quarantine) -> frozenset[str]:
    """Problems that were searched `after` times or more and never solved."""
    return frozenset(
        problem for problem, known in state.items() if known.solved is None and known.failed >= settings.after
    )


def set_aside(state: State, iteration: int, settings: Quarantine) -> frozenset[str]:
    """Problems that `iteration` leaves out: those in quarantine but for the ones whose turn it is."""
    return in_quarantine(state, settings) - due(state, iteration, settings)


def due(state: State, iteration: int, settings: Quarantine) -> frozenset[str]:
    """Problems in quarantine that `iteration` tries again."""
    if not settings.retry_every:
        return frozenset()
    return frozenset(
        problem
        for problem in in_quarantine(state, settings)
        if iteration - state[problem].last >= settings.retry_every
    )


def report(state: State, iteration: int, settings: Quarantine) -> dict[str, Any]:
    """What the quarantine does in `iteration`, as JSON data: counts, and problem ids in order.

    `set_aside` are left out, `tried_again` are in quarantine and searched, `came_back` were in it before
    they were solved.
    """
    back = [
        one for one, known in state.items() if known.solved is not None and known.failed >= settings.after
    ]
    names = {
        "set_aside": sorted(set_aside(state, iteration, settings)),
        "tried_again": sorted(due(state, iteration, settings)),
        "came_back": sorted(back),
    }
    counts = {
        "searched": len(state),
        "solved": sum(known.solved is not None for known in state.values()),
        **{name: len(problems) for name, problems in names.items()},
    }
    return {"iteration": iteration, "settings": asdict(settings), "counts": counts, **names}


def write_state(path: Path, state: State) -> None:
    """Write a state as JSON by atomic replace, problems in the order of their ids."""
    rows = {problem: asdict(state[problem]) for problem in sorted(state)}
    write_json(path, {"format": _FORMAT, "problems": rows})


def read_state(path: Path) -> dict[str, Record]:
    """Read what `write_state` wrote; `DataError` for a file that is missing or holds something else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != _FORMAT:
            raise DataError(
                f"{path}: format {content['format']!r}, not {_FORMAT!r}; written by another version"
            )
        return {str(problem): _record(row) for problem, row in content["problems"].items()}
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}; check the path") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: not a state of the quarantine ({error!r})") from error


def _record(row: Mapping[str, Any]) -> Record:
    found = Record(**row)
    for name, value in row.items():
        if not (type(value) is int or (name == "solved" and value is None)):
            raise ValueError(f"{name} must be a whole number, got {value!r}")
    return found
