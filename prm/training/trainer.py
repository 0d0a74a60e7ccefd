"""The training of a reward model: what a step learns from, evaluation, choice of weights, early stopping.

Contract: steps, checkpoints and metrics are those of `loop`. Besides them the run's folder gets
`best.safetensors`, the weights that held-out figures chose.

It does not read data, load models or export them: that is `session`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from prm.training.batches import Batch, passes, to_device
from prm.training.config import TrainConfig
from prm.training.heads import HEADS
from prm.training.heldout import evaluate
from prm.training.loop import Loop, Seen
from prm.training.model import TrainedModel
from prm.training.objectives import batch_loss, member_totals, member_weights
from prm.training.processes import Processes
from prm.training.split import Split
from prm.training.state import load_weights, save_tensors
from treesearch.seeds import derive

BEST = "best.safetensors"


class Trainer(Loop):
    """One run in the folder `out`; goes on from its checkpoint where there is one. See the module."""

    def __init__(self, model: TrainedModel, split: Split, out: Path, processes: Processes) -> None:
        self.model, self.split = model, split
        self.config: TrainConfig = model.config
        super().__init__(
            out,
            self.config,
            examples=split.train,
            parameters=model.trainable(),
            shown=asdict(self.config),
            processes=processes,
        )
        self._members = member_weights([example.problem for example in split.train], self.config)
        self.best: dict[str, Any] | None = None
        self.waited = 0
        self._take_up()

    @property
    def finished(self) -> bool:
        """Whether the last step is done, or training was stopped early by `patience`."""
        return super().finished or 0 < self.config.patience <= self.waited

    def choose_weights(self) -> None:
        """Take the weights that `select` chose: the best ones, or those of the last step."""
        if self.config.select != "last" and (self.out / BEST).exists():
            from safetensors.torch import load_file

            load_weights(self.out / BEST, load_file(self.out / BEST), self.parameters)

    def _add_gradients(self) -> Seen:
        indices = self.order.batch(self.step)
        chosen = [self.split.train[index] for index in indices]
        members = self._members[indices]
        totals = member_totals(chosen, members, self.config)
        self.model.train_mode(True)
        work = list(enumerate(passes(chosen, self.config)))
        sums = torch.zeros(2, dtype=torch.float64)
        for number, batch in self.processes.mine(work):
            sums[0] += self._backward(number, batch, members, totals)
            sums[1] += batch.tokens
        self.processes.add_up_gradients(self.parameters.values())
        loss, tokens = self.processes.total(sums).tolist()
        return Seen(loss=loss, tokens=int(tokens))

    def _backward(self, number: int, batch: Batch, members: Tensor, totals: Tensor) -> float:
        """Gradients of one pass, each adapter in turn; returns the pass's part of the loss."""
        device, heads = self.model.device, self.config.members
        on_device = to_device(batch, device)
        total = 0.0
        for adapter in range(self.config.adapters):
            torch.manual_seed(derive(self.config.seed, "noise", self.step, number, adapter))
            outputs = self.model.outputs(on_device, adapter)
            if HEADS[self.config.head].reads == "ratio":
                outputs = outputs - on_device.references[:, None]
            of = slice(adapter * heads, (adapter + 1) * heads)
            loss = batch_loss(
                outputs, on_device, members[:, of].to(device), totals[of].to(device), self.config
            )
            loss.backward()
            total += float(loss.detach())
        return total

    def _evaluate(self) -> dict[str, Any] | None:
        """Held-out figures, where they are due; keeps the weights if they are the best so far."""
        if not self._is_due():
            return None
        found = evaluate(self.model, self.split.tune, self.processes).metrics()
        select = self.config.select
        if select == "last":
            return found
        value = found[select]
        score = -math.inf if value is None else -value if select == "loss" else value
        if self.best is None or score > self.best["score"]:
            self.best, self.waited = {"step": self.step, "score": score, select: value}, 0
            if self.processes.is_first:
                tensors = {f"weight/{name}": one for name, one in self.parameters.items()}
                save_tensors(self.out / BEST, tensors, self.best)
        else:
            self.waited += 1
        return found

    def _is_due(self) -> bool:
        every = self.config.evaluate_every or self.order.steps_an_epoch
        return bool(self.split.tune) and (self.step % every == 0 or self.step >= self.order.steps)

    def _position(self) -> dict[str, Any]:
        return super()._position() | {"best": self.best, "waited": self.waited}

    def _go_to(self, position: Mapping[str, Any]) -> None:
        super()._go_to(position)
        self.best, self.waited = position["best"], position["waited"]
