"""What the training loops have in common: steps, stops, checkpoints, lines of metrics.

Contract: what a step does is a function of the weights, the moments, the step's number and the frozen config:
the batch comes from `batches.Order`, dropout from a seed derived of step and pass. So a run that was killed
and goes on from its checkpoint ends with the same weights bit for bit (same machine, threads and number of
processes) as one that was not. `run` polls `stop` between steps and leaves a checkpoint behind, wherever it
stops. A step whose gradient is not finite is not taken: `run` raises `UsageError`. The figures of a line of
metrics are of that step's batch, as the weights were before the step; ``held_out`` are those of the held-out
problems behind it.

What a step learns from, and how held-out problems are measured, is the subclass's (`_add_gradients`,
`_evaluate`).
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_

from prm.training.batches import Order
from prm.training.config import TrainConfig
from prm.training.layout import Example
from prm.training.metrics import Metrics
from prm.training.optimizer import make_optimizer, rate, set_rate
from prm.training.processes import Processes
from prm.training.state import load_state, save_state
from tasks.errors import UsageError

CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a run is: steps done of all, tokens and seconds so far, the newest loss and evaluation."""

    step: int
    steps: int
    tokens: int
    seconds: float
    loss: float
    evaluation: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a step saw of its batch: loss, tokens, and other figures by name."""

    loss: float
    tokens: int
    figures: Mapping[str, float] = field(default_factory=dict[str, float])


class Loop(ABC):
    """One run in the folder `out`. See the module.

    A subclass calls `_take_up` at the end of its own start, which goes on from a checkpoint where one is.
    `shown` are the settings that a sink of metrics gets.
    """

    def __init__(
        self,
        out: Path,
        settings: TrainConfig,
        *,
        examples: Sequence[Example],
        parameters: Mapping[str, nn.Parameter],
        shown: Mapping[str, Any],
        processes: Processes,
    ) -> None:
        self.out, self.parameters, self.processes = out, parameters, processes
        self.metrics = Metrics(
            out,
            writes=processes.is_first,
            sink=settings.sink,
            project=settings.sink_project,
            settings=shown,
        )
        self.order = Order(examples, settings)
        self.optimizer = make_optimizer(parameters, settings)
        self.step = self.tokens = 0
        self.seconds = 0.0
        self._settings = settings

    @property
    def finished(self) -> bool:
        """Whether the last step is done."""
        return self.step >= self.order.steps

    def run(
        self, on_progress: Callable[[Progress], None] | None = None, stop: Callable[[], bool] | None = None
    ) -> bool:
        """Train until the end, or until `stop` says so after a step; returns whether the end was reached."""
        saved = self.step if (self.out / CHECKPOINT).exists() else -1
        if saved < 0:
            self._begin()
        device = self.processes.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            while not self.finished and not self._stops(stop):
                progress = self._one_step()
                if on_progress is not None:
                    on_progress(progress)
                if self.step % self._settings.checkpoint_every == 0:
                    self.save()
                    saved = self.step
        if saved != self.step:
            self.save()
        return self.finished

    def save(self) -> None:
        """Write a checkpoint of this moment, between two steps."""
        self._write(self.out / CHECKPOINT, self._position())
        self.processes.wait()

    @abstractmethod
    def _add_gradients(self) -> Seen:
        """Add the gradient of the batch of the step `step`, over all processes, to the parameters."""

    @abstractmethod
    def _evaluate(self) -> Mapping[str, Any] | None:
        """Held-out figures behind the step just done, where they are due."""

    def _clip(self) -> float:
        """Hold the gradient's norm to the settings' `clip`; returns what it was."""
        return float(clip_grad_norm_(self.parameters.values(), self._settings.clip))

    def _begin(self) -> None:
        """Before the first step: the lines of a run that was killed before a checkpoint are taken away."""
        self.metrics.cut(-1)

    def _position(self) -> dict[str, Any]:
        """What a checkpoint says besides weights and moments (any JSON)."""
        return {"step": self.step, "tokens": self.tokens, "seconds": self.seconds}

    def _go_to(self, position: Mapping[str, Any]) -> None:
        """Be where a checkpoint's position says."""
        self.step, self.tokens, self.seconds = position["step"], position["tokens"], position["seconds"]

    def _write(self, path: Path, position: Mapping[str, Any]) -> None:
        if self.processes.is_first:
            save_state(path, self.parameters, self.optimizer, position)

    def _read(self, path: Path) -> dict[str, Any]:
        return load_state(path, self.parameters, self.optimizer)

    def _take_up(self) -> None:
        path = self.out / CHECKPOINT
        if path.exists():
            self._go_to(self._read(path))
            self.metrics.cut(self.step)

    def _one_step(self) -> Progress:
        started = time.perf_counter()
        seen = self._add_gradients()
        norm = self._clip()
        if not math.isfinite(norm):
            raise UsageError(
                f"training diverged: at step {self.step + 1} the loss is {seen.loss:g}, the gradient's norm "
                f"{norm:g}; the weights before it are untouched. Begin in another folder with a lower "
                "learning_rate, and look at the data of that step (log-probs and values must be finite)"
            )
        set_rate(self.optimizer, rate(self.step, self.order.steps, self._settings))
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.tokens += seen.tokens
        self.step += 1
        found = self._evaluate()
        took = time.perf_counter() - started
        self.seconds += took
        if self.step % self._settings.log_every == 0 or found is not None:
            line = {
                "step": self.step,
                "loss": seen.loss,
                **seen.figures,
                "gradient_norm": norm,
                "rate": self.optimizer.param_groups[0]["lr"],
                "tokens": self.tokens,
                "tokens_per_s": round(seen.tokens / took, 1),
                "seconds": round(self.seconds, 2),
            }
            self.metrics.write(line if found is None else line | {"held_out": found})
        return Progress(
            step=self.step,
            steps=self.order.steps,
            tokens=self.tokens,
            seconds=self.seconds,
            loss=seen.loss,
            evaluation=found,
        )

    def _stops(self, stop: Callable[[], bool] | None) -> bool:
        """Whether any process was asked to stop; all of them agree."""
        asked = self.processes.total(torch.tensor([float(stop is not None and stop())]))
        return bool(asked.item() > 0)
