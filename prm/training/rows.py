"""Rows of training data: solutions with a label a step, and pairs of continuations of one prefix.

Contract: `read_rows` and `read_pairs` read JSONL or one JSON array, and raise `DataError` with file and line
for whatever does not fit. Nothing is repaired, dropped or rounded: a label is null (the step is not trained
on) or a number in [0, 1], and true and false are 1 and 0. Keys that are not named below are somebody else's
columns and are left alone, unless one is so like a key that is missing that it will be that one, mistyped.

A row (the stepwise format that Hub data sets use, with an id and counts)::

    {"id": "p17", "prompt": "...", "completions": ["step", ...], "labels": [0.75, null, ...],
     "counts": [[6, 8], null, ...], "ids": {"prompt": [1, 5], "steps": [[7, 8], ...]}}

`id` names the problem (without one, the prompt does): what is held out is held out by it. `counts` are
[right, rolled out]; where a label is null or labels are missing, right / rolled out is the label. `ids` are
the token ids that the policy read and wrote; they are used as they are. `meta` may hold anything. A pair of
steps::

    {"id": "p17", "prompt": "...", "prefix": ["step", ...], "chosen": "step", "rejected": "step",
     "chosen_value": 0.9, "rejected_value": 0.1}

`chosen` and `rejected` may be lists of steps (the rest of a solution). Optional: `ids` with prompt, prefix,
chosen and rejected; `weight`; `ref_chosen_logp` and `ref_rejected_logp` (reference log-prob sums stored when
the steps were written).

It does not tokenise (`layout`), and does not make labels or pairs from trees (`prm.labels`).
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from prm.evaluation.rows import read_rows as read_records
from tasks.errors import DataError, UsageError, unknown_name

Ids = tuple[int, ...]
R = TypeVar("R")

_TYPO = 0.8
"""How like a key of ours (`difflib`, in [0, 1]) an unknown one is that is taken for a mistyped one."""
_SHARED = {"id", "prompt", "ids", "meta"}
_ROW_KEYS = _SHARED | {"completions", "labels", "counts"}
_VALUES = {"chosen_value", "rejected_value", "weight", "ref_chosen_logp", "ref_rejected_logp"}
_PAIR_KEYS = _SHARED | _VALUES | {"prefix", "chosen", "rejected"}


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRow:
    """One solution, or the beginning of one: for each step a label in [0, 1] or None, and counts or None."""

    id: str
    prompt: str
    steps: tuple[str, ...]
    labels: tuple[float | None, ...]
    counts: tuple[tuple[int, int] | None, ...] = ()
    prompt_ids: Ids | None = None
    step_ids: tuple[Ids, ...] | None = None

    def __post_init__(self) -> None:
        if not self.steps:
            raise UsageError(f"row {self.id!r} has no steps")
        for name, found in (("labels", self.labels), ("counts", self.counts), ("ids.steps", self.step_ids)):
            if found and len(found) != len(self.steps):
                raise UsageError(f"row {self.id!r} has {len(self.steps)} steps but {len(found)} {name}")
        if (self.prompt_ids is None) != (self.step_ids is None):
            raise UsageError(f"row {self.id!r}: ids take both prompt and steps")
        _check_prompt(self.id, self.prompt_ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairRow:
    """Two continuations of one prefix, the better one and the worse one."""

    id: str
    prompt: str
    prefix: tuple[str, ...]
    chosen: tuple[str, ...]
    rejected: tuple[str, ...]
    chosen_value: float | None = None
    rejected_value: float | None = None
    weight: float = 1.0
    ref_chosen_logp: float | None = None
    ref_rejected_logp: float | None = None
    prompt_ids: Ids | None = None
    prefix_ids: tuple[Ids, ...] | None = None
    chosen_ids: tuple[Ids, ...] | None = None
    rejected_ids: tuple[Ids, ...] | None = None

    def __post_init__(self) -> None:
        if not self.chosen or not self.rejected:
            raise UsageError(f"pair {self.id!r} needs a chosen and a rejected continuation")
        if (self.ref_chosen_logp is None) != (self.ref_rejected_logp is None):
            raise UsageError(f"pair {self.id!r} has the reference log-prob of one side only")
        if not 0 <= self.weight < math.inf:
            raise UsageError(f"pair {self.id!r} has weight {self.weight:g}; it must be at least 0")
        _check_prompt(self.id, self.prompt_ids)


def read_rows(path: Path) -> list[StepRow]:
    """The step rows of a JSONL file in order; `DataError` with the line for what does not fit."""
    return _read(path, _step_row)


def read_pairs(path: Path) -> list[PairRow]:
    """The pairs of a JSONL file in order; `DataError` with the line for what does not fit."""
    return _read(path, _pair_row)


def _read(path: Path, make: Callable[[Mapping[str, Any]], R]) -> list[R]:
    rows: list[R] = []
    for record in read_records(path):
        try:
            rows.append(make(record.content))
        except UsageError as error:
            record.fail(str(error))
    if not rows:
        raise DataError(f"{path}: no record in the file")
    return rows


def _step_row(content: Mapping[str, Any]) -> StepRow:
    _check_keys(content, _ROW_KEYS, ("prompt", "completions"))
    steps = _texts(_list(content["completions"], "completions"), "completions")
    counts = _counts(content.get("counts"))
    given = content.get("labels")
    labels = [None] * len(steps) if given is None else [_label(one) for one in _list(given, "labels")]
    if given is None and not counts:
        raise UsageError("has neither labels nor counts")
    if counts and len(counts) == len(labels):
        labels = [
            count[0] / count[1] if label is None and count is not None else label
            for label, count in zip(labels, counts, strict=True)
        ]
    ids = _ids(content, ("prompt", "steps"))
    return StepRow(
        id=_text(content.get("id", content["prompt"]), "id"),
        prompt=_text(content["prompt"], "prompt"),
        steps=steps,
        labels=tuple(labels),
        counts=counts,
        prompt_ids=_token_ids(ids["prompt"], "ids.prompt") if ids else None,
        step_ids=_segments(ids["steps"], "ids.steps") if ids else None,
    )


def _pair_row(content: Mapping[str, Any]) -> PairRow:
    _check_keys(content, _PAIR_KEYS, ("prompt", "chosen", "rejected"))
    ids = _ids(content, ("prompt", "prefix", "chosen", "rejected"))

    def number(name: str) -> float | None:
        return None if content.get(name) is None else _number(content[name], name)

    weight = number("weight")
    return PairRow(
        id=_text(content.get("id", content["prompt"]), "id"),
        prompt=_text(content["prompt"], "prompt"),
        prefix=_texts(content.get("prefix", []), "prefix"),
        chosen=_texts(content["chosen"], "chosen"),
        rejected=_texts(content["rejected"], "rejected"),
        chosen_value=number("chosen_value"),
        rejected_value=number("rejected_value"),
        weight=1.0 if weight is None else weight,
        ref_chosen_logp=number("ref_chosen_logp"),
        ref_rejected_logp=number("ref_rejected_logp"),
        prompt_ids=_token_ids(ids["prompt"], "ids.prompt") if ids else None,
        prefix_ids=_segments(ids["prefix"], "ids.prefix") if ids else None,
        chosen_ids=_continuation(ids["chosen"], "ids.chosen") if ids else None,
        rejected_ids=_continuation(ids["rejected"], "ids.rejected") if ids else None,
    )


def _check_prompt(row: str, ids: Ids | None) -> None:
    if ids is not None and not ids:
        raise UsageError(f"row {row!r}: ids.prompt is empty; its last token predicts the first step")


def _check_keys(content: Mapping[str, Any], known: set[str], needed: Sequence[str]) -> None:
    for key in needed:
        if key not in content:
            raise UsageError(f"lacks {key!r}")
    for key in content.keys() - known:
        if difflib.get_close_matches(key, known - content.keys(), n=1, cutoff=_TYPO):
            raise unknown_name("key", key, known - content.keys())


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise UsageError(f"{name} must be a list, got {type(value).__name__}")
    return cast("list[Any]", value)


def _text(value: Any, name: str) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and name == "id":
        return str(value)
    if not isinstance(value, str):
        raise UsageError(f"{name} must be text, got {value!r}")
    return value


def _texts(value: Any, name: str) -> tuple[str, ...]:
    return (
        (value,) if isinstance(value, str) else tuple(_text(one, f"{name}[]") for one in _list(value, name))
    )


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UsageError(f"{name} must be a finite number, got {value!r}")
    return float(value)


def _label(value: Any) -> float | None:
    if value is None or isinstance(value, bool):
        return None if value is None else float(value)
    number = _number(value, "a label")
    if not 0 <= number <= 1:
        raise UsageError(f"a label must be null or in [0, 1], got {value!r}")
    return number


def _counts(value: Any) -> tuple[tuple[int, int] | None, ...]:
    counts: list[tuple[int, int] | None] = []
    for one in [] if value is None else _list(value, "counts"):
        pair = None if one is None else _token_ids(one, "a count")
        if pair is not None and (len(pair) != 2 or pair[0] > pair[1] or pair[1] == 0):
            raise UsageError(f"a count must be null or [right, rolled out], got {one!r}")
        counts.append(None if pair is None else (pair[0], pair[1]))
    return tuple(counts)


def _ids(content: Mapping[str, Any], keys: Sequence[str]) -> Mapping[str, Any] | None:
    found = content.get("ids")
    if found is None:
        return None
    if not isinstance(found, dict) or set(cast("dict[str, Any]", found)) != set(keys):
        raise UsageError(f"ids must be an object with {', '.join(keys)}")
    return cast("dict[str, Any]", found)


def _token_ids(value: Any, name: str) -> Ids:
    ids = _list(value, name)
    for one in ids:
        if isinstance(one, bool) or not isinstance(one, int) or one < 0:
            raise UsageError(f"{name} must hold whole numbers >= 0, got {one!r}")
    return tuple(ids)


def _segments(value: Any, name: str) -> tuple[Ids, ...]:
    segments = tuple(_token_ids(one, name) for one in _list(value, name))
    if not all(segments):
        raise UsageError(f"{name} holds a step of no tokens")
    return segments


def _continuation(value: Any, name: str) -> tuple[Ids, ...]:
    """One step's ids, or a list of them."""
    nested = _list(value, name)
    return _segments(nested if nested and isinstance(nested[0], list) else [nested], name)
