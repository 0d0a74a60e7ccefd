"""Training trees on disk: JSON lines, one tree a line, read back equal.

Contract: `write_trees` replaces a file at once (a reader sees the old trees or the new, never half of them)
and writes the same bytes for the same trees. `read_trees` gives them back equal, ids, stored log-probs and
records included; whatever does not fit raises `DataError` with file and line. A file without trees is valid.

A line::

    {"problem": "p17", "segments": [[1, 5], [7, 8]], "parents": [-1, 0], "texts": ["...", "..."],
     "logprobs": [null, [-0.1, -0.2]], "traces": [{"node": 1, "right": true}], "pairs": [...],
     "advantages": [...], "targets": [...], "meta": {...}}

Records have the fields of `selftrain.data.record`, those at their defaults left out; so are empty lists.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jsonlines

from prm.evaluation.rows import Row, read_rows
from selftrain.data.objects import checked, from_object, to_object
from selftrain.data.record import Advantages, Pair, Target, Trace, TrainingTree
from selftrain.packing.tree import TokenTree
from tasks.errors import DataError, UsageError, unknown_name

_RECORDS: Mapping[str, type[Any]] = {
    "traces": Trace,
    "pairs": Pair,
    "advantages": Advantages,
    "targets": Target,
}
_KEYS = ("problem", "segments", "parents", "texts", "logprobs", *_RECORDS, "meta")
_dumps = partial(json.dumps, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def write_trees(path: Path, trees: Iterable[TrainingTree]) -> None:
    """Replace `path` by the trees, in order."""
    write_lines(path, map(tree_to_json, trees))


def read_trees(path: Path) -> list[TrainingTree]:
    """The trees of a file, in order; `DataError` with file and line for what is none."""
    return [tree_from_row(row) for row in read_lines(path)]


def write_lines(path: Path, contents: Iterable[Mapping[str, Any]]) -> None:
    """Replace `path` by one JSON object a line, written beside it and put in its place at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".new")
    try:
        with beside.open("w", encoding="utf-8") as file:
            writer = jsonlines.Writer(file, dumps=_dumps)  # pyright: ignore[reportCallIssue] - attrs
            writer.write_all(contents)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def read_lines(path: Path) -> list[Row]:
    """The objects of a file with their lines; none of an empty file."""
    if path.is_file() and not path.stat().st_size:
        return []
    return list(read_rows(path))


def tree_to_json(tree: TrainingTree) -> dict[str, Any]:
    """A tree as JSON data; see the module."""
    content: dict[str, Any] = {
        "problem": tree.problem,
        "segments": [list(ids) for ids in tree.tree.segments],
        "parents": list(tree.tree.parents),
        "texts": list(tree.texts),
    }
    if tree.tree.logprobs:
        content["logprobs"] = [None if one is None else list(one) for one in tree.tree.logprobs]
    for name in _RECORDS:
        if found := getattr(tree, name):
            content[name] = [to_object(one) for one in found]
    if tree.meta:
        content["meta"] = tree.meta
    return content


def tree_from_row(row: Row) -> TrainingTree:
    """The tree of a JSON row; `DataError` with file and line if it is none."""
    for key in row.content:
        if key not in _KEYS:
            row.fail(str(unknown_name("key", key, _KEYS)))
    meta = row.part(row.content.get("meta", {}), "meta").content
    try:
        return TrainingTree(
            problem=row.name("problem"),
            tree=TokenTree(
                segments=tuple(_ids(row, "segments", one) for one in row.items("segments")),
                parents=_ids(row, "parents", row.get("parents")),
                logprobs=_logprobs(row),
            ),
            texts=row.texts("texts"),
            meta=dict(meta),
            **{name: _records(row, name, cls) for name, cls in _RECORDS.items()},
        )
    except UsageError as error:
        raise DataError(f"{row.file}:{row.line}: {error}") from error


def _ids(row: Row, name: str, value: Any) -> tuple[int, ...]:
    return checked(row, name, value, "tuple[int, ...]")


def _logprobs(row: Row) -> tuple[tuple[float, ...] | None, ...]:
    if "logprobs" not in row.content:
        return ()
    return tuple(
        None if one is None else checked(row, "logprobs", one, "tuple[float, ...]")
        for one in row.items("logprobs")
    )


def _records(row: Row, name: str, cls: type[Any]) -> tuple[Any, ...]:
    if name not in row.content:
        return ()
    return tuple(from_object(row.part(one, name), cls, name) for one in row.items(name))
