"""Targets of steps as rows of process-reward training, and in the stepwise format of public data sets.

Contract: `step_rows` makes a row of each path to a leaf that has labels: the targets of its steps, None where
a step has none, with their counts and the ids. A step that several paths share is labelled in the first
alone, or with `once` false in each. `write_step_labels` writes TRL's columns `prompt`, `completions` and
`labels`, which `read_step_labels` reads; labels of 0 and 1 are written as false and true (in a folder, where
all of them are). `write_step_rows` writes all of a row, as `prm.training.rows` reads it.

What TRL's columns cannot hold: the problem's id (a row read back has the prompt as its id), counts and token
ids; neither format holds `Target.kind` or values outside [0, 1]. Targets of several kinds on one tree are
`UsageError` unless `kind` says which.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prm.labels.rows import write_rows
from prm.labels.stepwise import read_stepwise, write_stepwise
from prm.training.rows import StepRow
from selftrain.data.exports.containers import read_columns, write_columns
from selftrain.data.record import Target, TrainingTree
from tasks.errors import UsageError
from treesearch.tree import ROOT


def step_rows(trees: Sequence[TrainingTree], *, kind: str | None = None, once: bool = True) -> list[StepRow]:
    """The rows of all trees, in order; see the module."""
    return [row for tree in trees for row in _rows(tree, kind, once)]


def write_step_labels(path: Path, trees: Sequence[TrainingTree], *, kind: str | None = None) -> int:
    """Replace `path` by the three columns of the stepwise format; returns how many rows."""
    rows = step_rows(trees, kind=kind)
    if path.suffix == ".jsonl":
        write_stepwise(path, rows)
        return len(rows)
    plain = all(label in (None, 0.0, 1.0) for row in rows for label in row.labels)
    columns = {"prompt": "str", "completions": "list[str]", "labels": f"list[{'bool' if plain else 'float'}]"}
    return write_columns(path, [_to_columns(row, plain) for row in rows], columns)


def read_step_labels(path: Path) -> list[StepRow]:
    """The rows of the stepwise format; `DataError` with the place for a row that does not fit."""
    if path.suffix == ".jsonl":
        return read_stepwise(path)
    found: list[StepRow] = []
    for row in read_columns(path):
        labels = row.items("labels")
        found.append(
            StepRow(
                id=row.text("prompt"),
                prompt=row.text("prompt"),
                steps=row.texts("completions"),
                labels=tuple(None if label is None else float(label) for label in labels),
            )
        )
    return found


def write_step_rows(path: Path, trees: Sequence[TrainingTree], *, kind: str | None = None) -> int:
    """Replace `path`, a .jsonl file, by whole rows (`prm.training.rows`); returns how many."""
    if path.suffix != ".jsonl":
        raise UsageError(f"step rows are JSON lines, give a path in .jsonl, got {str(path)!r}")
    return write_rows(path, step_rows(trees, kind=kind))


def _to_columns(row: StepRow, plain: bool) -> Mapping[str, Any]:
    labels = [bool(label) if plain and label is not None else label for label in row.labels]
    return {"prompt": row.prompt, "completions": list(row.steps), "labels": labels}


def _rows(tree: TrainingTree, kind: str | None, once: bool) -> list[StepRow]:
    targets = _targets(tree, kind)
    rows: list[StepRow] = []
    seen: set[int] = set()
    for leaf, children in enumerate(tree.tree.children()):
        if children or leaf == ROOT:
            continue
        path = tree.tree.path(leaf)[1:]
        given = [targets.get(node) if not once or node not in seen else None for node in path]
        seen.update(path)
        if any(target is not None for target in given):
            rows.append(_row(tree, path, given))
    return rows


def _targets(tree: TrainingTree, kind: str | None) -> dict[int, Target]:
    chosen = [one for one in tree.targets if kind is None or one.kind == kind]
    kinds = sorted({one.kind for one in chosen})
    if len(kinds) > 1:
        raise UsageError(f"the tree of {tree.problem!r} has targets of {', '.join(kinds)}; say which kind")
    return {one.node: one for one in chosen}


def _row(tree: TrainingTree, path: Sequence[int], given: Sequence[Target | None]) -> StepRow:
    ids = tuple(tree.tree.segments[node] for node in path)
    whole = all(ids)
    return StepRow(
        id=tree.problem,
        prompt=tree.texts[ROOT],
        steps=tuple(tree.texts[node] for node in path),
        labels=tuple(None if one is None else one.value for one in given),
        counts=tuple(
            None if one is None or not one.completions else (one.right, one.completions) for one in given
        ),
        # A step without tokens has no place in such a row; then the texts alone are written.
        prompt_ids=tree.tree.segments[ROOT] if whole else None,
        step_ids=ids if whole else None,
    )
