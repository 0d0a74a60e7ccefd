"""Writing the rows and pairs that training reads (`prm.training.rows` has the format and the readers).

Contract: what is written is read back equal. Files are replaced at once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from prm.training.rows import PairRow, StepRow
from treesearch.atomic import write_text


def write_rows(path: Path, rows: Iterable[StepRow]) -> int:
    """Write solutions with labels; returns how many."""
    return _write(path, [row_to_json(row) for row in rows])


def write_pairs(path: Path, pairs: Iterable[PairRow]) -> int:
    """Write pairs; returns how many."""
    return _write(path, [pair_to_json(pair) for pair in pairs])


def row_to_json(row: StepRow) -> dict[str, Any]:
    """A row as JSON data: ``{"id", "prompt", "completions", "labels", "counts"}``, and `ids` where known."""
    content: dict[str, Any] = {
        "id": row.id,
        "prompt": row.prompt,
        "completions": list(row.steps),
        "labels": list(row.labels),
    }
    if row.counts:
        content["counts"] = [None if count is None else list(count) for count in row.counts]
    if row.prompt_ids is not None and row.step_ids is not None:
        content["ids"] = {"prompt": list(row.prompt_ids), "steps": [list(ids) for ids in row.step_ids]}
    return content


def pair_to_json(pair: PairRow) -> dict[str, Any]:
    """A pair as JSON data; a continuation of one step is a text, of several a list."""
    content: dict[str, Any] = {
        "id": pair.id,
        "prompt": pair.prompt,
        "prefix": list(pair.prefix),
        "chosen": pair.chosen[0] if len(pair.chosen) == 1 else list(pair.chosen),
        "rejected": pair.rejected[0] if len(pair.rejected) == 1 else list(pair.rejected),
    }
    for name in ("chosen_value", "rejected_value", "ref_chosen_logp", "ref_rejected_logp"):
        if getattr(pair, name) is not None:
            content[name] = getattr(pair, name)
    if pair.weight != 1.0:
        content["weight"] = pair.weight
    if pair.prompt_ids is not None:
        content["ids"] = {"prompt": list(pair.prompt_ids)} | {
            name: [list(ids) for ids in getattr(pair, f"{name}_ids") or ()]
            for name in ("prefix", "chosen", "rejected")
        }
    return content


def _write(path: Path, contents: list[dict[str, Any]]) -> int:
    lines = [json.dumps(each, ensure_ascii=False, allow_nan=False) + "\n" for each in contents]
    write_text(path, "".join(lines))
    return len(contents)
