"""One process or several: who computes what, and how gradients meet.

Contract: every process holds the whole model and takes every n-th forward pass of a batch; gradients are
summed, which with losses already divided by the batch's weights is the gradient of one process. Only the
first writes files. Several processes are started by `accelerate launch` (or torchrun); without them
accelerate is not needed.

It does not shard weights or moments: a model that does not fit one device needs LoRA, or another trainer.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from tasks.errors import MissingPrerequisiteError

T = TypeVar("T")


class Processes:
    """This process among all; `rank` from 0, `count` >= 1."""

    rank = 0
    count = 1

    def __init__(self, device: torch.device) -> None:
        self.device = device

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def mine(self, work: Sequence[T]) -> list[T]:
        """The share of `work` that this process does."""
        return list(work[self.rank :: self.count])

    def add_up(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its sum over the processes."""

    def total(self, figures: Tensor) -> Tensor:
        """The sum of a CPU tensor of figures over the processes, on the CPU."""
        if self.count == 1:
            return figures
        shared = figures.to(self.device)
        self.add_up([shared])
        return shared.cpu()

    def add_up_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sum gradients over the processes; a parameter that this process has none of gets zeros there."""
        if self.count == 1:
            return
        gradients: list[Tensor] = []
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
        self.add_up(gradients)

    def gather(self, found: list[T]) -> list[T]:
        """What all processes found, in the order of their ranks."""
        return found

    def wait(self) -> None:
        """Until all processes are here."""


class _Several(Processes):
    """Several processes, through accelerate."""

    def __init__(self) -> None:
        try:
            from accelerate import PartialState
        except ImportError as error:
            raise MissingPrerequisiteError(
                "several processes need accelerate: pip install accelerate"
            ) from error
        use_cpu = not torch.cuda.is_available()
        self._state: Any = PartialState(cpu=use_cpu)
        super().__init__(self._state.device)
        self.rank = int(self._state.process_index)
        self.count = int(self._state.num_processes)

    def add_up(self, tensors: Iterable[Tensor]) -> None:
        from accelerate.utils import reduce

        for tensor in tensors:
            tensor.copy_(reduce(tensor, reduction="sum"))  # type: ignore[arg-type]

    def gather(self, found: list[T]) -> list[T]:
        from accelerate.utils import gather_object

        return gather_object(found)

    def wait(self) -> None:
        self._state.wait_for_everyone()


def open_processes(device: torch.device) -> Processes:
    """One process on `device`, or, where a launcher started several, this one of them on its own device."""
    return _Several() if int(os.environ.get("WORLD_SIZE", "1")) > 1 else Processes(device)
