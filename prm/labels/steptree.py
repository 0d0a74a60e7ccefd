"""The records of one problem as a tree of steps.

Contract: `step_tree` puts records where their paths say; node 0 is the question, parents come before their
children, children are in the order of first occurrence. A step that is only part of another record's prefix
is a node without a record. `leaves` are the nodes without children: the solutions, as far as they are known.

Records of several models or sources for one step do not mix: `UsageError` says which there are. It calculates
no labels (`prm.labels.derive`, `quality`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from prm.labels.record import Path, StepRecord
from prm.labels.store import merged
from tasks.errors import UsageError

ROOT = 0


@dataclass(slots=True, kw_only=True)
class StepNode:
    """A step of the tree; `record` None where nothing was sampled from it."""

    path: Path
    parent: int
    record: StepRecord | None = None
    children: list[int] = field(default_factory=list[int])


def by_problem(records: Iterable[StepRecord]) -> dict[str, list[StepRecord]]:
    """The records of each problem, in the order of first occurrence."""
    found: dict[str, list[StepRecord]] = {}
    for record in records:
        found.setdefault(record.problem, []).append(record)
    return found


def step_tree(records: Sequence[StepRecord]) -> list[StepNode]:
    """The tree of one problem's records; see the module docstring."""
    if len({record.problem for record in records}) != 1:
        raise UsageError("a step tree takes the records of one problem (see by_problem)")
    nodes = [StepNode(path=(), parent=-1)]
    index: dict[Path, int] = {(): ROOT}
    for record in merged(records):
        for length in range(1, len(record.path) + 1):
            path = record.path[:length]
            if path not in index:
                index[path] = len(nodes)
                nodes.append(StepNode(path=path, parent=index[path[:-1]]))
                nodes[index[path[:-1]]].children.append(index[path])
        node = nodes[index[record.path]]
        if node.record is not None:
            raise UsageError(
                f"a step of {record.problem!r} has records of {node.record.source!r} by {node.record.model!r}"
                f" and of {record.source!r} by {record.model!r}; derive labels from one of them"
            )
        node.record = record
    return nodes


def leaves(nodes: Sequence[StepNode]) -> Iterator[int]:
    """Nodes without children, but for the question."""
    return (number for number, node in enumerate(nodes) if not node.children and number != ROOT)


def chain(nodes: Sequence[StepNode], leaf: int) -> list[int]:
    """The nodes from the first step down to `leaf`; the question is not among them."""
    found: list[int] = []
    while leaf != ROOT:
        found.append(leaf)
        leaf = nodes[leaf].parent
    return found[::-1]


def only_source(records: Sequence[StepRecord], source: str | None) -> list[StepRecord]:
    """The records of a source by name; all where it is None. `UsageError` names those that there are."""
    if source is None:
        return list(records)
    found = [record for record in records if record.source == source]
    if not found:
        known: Mapping[str, None] = dict.fromkeys(record.source for record in records)
        raise UsageError(f"no record of the source {source!r}; there are: {', '.join(known) or 'none'}")
    return found
