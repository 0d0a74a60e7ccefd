"""From a finished run to model folders, with held-out figures and a calibration.

Contract: weights are rounded to the type that the base was stored in before anything is measured, so the
figures are those of what is written (with LoRA: of the adapters before they are merged and rounded). The
calibration is fitted on the `tune` half of the held-out problems, which selection may have used, and all
figures are of the `test` half, which nothing has used.

Two-class heads are written as one row a member, the difference of the two: a softmax over two is the logistic
of their difference, so the scores are the same and every score head is read alike. Several adapters are
written as one folder each, merged into the backbone.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from prm.calibration import fit
from prm.checkpoint import Calibration, Card, HeadCard, write_checkpoint
from prm.training.heads import HEADS
from prm.training.heldout import HeldOut, evaluate, step_metrics
from prm.training.lora import merged, restore_frozen
from prm.training.objectives import beta_of
from prm.training.trainer import Trainer
from treesearch.policies import resolve_model

MODEL = "model"


def export(trainer: Trainer, tokenizer: Any, *, base: str, dtype: torch.dtype) -> dict[str, Any]:
    """Measure, calibrate and write the model folders; returns the summary. First process only writes."""
    _round(trainer, dtype)
    config, split = trainer.config, trainer.split
    summary: dict[str, Any] = {
        "head": config.head,
        "base": base,
        "steps": trainer.step,
        "tokens": trainer.tokens,
        "seconds": round(trainer.seconds, 1),
        "examples": {"train": len(split.train), "tune": len(split.tune), "test": len(split.test)},
        "problems": {
            name: len({example.problem for example in getattr(split, name)})
            for name in ("train", "tune", "test")
        },
        "best": trainer.best,
        "held_out": None,
        "calibration": None,
    }
    calibration: Calibration | None = None
    if split.test:
        found = evaluate(trainer.model, split.test, trainer.processes)
        summary["held_out"] = found.metrics()
        if config.calibration != "none":
            tune = evaluate(trainer.model, split.tune, trainer.processes)
            calibration = fit(config.calibration, *_scores_and_labels(tune))
            summary["calibration"] = _calibrated(calibration, found)
    summary["models"] = _write(trainer, tokenizer, summary, calibration, dtype)
    return summary


def _scores_and_labels(found: HeldOut) -> tuple[list[float], list[float]]:
    labelled = [(one.score, one.label) for one in found.scored if one.label is not None]
    return [score for score, _ in labelled], [label for _, label in labelled]


def _calibrated(calibration: Calibration, found: HeldOut) -> dict[str, Any]:
    """Figures before and after on the same scores."""
    scores, labels = _scores_and_labels(found)
    mapped = [calibration(score) for score in scores]
    return {
        "kind": calibration.kind,
        "before": step_metrics(list(zip(scores, labels, strict=True))),
        "after": step_metrics(list(zip(mapped, labels, strict=True))),
    }


def _round(trainer: Trainer, dtype: torch.dtype) -> None:
    """Round the backbone's trained weights to the type they are stored in; adapters stay as they are."""
    if trainer.config.lora_rank:
        return
    with torch.no_grad():
        for name, parameter in trainer.parameters.items():
            if not name.startswith("heads."):
                parameter.copy_(parameter.to(dtype))


def _write(
    trainer: Trainer,
    tokenizer: Any,
    summary: dict[str, Any],
    calibration: Calibration | None,
    dtype: torch.dtype,
) -> list[str]:
    config = trainer.config
    names = [MODEL] if config.adapters == 1 else [f"{MODEL}-{index}" for index in range(config.adapters)]
    if not trainer.processes.is_first:
        return names
    ratio = HEADS[config.head].reads == "ratio"
    trained = {key: summary[key] for key in ("head", "base", "steps", "examples", "held_out", "calibration")}
    trained["config"] = asdict(config)
    if ratio:
        trained["beta"] = beta_of(config)
    if config.lora_rank or config.freeze == "backbone":
        restore_frozen(trainer.model.network, resolve_model(summary["base"]), dtype)
    for index, name in enumerate(names):
        head = None if ratio else _head_tensors(trainer, index)
        card = Card(
            convention="steps",
            head=HeadCard(kind="implicit", file=None)
            if ratio
            else HeadCard(kind="value", outputs=config.members),
            calibration=calibration if len(names) == 1 else None,
            reference=resolve_model(summary["base"]) if ratio else None,
            trained=trained,
        )
        model = trainer.model.language_model
        if config.lora_rank:
            model = merged(trainer.model.network, index)
        _save(trainer.out / name, model, tokenizer, card, head, dtype)
    return names


def _save(
    folder: Path, model: Any, tokenizer: Any, card: Card, head: dict[str, Tensor] | None, dtype: torch.dtype
) -> None:
    write_checkpoint(folder, model=model.to(dtype), tokenizer=tokenizer, card=card, head=head)


def _head_tensors(trainer: Trainer, adapter: int) -> dict[str, Tensor]:
    """Weights ``[members, hidden]`` and biases ``[members]`` of one adapter's heads."""
    layer: Any = trainer.model.heads[adapter]
    weight, bias = layer.weight.detach(), layer.bias.detach()
    if HEADS[trainer.config.head].outputs == 2:
        weight, bias = weight[1::2] - weight[0::2], bias[1::2] - bias[0::2]
    return {"head.weight": weight, "head.bias": bias}
