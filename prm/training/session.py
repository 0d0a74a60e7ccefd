"""A training run from rows and a base model to an exported checkpoint, in one folder.

    out/run.json                  base, data and config of the run, with hashes and versions
    out/checkpoint.safetensors    where training is
    out/best.safetensors          the weights that held-out figures chose, with `select`
    out/reference.safetensors     log-probs of the reference, for log-ratio heads
    out/metrics.jsonl             a line every few steps
    out/model/                    the trained model (`prm.checkpoint`); model-0, ... for several adapters
    out/summary.json              held-out figures before and after calibration, counts, seconds

Contract: `train` on a folder that holds a run goes on with it, and does nothing more than return the summary
if it is finished. A run of another base, other rows or another config is refused, and the error says what
differs. Data with rows that the model cannot hold is refused or dropped as the config says, and what was
dropped is counted.

It does not read files of rows (`rows`) or decide what a step does (`trainer`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
import transformers

from prm.training.config import TrainConfig
from prm.training.export import export
from prm.training.heads import HEADS, head_of, pair_examples, step_examples
from prm.training.layout import Example, Layout
from prm.training.model import TrainedModel
from prm.training.precision import resolve_precision
from prm.training.processes import Processes, open_processes
from prm.training.references import with_references
from prm.training.rows import PairRow, StepRow
from prm.training.split import Split, split_by_problem
from prm.training.trainer import Progress, Trainer
from tasks.errors import DataError, UsageError
from treesearch.atomic import write_json
from treesearch.engines.hf_load import choose_device, load, weights_hash
from treesearch.policies import resolve_model

RUN = "run.json"
SUMMARY = "summary.json"
REFERENCE = "reference.safetensors"
_SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a call of `train` came to: `summary` is None where it was stopped before the end."""

    out: Path
    finished: bool
    summary: Mapping[str, Any] | None


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
    folder = resolve_model(base)
    run = {"base": {"model": base, "weights": weights_hash(folder)}} | _describe(rows, chosen, source)
    _claim(out, run, processes)
    if (out / SUMMARY).exists():
        return Outcome(out=out, finished=True, summary=json.loads((out / SUMMARY).read_text()))
    language_model, tokenizer = load(
        folder, device=str(processes.device), dtype=_load_dtype(chosen, processes.device)
    )
    model = TrainedModel(language_model, tokenizer, chosen, processes.device)
    split, dropped = _split(rows, model, tokenizer, out, processes)
    trainer = Trainer(model, split, out, processes)
    if not trainer.run(on_progress, stop):
        return Outcome(out=out, finished=False, summary=None)
    trainer.choose_weights()
    summary = export(trainer, tokenizer, base=base, dtype=_stored_dtype(folder)) | {"dropped_rows": dropped}
    if processes.is_first:
        write_json(out / SUMMARY, summary)
    processes.wait()
    return Outcome(out=out, finished=True, summary=summary)


def read_run(out: Path) -> dict[str, Any] | None:
    """What `run.json` of a folder says; None without one, `DataError` if it is not a run's."""
    path = out / RUN
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["schema"] != _SCHEMA:
            raise DataError(f"{path}: schema {found['schema']!r}, this version reads {_SCHEMA}")
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a training run ({error})") from error
    return found


def _describe(
    rows: Sequence[StepRow] | Sequence[PairRow], config: TrainConfig, source: str | None
) -> dict[str, Any]:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(asdict(row), sort_keys=True).encode() + b"\n")
    return {
        "schema": _SCHEMA,
        "data": {"source": source, "rows": len(rows), "sha256": digest.hexdigest()},
        "config": asdict(config),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }


def _claim(out: Path, run: Mapping[str, Any], processes: Processes) -> None:
    """Write `run.json`, or refuse a folder whose run is another one."""
    before = read_run(out)
    if before is not None:
        differs = [
            f"{name} is {_value(before, path)!r} there and {_value(run, path)!r} here"
            for name, path in _identity(run, before)
            if _value(before, path) != _value(run, path)
        ]
        if differs:
            raise UsageError(f"{out} holds another training run: {'; '.join(differs)}; give another folder")
    elif processes.is_first:
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / RUN, run)
    processes.wait()


def _identity(*runs: Mapping[str, Any]) -> list[tuple[str, tuple[str, ...]]]:
    """What must be the same for a run to go on; speed settings and the device may change."""
    free = {"device", "log_every", "checkpoint_every"}
    names = dict.fromkeys(name for run in runs for name in run["config"] if name not in free)
    fixed = [("base weights", ("base", "weights")), ("data", ("data", "sha256"))]
    return fixed + [(name, ("config", name)) for name in names]


def _value(run: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = run
    for name in path:
        value = value.get(name)
    return value


def _check_rows(rows: Sequence[StepRow] | Sequence[PairRow], config: TrainConfig) -> None:
    wanted = StepRow if HEADS[config.head].data == "steps" else PairRow
    for number, row in enumerate(rows, start=1):
        if type(row) is not wanted:
            raise UsageError(
                f"head {config.head!r} learns from {wanted.__name__}, row {number} is a {type(row).__name__}"
            )


def _split(
    rows: Sequence[StepRow] | Sequence[PairRow],
    model: TrainedModel,
    tokenizer: Any,
    out: Path,
    processes: Processes,
) -> tuple[Split, int]:
    """The examples of each side, and how many were too long and dropped."""
    config = model.config
    head = HEADS[config.head]
    layout = Layout(tokenizer, keep_ends=head.reads == "ratio")
    if head.data == "steps":
        examples = step_examples(cast("Sequence[StepRow]", rows), config, layout)
    else:
        examples = pair_examples(cast("Sequence[PairRow]", rows), config, layout)
    kept, dropped = _fitting(examples, config, model.context)
    if not kept:
        raise DataError(f"none of {len(rows)} rows has a label to learn from and fits the model")
    if head.reads == "ratio":
        kept = with_references(kept, model, out / REFERENCE, processes)
    return split_by_problem(kept, holdout=config.holdout, seed=config.seed), dropped


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
