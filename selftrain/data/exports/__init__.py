"""Training trees in other people's formats: TRL's columns, as JSON lines or Hugging Face `datasets` folders.

    export("preference", Path("pairs.jsonl"), trees)
    export_all("trl", Path("for-trl"), trees)

`EXPORTS` names the formats. A path that ends in `.jsonl` becomes JSON lines, another one a `datasets` folder.
`BUNDLES` are several formats in one folder: those that the trees hold something for.
Each format has functions of its own: rows of trees, writing, and reading back; what a format cannot hold is
said in its module and in `docs/selftrain-data.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from selftrain.data.exports.completion import (
    Completion,
    completions,
    read_completions,
    write_completions,
    write_plain,
)
from selftrain.data.exports.preference import (
    Preference,
    preferences,
    read_preferences,
    write_preferences,
)
from selftrain.data.exports.stepwise import (
    read_step_labels,
    step_rows,
    write_step_labels,
    write_step_rows,
)
from selftrain.data.record import TrainingTree
from tasks.errors import UsageError, unknown_name

Write = Callable[[Path, Sequence[TrainingTree]], int]
EXPORTS: Mapping[str, Write] = {
    "preference": write_preferences,
    "sft": write_completions,
    "sft-plain": write_plain,
    "stepwise": write_step_labels,
    "step-rows": write_step_rows,
}
"""Formats by name; each writes trees to a path and returns how many rows it wrote."""


_HELD: Mapping[str, str] = {
    "preference": "pairs",
    "sft": "traces",
    "sft-plain": "traces",
    "stepwise": "targets",
    "step-rows": "targets",
}
_FOR_TRL = ("preference", "sft", "stepwise")
BUNDLES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "trl": (".jsonl", _FOR_TRL),
    "datasets": ("", _FOR_TRL),
    "jsonl": (".jsonl", (*_FOR_TRL, "step-rows")),
}
"""Bundles by name: the ending of each path in the folder, and the formats."""


def export(name: str, path: Path, trees: Sequence[TrainingTree]) -> int:
    """Write trees in the format of a name; returns how many rows. `UsageError` names the nearest format."""
    if name not in EXPORTS:
        raise unknown_name("export format", name, EXPORTS)
    return EXPORTS[name](path, trees)


def export_all(name: str, folder: Path, trees: Sequence[TrainingTree]) -> dict[Path, int]:
    """Write each format of a bundle that the trees have records for, as ``FOLDER/FORMAT`` with its ending.

    Returns how many rows each path holds; `UsageError` names the nearest bundle.
    """
    if name not in BUNDLES:
        raise unknown_name("bundle of formats", name, BUNDLES)
    ending, formats = BUNDLES[name]
    if folder.is_file():
        raise UsageError(f"{folder} is a file; {name!r} writes several, name a folder for them")
    return {
        path: export(each, path, trees)
        for each in formats
        if records(each, trees)
        for path in [folder / f"{each}{ending}"]
    }


def records(name: str, trees: Sequence[TrainingTree]) -> int:
    """How many records the trees hold that the format of a name is made of."""
    return sum(len(getattr(tree, _HELD[name])) for tree in trees)


__all__ = [
    "BUNDLES",
    "EXPORTS",
    "Completion",
    "Preference",
    "completions",
    "export",
    "export_all",
    "preferences",
    "read_completions",
    "read_preferences",
    "read_step_labels",
    "records",
    "step_rows",
    "write_completions",
    "write_plain",
    "write_preferences",
    "write_step_labels",
    "write_step_rows",
]
