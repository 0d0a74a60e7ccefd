"""The folder of a process-reward model of this toolkit: what is in it, writing it, reading its card.

    folder/prm.json             the card (`Card`)
    folder/model.safetensors    the backbone, as `save_pretrained` writes it (several files where it is large)
    folder/head.safetensors     "head.weight" [rows, hidden] and "head.bias" [rows], float32
    folder/config.json, tokenizer files

The head is one linear layer on the last hidden state. Rows by kind, for `outputs` K (an ensemble of K heads):
``value`` K rows, a logit each; ``classes`` 2 K rows, (wrong, right) logits of member k in rows 2k and 2k + 1;
``two-token`` K rows, each the difference of the rows of two tokens, or no file: then the two rows of the
backbone's lm_head that the convention names. ``implicit`` has no file; `reference` says which model the
log-ratio is to.

`calibration` maps the score of a step (the members' combined score, a probability) to a calibrated one:
``platt``: sigmoid(a logit(p) + b), with p cut to [1e-6, 1 - 1e-6]; ``isotonic``: linear between the points
(x, y), constant outside.

Contract: `write_checkpoint` writes beside the target and renames, so that a reader sees an old folder, a new
one, or for an instant none, never half of one. `read_card` refuses what it does not know, and names file and
key. Safetensors and JSON only. No model library is loaded before `write_checkpoint` runs.
"""

from __future__ import annotations

import json
import math
import shutil
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from tasks.errors import DataError, UsageError, unknown_name
from treesearch.atomic import write_json

CARD = "prm.json"
HEAD_FILE = "head.safetensors"
SCHEMA = 1
HeadKind = Literal["value", "classes", "two-token", "implicit"]
_EDGE = 1e-6


@dataclass(frozen=True, kw_only=True)
class HeadCard:
    """The head: see the module. `file` is relative to the folder, None where there is none."""

    kind: HeadKind
    outputs: int = 1
    file: str | None = HEAD_FILE

    def __post_init__(self) -> None:
        if self.kind not in get_args(HeadKind):
            raise unknown_name("kind of head", self.kind, get_args(HeadKind))
        if self.outputs < 1:
            raise UsageError(f"head.outputs must be at least 1, got {self.outputs}")
        if self.file is None and self.kind in ("value", "classes"):
            raise UsageError(f"a head of kind {self.kind!r} needs a file, got none")
        if self.file is not None and (self.kind == "implicit" or Path(self.file).name != self.file):
            raise UsageError(f"head.file must be the name of a file in the folder, got {self.file!r}")

    @property
    def rows(self) -> int:
        """Rows of the head's weight."""
        return self.outputs * (2 if self.kind == "classes" else 1)


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A monotone map from a score in [0, 1] to a calibrated one; see the module."""

    kind: Literal["platt", "isotonic"]
    a: float = 1.0
    b: float = 0.0
    x: tuple[float, ...] = ()
    y: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in ("platt", "isotonic"):
            raise unknown_name("kind of calibration", self.kind, ("platt", "isotonic"))
        if self.kind == "platt":
            if not (math.isfinite(self.a) and math.isfinite(self.b)):
                raise UsageError(f"platt calibration needs finite numbers, got a={self.a}, b={self.b}")
            return
        rising = all(one < two for one, two in zip(self.x, self.x[1:], strict=False))
        if not self.x or len(self.x) != len(self.y) or not rising:
            raise UsageError(
                f"isotonic calibration needs as many y as x, at least one, with x rising; got x={self.x}, "
                f"y={self.y}"
            )

    def __call__(self, score: float) -> float:
        """The calibrated score, in [0, 1] where the points of an isotonic map are."""
        if self.kind == "platt":
            inner = min(max(score, _EDGE), 1 - _EDGE)
            return sigmoid(self.a * math.log(inner / (1 - inner)) + self.b)
        place = bisect_right(self.x, score)
        if place in (0, len(self.x)):
            return self.y[0] if place == 0 else self.y[-1]
        low, high = self.x[place - 1], self.x[place]
        share = (score - low) / (high - low)
        return self.y[place - 1] + share * (self.y[place] - self.y[place - 1])

    def to_json(self) -> dict[str, Any]:
        """What the card holds."""
        if self.kind == "platt":
            return {"kind": "platt", "a": self.a, "b": self.b}
        return {"kind": "isotonic", "x": list(self.x), "y": list(self.y)}


@dataclass(frozen=True, kw_only=True)
class Card:
    """What ``prm.json`` says; `convention` is a name of `prm.conventions`, `trained` the trainer's record."""

    convention: str
    head: HeadCard
    calibration: Calibration | None = None
    reference: str | None = None
    trained: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        from prm.conventions import find

        find(self.convention)

    def reading(self) -> dict[str, Any]:
        """What of the card changes a score, as plain data; the reference is only named in it and left out."""
        plain = self.to_json()
        trained = {key: self.trained.get(key) for key in ("head", "beta")}
        return {key: plain[key] for key in ("convention", "head", "calibration")} | {"trained": trained}

    def to_json(self) -> dict[str, Any]:
        """The JSON object of ``prm.json``."""
        return {
            "schema": SCHEMA,
            "convention": self.convention,
            "head": asdict(self.head),
            "calibration": None if self.calibration is None else self.calibration.to_json(),
            "reference": self.reference,
            "trained": dict(self.trained),
        }


def sigmoid(logit: float) -> float:
    """The logistic function, without overflow."""
    if logit >= 0:
        return 1 / (1 + math.exp(-logit))
    power = math.exp(logit)
    return power / (1 + power)


def is_checkpoint(folder: Path) -> bool:
    """Whether a folder is one of ours: it has a card."""
    return (folder / CARD).is_file()


def read_card(folder: Path) -> Card:
    """The card of a folder; `DataError` for one that is missing, not JSON or not of this schema."""
    path = folder / CARD
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        inside = sorted(str(card.parent) for card in folder.glob(f"*/{CARD}"))
        hint = (
            f"; give one of its models: {', '.join(inside)}" if inside else "; is it a process-reward model?"
        )
        raise DataError(f"{path}: no such file{hint}") from error
    except ValueError as error:
        raise DataError(f"{path}: not JSON ({error})") from error
    try:
        return _card(found)
    except (UsageError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: {error if isinstance(error, UsageError) else repr(error)}") from error


def write_checkpoint(
    folder: Path, *, model: Any, tokenizer: Any, card: Card, head: Mapping[str, Any] | None = None
) -> None:
    """Write a model folder at once; an older one of that name is replaced.

    `model` and `tokenizer` are those of `transformers` (the backbone, with or without its lm_head), `head`
    the tensors of the head file. Raises `UsageError` where head and card do not agree.
    """
    from safetensors.torch import save_file

    _check_head(card.head, head)
    beside = folder.with_name(folder.name + ".new")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    model.save_pretrained(beside)
    tokenizer.save_pretrained(beside)
    if head is not None and card.head.file is not None:
        tensors = {name: tensor.detach().float().cpu().contiguous() for name, tensor in head.items()}
        save_file(tensors, str(beside / card.head.file))
    write_json(beside / CARD, card.to_json())
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    beside.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _card(found: Any) -> Card:
    """The card of a JSON value; raises on anything unknown."""
    if not isinstance(found, dict):
        raise UsageError(f"must hold a JSON object, got {type(found).__name__}")
    fields: dict[str, Any] = {str(key): value for key, value in found.items()}  # pyright: ignore[reportUnknownArgumentType]
    if fields.pop("schema", None) != SCHEMA:
        raise UsageError(f"schema is {found.get('schema')!r}, this version reads {SCHEMA}")
    known = ("convention", "head", "calibration", "reference", "trained")
    _refuse_unknown("key", fields, known)
    head: dict[str, Any] = fields["head"]
    _refuse_unknown("key of head", head, ("kind", "outputs", "file"))
    calibration: dict[str, Any] | None = fields.get("calibration")
    if calibration is not None:
        _refuse_unknown("key of calibration", calibration, ("kind", "a", "b", "x", "y"))
        points = {name: tuple(map(float, calibration[name])) for name in ("x", "y") if name in calibration}
        calibration = {**calibration, **points}
    return Card(
        convention=str(fields["convention"]),
        head=HeadCard(**head),
        calibration=None if calibration is None else Calibration(**calibration),
        reference=fields.get("reference"),
        trained=fields.get("trained") or {},
    )


def _refuse_unknown(what: str, given: Mapping[str, Any], known: Sequence[str]) -> None:
    for key in given:
        if key not in known:
            raise unknown_name(what, str(key), known)


def _check_head(card: HeadCard, head: Mapping[str, Any] | None) -> None:
    """Raise unless the tensors are those that the card announces."""
    if card.file is None:
        if head:
            raise UsageError(f"the card names no head file, got tensors {sorted(head)}")
        return
    shapes = {name: tuple(tensor.shape) for name, tensor in (head or {}).items()}
    good = set(shapes) == {"head.weight", "head.bias"}
    if not good or shapes["head.weight"][:1] != (card.rows,) or shapes["head.bias"] != (card.rows,):
        raise UsageError(
            f"a head of kind {card.kind!r} with {card.outputs} outputs needs head.weight [{card.rows}, "
            f"hidden] and head.bias [{card.rows}], got {shapes}"
        )
