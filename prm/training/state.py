"""The resumable state of a run as one safetensors file, replaced at once.

Contract: `save_state` writes weights, both moments and the step counts of AdamW as tensors, and the position
(any JSON) in the file's metadata; it goes to a file beside, reaches the disk, and takes its name, so a kill
at any point leaves the old checkpoint or the new. `load_state` restores all of it bit for bit. No random
state is kept: every draw derives from the seed and the step (`batches`, `trainer`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tasks.errors import DataError

_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


def save_tensors(path: Path, tensors: Mapping[str, Tensor], position: Mapping[str, Any]) -> None:
    """Replace the file `path` by `tensors` and `position`."""
    beside = path.with_name(path.name + ".new")
    ready = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(ready, beside, metadata={"position": json.dumps(position)})
    with beside.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(beside, path)


def read_position(path: Path) -> dict[str, Any]:
    """The position of a file that `save_tensors` wrote; `DataError` for another file."""
    try:
        with safe_open(path, framework="pt") as file:  # type: ignore[no-untyped-call]
            return json.loads((file.metadata() or {})["position"])
    except (KeyError, ValueError, OSError, SafetensorError) as error:
        raise DataError(f"{path}: not a training checkpoint ({error}); remove it to start anew") from error


def save_state(
    path: Path,
    parameters: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    position: Mapping[str, Any],
) -> None:
    """Write a checkpoint."""
    tensors: dict[str, Tensor] = {}
    for name, parameter in parameters.items():
        tensors[f"weight/{name}"] = parameter
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{key}/{name}"] = value
    save_tensors(path, tensors, position)


def load_state(
    path: Path, parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """Take up a checkpoint and return its position; `DataError` if it is of another model."""
    position = read_position(path)
    tensors = load_file(path)
    load_weights(path, tensors, parameters)
    for name, parameter in parameters.items():
        found = {key: tensors[f"{key}/{name}"] for key in _MOMENTS if f"{key}/{name}" in tensors}
        if found:
            moments = {key: found[key].to(parameter.device) for key in ("exp_avg", "exp_avg_sq")}
            optimizer.state[parameter] = {"step": found["step"], **moments}
    return position


def load_weights(path: Path, tensors: Mapping[str, Tensor], parameters: Mapping[str, nn.Parameter]) -> None:
    """Copy the weights among `tensors` into `parameters`; `DataError` unless names and shapes agree."""
    with torch.no_grad():
        for name, parameter in parameters.items():
            found = tensors.get(f"weight/{name}")
            if found is None or found.shape != parameter.shape:
                raise DataError(f"{path}: holds no weight {name!r} of shape {tuple(parameter.shape)}")
            parameter.copy_(found)
