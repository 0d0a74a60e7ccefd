"""A training run from rows and a base model to an exported checkpoint, in one folder.

    out/run.json                  base, data and config of the run (`folder`)
    out/checkpoint.safetensors    where training is
    out/best.safetensors          the weights that held-out figures chose, with `select`
    out/reference.safetensors     log-probs of the reference, for log-ratio heads
    out/metrics.jsonl             a line every few steps
    out/model/                    the trained model (`prm.checkpoint`); model-0, ... for several adapters
    out/summary.json              held-out figures before and after calibration, counts, seconds

Contract: `train` on a folder that holds a run goes on with it, and does nothing more than return the summary
if it is finished. A run of another base, other rows or another config is refused, and the error says what
differs. Data with rows that the model cannot hold is refused or dropped as the config says, and what was
dropped is counted. What is refused leaves no run behind.

It does not read files of rows (`rows`) or decide what a step does (`trainer`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
import transformers

from prm.training.config import TrainConfig
from prm.training.export import export
from prm.training.folder import FREE, Outcome, base_folder, claimed, describe, finish, finished
from prm.training.heads import HEADS, head_of, pair_examples, step_examples
from prm.training.layout import Example, Layout, check_ids
from prm.training.loop import Progress
from prm.training.model import TrainedModel
from prm.training.objectives import unit_weight
from prm.training.precision import resolve_precision
from prm.training.processes import open_processes
from prm.training.references import with_references
from prm.training.rows import PairRow, StepRow
from prm.training.split import split_by_problem
from prm.training.trainer import Trainer
from tasks.errors import DataError, UsageError
from treesearch.engines.hf_load import choose_device, load

REFERENCE = "reference.safetensors"


def train(
    rows: Sequence[StepRow] | Sequence[PairRow],
    *,
    base: str,
    out: Path,
    config: TrainConfig | None = None,
    source: str | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Outcome:
    """Train a model on `rows` and export it, or go on with the run in `out`.

    `base` is `embedded`, a model folder or a hub id. `source` is noted as the place of the rows. `stop` is
    asked between steps; where it says so, a checkpoint is left. Raises `UsageError` for settings that do not
    fit the head and for a run that differs from the one in `out`, `DataError` for rows that cannot be trained
    on.
    """
    chosen = config or TrainConfig()
    head_of(chosen)
    _check_rows(rows, chosen)
    processes = open_processes(choose_device(chosen.device))
    folder = base_folder(base)
    data = {"source": source, "rows": len(rows), "sha256": _hash_of(rows)}
    described = describe(base, folder, data, asdict(chosen))
    before = finished(out, described, free=FREE)
    if before is not None:
        return before
    language_model, tokenizer = load(
        folder, device=str(processes.device), dtype=_load_dtype(chosen, processes.device)
    )
    model = TrainedModel(language_model, tokenizer, chosen, processes.device)
    examples, dropped = _examples(rows, model, tokenizer)
    split = split_by_problem(examples, holdout=chosen.holdout, seed=chosen.seed)
    with claimed(out, described, processes):
        if HEADS[chosen.head].reads == "ratio":
            examples = with_references(examples, model, out / REFERENCE, processes)
            split = split_by_problem(examples, holdout=chosen.holdout, seed=chosen.seed)
        trainer = Trainer(model, split, out, processes)
        ended = trainer.run(on_progress, stop)
        trainer.metrics.close()
        if not ended:
            return Outcome(out=out, finished=False, summary=None)
        trainer.choose_weights()
        summary = export(trainer, tokenizer, base=base, dtype=_stored_dtype(folder))
        return finish(out, summary | {"dropped_rows": dropped}, processes)


def _hash_of(rows: Sequence[StepRow] | Sequence[PairRow]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(asdict(row), sort_keys=True).encode() + b"\n")
    return digest.hexdigest()


def _check_rows(rows: Sequence[StepRow] | Sequence[PairRow], config: TrainConfig) -> None:
    wanted = StepRow if HEADS[config.head].data == "steps" else PairRow
    for number, row in enumerate(rows, start=1):
        if type(row) is not wanted:
            raise UsageError(
                f"head {config.head!r} learns from {wanted.__name__}, row {number} is a {type(row).__name__}"
            )


def _examples(
    rows: Sequence[StepRow] | Sequence[PairRow], model: TrainedModel, tokenizer: Any
) -> tuple[list[Example], int]:
    """What is learned from, and how many rows were too long and dropped."""
    config = model.config
    head = HEADS[config.head]
    layout = Layout(tokenizer, keep_ends=head.reads == "ratio")
    if head.data == "steps":
        examples = step_examples(cast("Sequence[StepRow]", rows), config, layout)
    else:
        examples = pair_examples(cast("Sequence[PairRow]", rows), config, layout)
    kept, dropped = _fitting(examples, config, model.context)
    if not kept or not any(unit_weight(example, config) for example in kept):
        raise DataError(f"none of {len(rows)} rows has a label or weight to learn from and fits the model")
    vocabulary = int(model.language_model.get_input_embeddings().weight.shape[0])
    for example in kept:
        for path in example.paths:
            check_ids(f"problem {example.problem!r}", path, vocabulary)
    return kept, dropped


def _fitting(examples: list[Example], config: TrainConfig, context: int) -> tuple[list[Example], int]:
    most = min(config.max_tokens or context, context)
    kept = [example for example in examples if example.tokens <= most]
    dropped = len(examples) - len(kept)
    if dropped and config.too_long == "refuse":
        longest = max(examples, key=lambda example: example.tokens)
        raise DataError(
            f"{dropped} of {len(examples)} rows are longer than {most} tokens (problem "
            f"{longest.problem!r} has {longest.tokens}); set too_long=drop to leave them out"
        )
    return kept, dropped


def _load_dtype(config: TrainConfig, device: torch.device) -> str:
    """float32 for what is trained; a backbone that is frozen anyway is held in the type that it runs in."""
    frozen = config.lora_rank > 0 or config.freeze == "backbone"
    return resolve_precision(config.precision, device) if frozen else "float32"


def _stored_dtype(folder: str) -> torch.dtype:
    """The type that the base is stored in: exported weights have it too."""
    named = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False).dtype
    if named is None or isinstance(named, torch.dtype):
        return named or torch.float32
    return getattr(torch, str(named).removeprefix("torch."))
