"""A run of policy training from trees and a base model to an exported policy, in one folder.

    out/run.json                  base, data and config of the run (`prm.training.folder`)
    out/reference.safetensors     log-probs of the base, for objectives that compare with it
    out/checkpoint.safetensors    where training is
    out/metrics.jsonl             a line every few steps
    out/model/                    the trained policy, as an ordinary Hugging Face folder
    out/adapter/                  with LoRA: the adapter
    out/summary.json              figures before and after, what was kept and dropped, seconds

Contract: `train` on a folder that holds a run goes on with it, and does nothing more than return the summary
if it is finished. A run of another base, other data or another config is refused, and the error says what
differs; settings that change only speed, memory, or what is shown may change. Data and settings that are
refused leave no run behind.

It does not read files of trees, decide what is learned from (`selection`) or what a step does (`trainer`).
"""

from __future__ import annotations

import atexit
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from prm.training.folder import FREE as SHARED_FREE
from prm.training.folder import Outcome, base_folder, claimed, describe, finish, finished
from prm.training.loop import Progress
from prm.training.precision import resolve_precision
from prm.training.processes import Processes, open_processes
from selftrain.data.record import TrainingTree
from selftrain.training.config import TrainConfig
from selftrain.training.export import export, round_weights
from selftrain.training.objectives import objective_of, reference_of
from selftrain.training.policy import PackedPolicy
from selftrain.training.reads import tokens_of
from selftrain.training.references import with_references
from selftrain.training.selection import select
from selftrain.training.sharding import shard
from selftrain.training.split import Split, split_items
from selftrain.training.trainer import Trainer
from selftrain.training.units import make_item
from treesearch.engines.hf_load import choose_device, load

FREE = SHARED_FREE | {"attention", "evaluate_every", "gradient_checkpointing", "pass_tokens", "shard"}
"""Settings that may change when a run goes on. What changes speed or memory changes weights by rounding."""


def train(
    trees: Sequence[TrainingTree],
    *,
    base: str,
    out: Path,
    config: TrainConfig | None = None,
    source: str | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Outcome:
    """Train a policy on `trees` and export it, or go on with the run in `out`.

    `base` is `embedded`, a model folder or a hub id. `source` is noted as the place of the trees. `stop` is
    asked between steps; where it says so, a checkpoint is left. Raises `UsageError` for settings that do not
    fit the objective and for a run that differs from the one in `out`, `DataError` for trees that cannot be
    trained on.
    """
    chosen = config or TrainConfig()
    objective_of(chosen)
    processes = open_processes(choose_device(chosen.device))
    if processes.count > 1:
        _leave_at_exit()
    folder = base_folder(base)
    data = {"source": source, "trees": len(trees), "sha256": _hash_of(trees)}
    described = describe(base, folder, data, asdict(chosen))
    before = finished(out, described, free=FREE)
    if before is not None:
        return before
    policy, tokenizer = _open(folder, chosen, processes)
    found = select(trees, chosen, context=policy.context, vocabulary=policy.vocabulary)
    split = split_items([make_item(tree) for tree in found.trees], holdout=chosen.holdout, seed=chosen.seed)
    with claimed(out, described, processes):
        trainer = Trainer(policy, _compared(split, policy, out, processes), out, processes)
        if not trainer.run(on_progress, stop):
            trainer.metrics.close()
            return Outcome(out=out, finished=False, summary=None)
        longest = _longest_solution(found.trees)
        summary = _finish(trainer, tokenizer, base, folder, longest) | {"counts": found.counts}
        return finish(out, summary, processes)


@cache
def _leave_at_exit() -> None:
    """Leave the group of processes when the interpreter ends, as torch asks a program to do."""
    atexit.register(lambda: torch.distributed.is_initialized() and torch.distributed.destroy_process_group())


def _open(folder: str, config: TrainConfig, processes: Processes) -> tuple[PackedPolicy, Any]:
    """The policy on its device, and the tokenizer.

    What is trained is float32; a frozen base is held in the type that it runs in. A model that is sharded is
    loaded on the CPU, and its layers go to the device one by one.
    """
    sharded = config.shard == "fsdp"
    model, tokenizer = load(
        folder,
        device="cpu" if sharded else str(processes.device),
        dtype=resolve_precision(config.precision, processes.device) if config.lora_rank else "float32",
    )
    policy = PackedPolicy(model, config, processes.device)
    if sharded:
        shard(policy, processes)
    return policy, tokenizer


def _compared(split: Split, policy: PackedPolicy, out: Path, processes: Processes) -> Split:
    """The split with the reference's log-probs on its items."""
    items = with_references((*split.train, *split.held_out), policy, out, processes)
    count = len(split.train)
    return Split(train=tuple(items[:count]), held_out=tuple(items[count:]))


def _longest_solution(trees: Sequence[TrainingTree]) -> int:
    """Tokens of the longest trace, without its prompt."""
    return max(
        (tokens_of(one, one.tree.path(trace.node)[1:]) for one in trees for trace in one.traces), default=0
    )


def _finish(trainer: Trainer, tokenizer: Any, base: str, folder: str, longest: int) -> dict[str, Any]:
    """Measure what is written, write it, and sum up."""
    config, split, processes = trainer.config, trainer.split, trainer.processes
    round_weights(trainer.policy, folder)
    after = trainer.held_out() if split.held_out else None
    if after is not None:
        trainer.metrics.write({"step": trainer.step, "held_out": after})
    trainer.metrics.close()
    return {
        "objective": config.objective,
        "reference": reference_of(config),
        "base": base,
        "steps": trainer.step,
        "tokens": trainer.tokens,
        "seconds": round(trainer.seconds, 1),
        "trees": {"train": len(split.train), "held_out": len(split.held_out)},
        "held_out": None if after is None else {"before": trainer.before, "after": after},
        "models": export(
            trainer.policy,
            tokenizer,
            base=folder,
            out=trainer.out,
            longest=longest,
            writes=processes.is_first,
        ),
    }


def _hash_of(trees: Sequence[TrainingTree]) -> str:
    """SHA-256 of all that training reads of the trees."""
    digest = hashlib.sha256()
    for tree in trees:
        read = (tree.problem, tree.tree, tree.traces, tree.pairs, tree.advantages)
        digest.update(json.dumps(read, default=_as_dict).encode() + b"\n")
    return digest.hexdigest()


def _as_dict(record: Any) -> dict[str, Any]:
    if not is_dataclass(record):
        raise TypeError(f"{type(record).__name__} is no record of training data")
    return {field.name: getattr(record, field.name) for field in fields(record)}
