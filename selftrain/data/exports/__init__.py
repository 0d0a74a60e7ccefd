"""Training trees in other people's formats: TRL's columns, as JSON lines or Hugging Face `datasets` folders.

    export("preference", Path("pairs.jsonl"), trees)

`EXPORTS` names the formats. A path that ends in `.jsonl` becomes JSON lines, another one a `datasets` folder.
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
from tasks.errors import unknown_name

Write = Callable[[Path, Sequence[TrainingTree]], int]
EXPORTS: Mapping[str, Write] = {
    "preference": write_preferences,
    "sft": write_completions,
    "sft-plain": write_plain,
    "stepwise": write_step_labels,
    "step-rows": write_step_rows,
}
"""Formats by name; each writes trees to a path and returns how many rows it wrote."""


def export(name: str, path: Path, trees: Sequence[TrainingTree]) -> int:
    """Write trees in the format of a name; returns how many rows. `UsageError` names the nearest format."""
    if name not in EXPORTS:
        raise unknown_name("export format", name, EXPORTS)
    return EXPORTS[name](path, trees)


__all__ = [
    "EXPORTS",
    "Completion",
    "Preference",
    "completions",
    "export",
    "preferences",
    "read_completions",
    "read_preferences",
    "read_step_labels",
    "step_rows",
    "write_completions",
    "write_plain",
    "write_preferences",
    "write_step_labels",
    "write_step_rows",
]
