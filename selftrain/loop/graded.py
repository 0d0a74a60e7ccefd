"""Graded trees as files: `Searched` as JSON lines, the same trees giving the same bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from selftrain.data.searched import Searched
from selftrain.packing.tree import TokenTree
from tasks.base import Problem
from tasks.errors import DataError
from treesearch.atomic import write_text

_PLAIN = tuple(entry.name for entry in fields(Searched) if entry.name not in ("problem", "tree"))


def write_searched(path: Path, trees: Iterable[Searched]) -> None:
    """Write graded trees by atomic replace, one a line."""
    write_text(path, "".join(json.dumps(_row(each), ensure_ascii=False) + "\n" for each in trees))


def read_searched(path: Path) -> list[Searched]:
    """Read what `write_searched` wrote; `DataError` names file and line of what is not a graded tree."""
    found: list[Searched] = []
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                found.append(_searched(json.loads(line)))
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(f"{path}:{number}: not a graded tree ({error})") from error
    return found


def _row(searched: Searched) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(searched, name) for name in _PLAIN}
    tree = searched.tree
    row["problem"] = asdict(searched.problem) | {"meta": dict(searched.problem.meta)}
    row["tree"] = {"segments": tree.segments, "parents": tree.parents, "logprobs": tree.logprobs}
    return row


def _searched(row: dict[str, Any]) -> Searched:
    tree = row["tree"]
    return Searched(
        problem=Problem(**row["problem"]),
        tree=TokenTree(
            segments=tuple(map(tuple, tree["segments"])),
            parents=tuple(tree["parents"]),
            logprobs=tuple(None if each is None else tuple(each) for each in tree["logprobs"]),
        ),
        **{name: tuple(row[name]) for name in _PLAIN},
    )
