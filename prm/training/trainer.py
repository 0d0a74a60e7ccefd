"""The training loop: steps, checkpoints, metrics, evaluation, early stopping.

Contract: what a step does is a function of the weights, the moments, the step's number and the frozen config:
the batch comes from `batches.Order`, dropout from a seed derived of step and pass. So a run that was killed
and goes on from its checkpoint ends with the same weights bit for bit (same machine, threads and number of
processes) as one that was not. `run` polls `stop` between steps and leaves a checkpoint behind, wherever it
stops.

Files: `checkpoint.safetensors` (`state`), `best.safetensors` (weights that held-out figures chose), and
`metrics.jsonl` (a line every `log_every` steps and one an evaluation; lines behind the checkpoint are taken
away when a run goes on).

It does not read data, load models or export them: that is `session`.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from prm.training.batches import Batch, Order, passes, to_device
from prm.training.config import TrainConfig
from prm.training.heads import HEADS
from prm.training.heldout import evaluate
from prm.training.model import TrainedModel
from prm.training.objectives import batch_loss, member_totals, member_weights
from prm.training.optimizer import make_optimizer, rate, set_rate
from prm.training.processes import Processes
from prm.training.split import Split
from prm.training.state import load_state, load_weights, save_state, save_tensors
from treesearch.atomic import write_text
from treesearch.seeds import derive

CHECKPOINT = "checkpoint.safetensors"
BEST = "best.safetensors"
METRICS = "metrics.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a run is: steps done of all, tokens and seconds so far, the newest loss and evaluation."""

    step: int
    steps: int
    tokens: int
    seconds: float
    loss: float
    evaluation: Mapping[str, Any] | None = None


class Trainer:
    """One run in the folder `out`; goes on from its checkpoint where there is one. See the module."""

    def __init__(self, model: TrainedModel, split: Split, out: Path, processes: Processes) -> None:
        self.model, self.split, self.out, self.processes = model, split, out, processes
        self.config: TrainConfig = model.config
        self.order = Order(split.train, self.config)
        self.parameters = model.trainable()
        self.optimizer = make_optimizer(self.parameters, self.config)
        self._members = member_weights([example.problem for example in split.train], self.config)
        self.step = self.tokens = 0
        self.seconds = 0.0
        self.best: dict[str, Any] | None = None
        self.waited = 0
        if (out / CHECKPOINT).exists():
            self._take_up()

    @property
    def finished(self) -> bool:
        """Whether the last step is done, or training was stopped early by `patience`."""
        return self.step >= self.order.steps or 0 < self.config.patience <= self.waited

    def run(
        self, on_progress: Callable[[Progress], None] | None = None, stop: Callable[[], bool] | None = None
    ) -> bool:
        """Train until the end, or until `stop` says so after a step; returns whether the end was reached."""
        saved = self.step if (self.out / CHECKPOINT).exists() else -1
        with torch.random.fork_rng([self.model.device] if self.model.device.type == "cuda" else []):
            while not self.finished and not self._stops(stop):
                progress = self._one_step()
                if on_progress is not None:
                    on_progress(progress)
                if self.step % self.config.checkpoint_every == 0:
                    self.save()
                    saved = self.step
        if saved != self.step:
            self.save()
        return self.finished

    def save(self) -> None:
        """Write a checkpoint of this moment, between two steps."""
        if self.processes.is_first:
            save_state(self.out / CHECKPOINT, self.parameters, self.optimizer, self._position())
        self.processes.wait()

    def choose_weights(self) -> None:
        """Take the weights that `select` chose: the best ones, or those of the last step."""
        if self.config.select != "last" and (self.out / BEST).exists():
            from safetensors.torch import load_file

            load_weights(self.out / BEST, load_file(self.out / BEST), self.parameters)

    def _one_step(self) -> Progress:
        started = time.perf_counter()
        loss, tokens, norm = self._update()
        self.tokens += tokens
        self.step += 1
        found = self._evaluate() if self._is_due() else None
        self.seconds += time.perf_counter() - started
        if self.step % self.config.log_every == 0 or found is not None:
            line = {"step": self.step, "tokens": self.tokens, "seconds": round(self.seconds, 2), "loss": loss}
            line |= {"gradient_norm": norm, "rate": self.optimizer.param_groups[0]["lr"]}
            self._write_line(line if found is None else line | {"held_out": found})
        return Progress(
            step=self.step,
            steps=self.order.steps,
            tokens=self.tokens,
            seconds=self.seconds,
            loss=loss,
            evaluation=found,
        )

    def _update(self) -> tuple[float, int, float]:
        """One optimizer step; returns the batch's loss, its tokens and the norm of its gradient."""
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
        self._share_gradients(sums)
        norm = clip_grad_norm_(self.parameters.values(), self.config.clip)
        set_rate(self.optimizer, rate(self.step, self.order.steps, self.config))
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return float(sums[0]), int(sums[1]), float(norm)

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

    def _share_gradients(self, sums: Tensor) -> None:
        """Sum gradients and figures over the processes; parameters without a gradient get zeros there."""
        if self.processes.count == 1:
            return
        gradients: list[Tensor] = []
        for parameter in self.parameters.values():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
        shared = sums.to(self.processes.device)
        self.processes.add_up([*gradients, shared])
        sums.copy_(shared)

    def _is_due(self) -> bool:
        every = self.config.evaluate_every or self.order.steps_an_epoch
        return bool(self.split.tune) and (self.step % every == 0 or self.step >= self.order.steps)

    def _evaluate(self) -> dict[str, Any]:
        """Held-out figures; keeps the weights if they are the best so far."""
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

    def _stops(self, stop: Callable[[], bool] | None) -> bool:
        """Whether any process was asked to stop; all of them agree."""
        asked = torch.tensor([float(stop is not None and stop())], device=self.processes.device)
        self.processes.add_up([asked])
        return bool(asked.item() > 0)

    def _position(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "tokens": self.tokens,
            "seconds": self.seconds,
            "best": self.best,
            "waited": self.waited,
        }

    def _take_up(self) -> None:
        position = load_state(self.out / CHECKPOINT, self.parameters, self.optimizer)
        self.step, self.tokens = position["step"], position["tokens"]
        self.seconds, self.best, self.waited = position["seconds"], position["best"], position["waited"]
        self._cut_metrics()

    def _cut_metrics(self) -> None:
        path = self.out / METRICS
        if self.processes.is_first and path.exists():
            lines = [line for line in path.read_text().splitlines() if line.endswith("}")]
            kept = [line for line in lines if json.loads(line)["step"] <= self.step]
            write_text(path, "".join(f"{line}\n" for line in kept))

    def _write_line(self, line: Mapping[str, Any]) -> None:
        if self.processes.is_first:
            with (self.out / METRICS).open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
