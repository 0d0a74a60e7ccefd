"""Log-probs of the reference model for log-ratio heads, computed once before the first step.

Contract: the reference is the model as training finds it. Sums that rows bring along are kept; the others are
computed without gradient or dropout and stored beside the run, so that a resumed run, whose weights have
moved, has the same ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from prm.training.batches import passes, to_device
from prm.training.layout import Example
from prm.training.model import TrainedModel
from prm.training.processes import Processes
from prm.training.state import save_tensors
from tasks.errors import DataError

_NAME = "reference_log_probs"


def with_references(
    examples: Sequence[Example], model: TrainedModel, path: Path, processes: Processes
) -> list[Example]:
    """The examples with a reference on every read, from the file `path` or computed and written there."""
    n_reads = sum(len(example.reads) for example in examples)
    if path.exists():
        sums = load_file(path)[_NAME]
        if len(sums) != n_reads:
            raise DataError(f"{path}: holds {len(sums)} reference log-probs, the data has {n_reads} reads")
    else:
        sums = _compute(examples, model, processes)
        if processes.is_first:
            save_tensors(path, {_NAME: sums}, {})
        processes.wait()
    values = iter(sums.tolist())
    return [
        replace(example, reads=tuple(replace(read, reference=next(values)) for read in example.reads))
        for example in examples
    ]


def _compute(examples: Sequence[Example], model: TrainedModel, processes: Processes) -> Tensor:
    """Sums ``[reads]`` in the order of the examples and their reads, in float64: stored ones stay exact."""
    lacking = [
        index for index, example in enumerate(examples) if any(one.reference is None for one in example.reads)
    ]
    found: list[tuple[int, list[float]]] = []
    model.train_mode(False)
    with torch.no_grad():
        chosen = [examples[index] for index in lacking]
        for batch in processes.mine(passes(chosen, model.config) if chosen else []):
            outputs = model.outputs(to_device(batch, model.device))[:, 0].tolist()
            of_example: dict[int, list[float]] = {}
            for owner, value in zip(batch.example.tolist(), outputs, strict=True):
                of_example.setdefault(lacking[owner], []).append(value)
            found.extend(of_example.items())
    computed = dict(processes.gather(found))
    sums = [
        value if read.reference is None else read.reference
        for index, example in enumerate(examples)
        for read, value in zip(example.reads, computed.get(index, [0.0] * len(example.reads)), strict=True)
    ]
    return torch.tensor(sums, dtype=torch.float64)
