"""Traces in TRL's prompt-and-completion format, with ids and a mask, or as two plain texts.

Contract: one row a trace. `prompt` and `completion` are texts; `input_ids` are the ids of both joined and
`completion_mask` is 1 for each id that is trained: 0 for the prompt and for steps left untrained. TRL's
`SFTTrainer` takes these two columns as they are and encodes nothing. `label` is the grade (as `KTOTrainer`
reads it), null where there is none, `logps` the sum of the stored log-probs of the completion, null where a
part of them was not stored, and `prompt_tokens` says where it begins. Reading gives the same rows.

`write_plain` writes `prompt` and `completion` alone, for trainers that know nothing else. It refuses what
these cannot say: traces of wrong solutions, and traces with untrained steps.

What the format cannot hold: the tree, and where steps begin and end. No trainer of TRL reads `weight`, and
its `SFTTrainer` does not read `label`: it learns wrong solutions as well as right ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from selftrain.data.exports.containers import Columns, read_columns, write_columns
from selftrain.data.exports.preference import stored_sum
from selftrain.data.objects import from_object, to_object
from selftrain.data.record import Trace, TrainingTree
from tasks.errors import UsageError
from treesearch.tree import ROOT

_PLAIN: Columns = {"prompt": "str", "completion": "str"}
_COLUMNS: Columns = {
    "problem": "str",
    **_PLAIN,
    "input_ids": "list[int]",
    "completion_mask": "list[int]",
    "prompt_tokens": "int",
    "label": "bool",
    "logps": "float",
    "weight": "float",
    "kind": "str",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """A row of the format; see the module. Ids and mask have one entry a token of prompt and completion."""

    problem: str
    prompt: str
    completion: str
    input_ids: tuple[int, ...]
    completion_mask: tuple[int, ...]
    prompt_tokens: int
    label: bool | None = None
    logps: float | None = None
    weight: float = 1.0
    kind: str = "sft"

    def __post_init__(self) -> None:
        if len(self.completion_mask) != len(self.input_ids):
            raise UsageError(f"{len(self.input_ids)} ids but {len(self.completion_mask)} entries of the mask")


def completions(trees: Sequence[TrainingTree]) -> list[Completion]:
    """The traces of all trees, in order."""
    return [_row(tree, trace) for tree in trees for trace in tree.traces]


def write_completions(path: Path, trees: Sequence[TrainingTree]) -> int:
    """Replace `path` by the traces of all trees; returns how many."""
    return write_columns(path, (to_object(row, full=True) for row in completions(trees)), _COLUMNS)


def read_completions(path: Path) -> list[Completion]:
    """What `write_completions` wrote; `DataError` with the place for a row that does not fit."""
    return [from_object(row, Completion, "completion") for row in read_columns(path)]


def write_plain(path: Path, trees: Sequence[TrainingTree]) -> int:
    """Replace `path` by the texts of all traces; `UsageError` for traces that texts cannot hold."""
    for tree in trees:
        for trace in tree.traces:
            reason = (
                "wrong solutions" if trace.right is False else "untrained steps" if trace.untrained else ""
            )
            if reason:
                raise UsageError(
                    f"the plain format cannot hold {reason} ({trace.kind!r} of problem {tree.problem!r}); "
                    "export as 'sft', which has labels and a mask"
                )
    rows = ({"prompt": row.prompt, "completion": row.completion} for row in completions(trees))
    return write_columns(path, rows, _PLAIN)


def _row(tree: TrainingTree, trace: Trace) -> Completion:
    path = tree.tree.path(trace.node)
    steps = path[1:]
    silent = {ROOT, *trace.untrained}
    return Completion(
        problem=tree.problem,
        prompt=tree.texts[ROOT],
        completion="".join(tree.texts[node] for node in steps),
        input_ids=tuple(token for node in path for token in tree.tree.segments[node]),
        completion_mask=tuple(int(node not in silent) for node in path for _ in tree.tree.segments[node]),
        prompt_tokens=len(tree.tree.segments[ROOT]),
        label=trace.right,
        logps=stored_sum(tree, steps),
        weight=trace.weight,
        kind=trace.kind,
    )
