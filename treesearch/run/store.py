"""A run directory: `run.json`, `journal/`, `results.jsonl`, `summary.json`.

`RunStore.create` starts a run or takes an existing one up again: the same directory with another
configuration, other problems or another model is refused, saying what differs. The journal is the truth;
`results.jsonl` holds one line for each finished problem and is written after the journal has that problem's
records. A line that a kill tore, and lines of problems that failed, are dropped when the run is taken up, so
that these problems are searched again.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tasks.base import Problem
from tasks.errors import DataError, UsageError
from treesearch.atomic import write_json, write_text
from treesearch.budget import Budget
from treesearch.events import Event
from treesearch.journal import Journal, read_journal
from treesearch.run.config import Resolved, RunConfig, differences, from_json
from treesearch.seeds import derive
from treesearch.tree import Tree

SCHEMA = 1
JOURNAL = Path("journal") / "0000.jsonl"
_BEFORE_HEADER = {"journal", "run.json.new"}
"""What a kill may leave behind of a run that had not begun."""
_PACKAGES = ("treesearch-toolkit", "torch", "transformers", "numpy", "math-verify", "sympy")


@dataclass(frozen=True, kw_only=True)
class Header:
    """What `run.json` holds: the configuration, what was searched with what, and the versions."""

    resolved: Resolved
    problems_hash: str
    n_problems: int
    model_hash: str
    versions: dict[str, str]
    value_hash: str | None = None
    """Of the value source's own weights, empty where it has none; None where it is not open yet."""

    def to_json(self) -> dict[str, Any]:
        """The content of `run.json`."""
        return {
            "schema": SCHEMA,
            "config": self.resolved.to_json(),
            "problems_hash": self.problems_hash,
            "n_problems": self.n_problems,
            "model_hash": self.model_hash,
            "value_hash": self.value_hash,
            "versions": self.versions,
        }


def make_header(
    resolved: Resolved, problems: Sequence[Problem], model_hash: str, value_hash: str | None = None
) -> Header:
    """The header of a new run; without `value_hash` it is good for comparing only."""
    content = json.dumps([asdict(problem) for problem in problems], sort_keys=True)
    versions = {"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES}
    return Header(
        resolved=resolved,
        problems_hash=hashlib.sha256(content.encode()).hexdigest(),
        n_problems=len(problems),
        model_hash=model_hash,
        versions={name: found for name, found in versions.items() if found},
        value_hash=value_hash,
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


class RunStore:
    """An open run directory, with this process as its only writer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = Journal(folder / JOURNAL)
        self._results = folder / "results.jsonl"

    @classmethod
    def create(cls, folder: Path, header: Header) -> RunStore:
        """Start a run in `folder`, or take up the one that is there."""
        path = folder / "run.json"
        if path.exists():
            refuse_other(folder, header)
            return cls(folder)
        if folder.exists() and not _unused(folder):
            raise UsageError(f"{folder} is not empty and holds no run; name another directory with --run")
        store = cls(folder)
        write_json(path, header.to_json())
        return store

    def finished(self) -> list[dict[str, Any]]:
        """Results so far; torn lines and failed problems are dropped from the file."""
        return self._keep([row for row in read_results(self.folder) if not row.get("error")])

    def reopen(self, *, stopped_by: Collection[str]) -> None:
        """Drop the results of problems that one of the limits `stopped_by` ended."""
        self._keep([row for row in read_results(self.folder) if row["stop_reason"] not in stopped_by])

    def _keep(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if self._results.exists():
            write_text(self._results, "".join(_line(row) for row in rows))
        return rows

    def append_result(self, row: dict[str, Any]) -> None:
        """Add the result of a problem, once the journal has everything that led to it."""
        self.journal.flush()
        with self._results.open("a", encoding="utf-8") as file:
            file.write(_line(row))
            file.flush()
            os.fsync(file.fileno())

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Replace `summary.json`."""
        write_json(self.folder / "summary.json", summary)

    def close(self) -> None:
        """Write what is left and let go of the directory."""
        self.journal.close()


def _unused(folder: Path) -> bool:
    """Whether a directory is empty, but for what a kill before `run.json` was written leaves."""
    entries = {entry.name for entry in folder.iterdir()}
    return entries <= _BEFORE_HEADER and not any(file.stat().st_size for file in folder.glob("journal/*"))


def refuse_other(folder: Path, header: Header, *, model: bool = True) -> None:
    """Raise `UsageError`, naming what differs, if `folder` holds another run than `header`'s.

    Without `model` the weights are not compared: for checking before they are loaded.
    """
    old = read_header(folder)
    found = differences(old.resolved.config, header.resolved.config)
    if old.problems_hash != header.problems_hash:
        found.append("the problems are not the same")
    if model and old.model_hash != header.model_hash:
        found.append("the model's weights are not the same")
    if model and header.value_hash is not None and (old.value_hash or "") != header.value_hash:
        found.append("the weights of the value source's model are not the same")
    if found:
        raise UsageError(f"{folder} holds another run: {'; '.join(found)}; name another directory with --run")


_OTHER_RUNS = {
    "selftrain": (
        "a self-training run: its searches are in iterations/*/search/TASK below it, and "
        "`search selftrain resume` goes on with it"
    ),
    "base": "the training of a model: `search prm train` or `search selftrain train` goes on with it",
}
"""Runs of other kinds by a key that only their `run.json` has."""


def read_header(folder: Path) -> Header:
    """`run.json` of a run; `UsageError` if the directory holds no run, `DataError` if it is damaged."""
    path = folder / "run.json"
    if not path.is_file():
        raise UsageError(f"{folder} is not a run: it has no run.json")
    try:
        content = json.loads(path.read_text())
        for kind, hint in _OTHER_RUNS.items():
            if kind in content:
                raise UsageError(f"{folder} is no search, but {hint}")
        if content["schema"] != SCHEMA:
            raise DataError(f"{path}: schema {content['schema']}; this version reads schema {SCHEMA}")
        return Header(
            resolved=from_json(content["config"]),
            problems_hash=content["problems_hash"],
            n_problems=content["n_problems"],
            model_hash=content["model_hash"],
            versions=content["versions"],
            value_hash=content.get("value_hash"),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: damaged ({type(error).__name__}: {error})") from error


_ROW = frozenset({"id", "verdict", "answer", "stop_reason", "usage"})
"""Keys that every line of `results.jsonl` has."""


def read_results(folder: Path) -> list[dict[str, Any]]:
    """Lines of `results.jsonl`; a torn last line is left out, other damage is `DataError`."""
    path = folder / "results.jsonl"
    if not path.exists():
        return []
    rows: list[dict[str, Any]] = []
    lines = path.read_bytes().split(b"\n")
    lines.pop()  # a torn line, or nothing where the last one was written whole
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}:{number}: not JSON ({error})") from error
        if not isinstance(row, dict) or not row.keys() >= _ROW:
            raise DataError(f"{path}:{number}: not the result of a problem")
        rows.append(row)
    return rows


def fold_trees(
    folder: Path,
    problems: Iterable[Problem],
    config: RunConfig,
    *,
    budget: Budget | None = None,
    skip: Collection[str] = (),
) -> dict[str, Tree]:
    """Trees of the journal by problem id, as far as they were searched; those of `skip` are left out."""
    known = {problem.id: problem for problem in problems}
    records: dict[str, list[list[Event]]] = {}
    for problem, record in read_journal(folder / JOURNAL):
        if problem in skip:
            continue
        if problem not in known:
            raise DataError(f"{folder}: the journal has a problem that the data has not: {problem!r}")
        records.setdefault(problem, []).append(record)
    return {
        name: Tree.fold(known[name], found, seed=tree_seed(config, name), budget=budget or config.budget())
        for name, found in records.items()
    }


def fold_tree(folder: Path, problem: Problem, config: RunConfig) -> Tree:
    """The tree of one problem, as far as it was searched."""
    records = (made for name, made in read_journal(folder / JOURNAL) if name == problem.id)
    return Tree.fold(problem, records, seed=tree_seed(config, problem.id), budget=config.budget())


def tree_seed(config: RunConfig, problem: str) -> int:
    """The seed of a problem's tree: from the run's seed and the problem's id."""
    return derive(config.seed, problem)


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"
