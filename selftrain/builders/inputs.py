"""What builders take besides settings, from files: demonstrations, rewards, uncertainties, critiques.

Contract: `read_input` gives what the builder's field of that name takes. Files are JSON lines, a row each:

- `demonstrations`: ``{"problem": "p1", "text": "..."}``, one a problem;
- `previous_rewards`: ``{"problem": "p1", "text": "a solution", "reward": -3.5}``;
- `uncertainty`: ``{"problem": "p1", "chosen": "...", "rejected": "...", "uncertainty": 0.2}``;
- `critic`: ``{"problem": "p1", "text": "a solution", "critique": "..."}``, null where nothing is wrong.

Texts are whole solutions, as the policy wrote them. A row that does not fit is `DataError` with file and
line, and so is a solution that is asked for and has no row (of `uncertainty` and `critic`). Inputs that are
searched trees are read from runs (`selftrain.builders.session`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prm.evaluation.rows import Row
from selftrain.data.files import read_lines
from selftrain.data.searched import Searched
from tasks.errors import DataError, unknown_name

_SHOWN = 40


def read_input(name: str, path: Path) -> Any:
    """The input of a name from a file; `UsageError` for a name that is none, see the module for others."""
    if name not in READERS:
        raise unknown_name("input that a file holds", name, READERS)
    return READERS[name](path)


def _demonstrations(path: Path) -> dict[str, str]:
    return {key[0]: row.text("text") for key, row in _keyed(path, "problem")}


def _rewards(path: Path) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for (problem, text), row in _keyed(path, "problem", "text"):
        found.setdefault(problem, {})[text] = _number(row, "reward")
    return found


def _uncertainty(path: Path) -> Callable[[str, str, str], float]:
    known = {key: _number(row, "uncertainty") for key, row in _keyed(path, "problem", "chosen", "rejected")}

    def uncertainty(problem: str, chosen: str, rejected: str) -> float:
        key = (problem, chosen, rejected)
        if key not in known:
            raise _missing(path, problem, f"no uncertainty of {chosen[:_SHOWN]!r} over {rejected[:_SHOWN]!r}")
        return known[key]

    return uncertainty


def _critic(path: Path) -> Callable[[Searched, Sequence[int]], str | None]:
    known = {
        key: None if row.get("critique") is None else row.text("critique")
        for key, row in _keyed(path, "problem", "text")
    }

    def critic(searched: Searched, nodes: Sequence[int]) -> str | None:
        text = "".join(searched.texts[node] for node in nodes)
        key = (searched.problem.id, text)
        if key not in known:
            raise _missing(path, searched.problem.id, f"no critique of {text[:_SHOWN]!r}")
        return known[key]

    return critic


def _keyed(path: Path, *names: str) -> Iterator[tuple[tuple[str, ...], Row]]:
    """Rows with their keys: the problem's id, then texts; a key that is there twice is an error."""
    seen: set[tuple[str, ...]] = set()
    for row in read_lines(path):
        key = (row.name(names[0]), *(row.text(name, empty=True) for name in names[1:]))
        if key in seen:
            row.fail(f"a second row of problem {key[0]!r} with the same {' and '.join(names)}")
        seen.add(key)
        yield key, row


def _number(row: Row, name: str) -> float:
    return row.numbers([row.get(name)], name)[0]


def _missing(path: Path, problem: str, what: str) -> DataError:
    return DataError(f"{path}: {what} of problem {problem!r}; add a row")


READERS: Mapping[str, Callable[[Path], Any]] = {
    "demonstrations": _demonstrations,
    "previous_rewards": _rewards,
    "uncertainty": _uncertainty,
    "critic": _critic,
}
"""Inputs that files hold, and how they are read."""
