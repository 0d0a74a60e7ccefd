"""Weights, gradients and moments sharded over processes, by FSDP2 of torch.

Contract: `shard` splits every parameter of a policy over all processes, layer by layer; a layer is gathered
when it runs. Every process must then run the same number of passes, forward and backward: `lockstep` pads a
process's work. Passes without a gradient end with `let_go`: else the policy's parameters would be gathered
copies, which get no gradient and whose memory is freed. Checkpoints hold whole tensors, so a run may go on
with another number of processes, sharded or not. `whole` gathers a tensor, and all processes must call it.

Source: Zhao et al. (arXiv 2304.11277).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from prm.training.processes import Processes
from prm.training.state import read_position, save_tensors
from selftrain.packing import Batch
from selftrain.training.policy import PackedPolicy
from tasks.errors import DataError, UsageError

if TYPE_CHECKING:
    from torch.distributed.fsdp import FSDPModule

_MOMENTS = ("exp_avg", "exp_avg_sq")


def shard(policy: PackedPolicy, processes: Processes) -> None:
    """Shard the policy's weights in place; `UsageError` for one process."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    if processes.count == 1:
        raise UsageError(
            "shard=fsdp needs several processes: accelerate launch -m treesearch.cli selftrain train ..."
        )
    mesh = init_device_mesh(processes.device.type, (processes.count,))
    layers = {type(layer) for layer in _layers(policy.language_model)}
    for module in policy.language_model.modules():
        if type(module) in layers:
            fully_shard(module, mesh=mesh)
    fully_shard(policy.scorer, mesh=mesh)


def let_go(policy: PackedPolicy) -> None:
    """Give up the outermost weights, which torch keeps gathered until a backward pass. Whole ones stay."""
    if policy.config.shard == "fsdp":
        cast("FSDPModule", policy.scorer).reshard()


def _layers(model: Any) -> list[nn.Module]:
    """The decoder's layers: the modules that transformers says must not be split."""
    names: set[str] = set(getattr(model, "_no_split_modules", None) or ())
    return [module for module in model.modules() if type(module).__name__ in names]


def whole(tensor: Tensor) -> Tensor:
    """The whole tensor of a sharded one; others as they are."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def lockstep(mine: Sequence[Batch], most: int, filler: Batch) -> list[Batch]:
    """This process's passes and then `filler`, up to the `most` passes that any process has."""
    return [*mine, *[filler] * (most - len(mine))]


def silent(batch: Batch) -> Batch:
    """The same pass, none of whose edges count."""
    return replace(batch, known=torch.zeros_like(batch.known))


def save_sharded(
    path: Path,
    parameters: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    position: Mapping[str, Any],
    processes: Processes,
) -> None:
    """Write a checkpoint as `prm.training.state.save_state` does, of whole tensors; all processes call it."""
    tensors: dict[str, Tensor] = {}
    for name, parameter in parameters.items():
        for key, value in {"weight": parameter, **optimizer.state.get(parameter, {})}.items():
            gathered = whole(value.detach())
            if processes.is_first:
                tensors[f"{key}/{name}"] = gathered.cpu()
    if processes.is_first:
        save_tensors(path, tensors, position)


def load_sharded(
    path: Path, parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """Take up a checkpoint as `prm.training.state.load_state` does; `DataError` if it is of another model."""
    position = read_position(path)
    tensors = load_file(path)
    for name, parameter in parameters.items():
        found = tensors.get(f"weight/{name}")
        if found is None or found.shape != parameter.shape:
            raise DataError(f"{path}: holds no weight {name!r} of shape {tuple(parameter.shape)}")
        with torch.no_grad():
            parameter.copy_(_like(found, parameter))
        if f"step/{name}" in tensors:
            moments = {key: _like(tensors[f"{key}/{name}"], parameter) for key in _MOMENTS}
            optimizer.state[parameter] = {"step": tensors[f"step/{name}"], **moments}
    return position


def _like(tensor: Tensor, parameter: nn.Parameter) -> Tensor:
    """`tensor`, which every process has read, in shards as the parameter's."""
    assert isinstance(parameter, DTensor)
    on_device = tensor.to(parameter.device)
    return distribute_tensor(on_device, parameter.device_mesh, parameter.placements, src_data_rank=None)
