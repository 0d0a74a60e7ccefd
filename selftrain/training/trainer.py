"""The training loop: steps, checkpoints, metrics, evaluation.

Contract: what a step does is a function of the weights, the moments, the step's number and the frozen config:
the batch comes from a seeded order, dropout from a seed derived of step and pass. So a run that was killed
and goes on from its checkpoint ends with the same weights bit for bit (same machine, threads and number of
processes) as one that was not. `run` polls `stop` between steps and leaves a checkpoint behind, wherever it
stops.

Metrics: a line every `log_every` steps and one an evaluation, the first at step 0 before anything was
trained. The figures of a line are of that step's batch, as the weights were before the step; ``held_out`` are
those of the held-out problems behind it. Lines behind the checkpoint are taken away when a run goes on.

It does not read data, load models or export them: that is `session`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from prm.training.batches import Order
from prm.training.optimizer import make_optimizer, rate, set_rate
from prm.training.processes import Processes
from prm.training.state import load_state, save_state
from prm.training.trainer import Progress
from selftrain.training.config import shared_settings
from selftrain.training.figures import as_json
from selftrain.training.metrics import Metrics
from selftrain.training.passes import LOSS, TOKENS, add_gradients, evaluate
from selftrain.training.policy import PackedPolicy
from selftrain.training.sharding import load_sharded, save_sharded, whole
from selftrain.training.split import Split, as_example

CHECKPOINT = "checkpoint.safetensors"


class Trainer:
    """One run in the folder `out`; goes on from its checkpoint where there is one. See the module."""

    def __init__(self, policy: PackedPolicy, split: Split, out: Path, processes: Processes) -> None:
        self.policy, self.split, self.out, self.processes = policy, split, out, processes
        self.config = policy.config
        self._settings = shared_settings(self.config)
        self.order = Order([as_example(item) for item in split.train], self._settings)
        self.parameters = policy.trainable()
        self.optimizer = make_optimizer(self.parameters, self._settings)
        self.metrics = Metrics(out, self.config, writes=processes.is_first)
        self.step = self.tokens = 0
        self.seconds = 0.0
        self.before: dict[str, float] | None = None
        """Held-out figures before the first step; None without held-out problems."""
        if (out / CHECKPOINT).exists():
            self._take_up()

    @property
    def finished(self) -> bool:
        """Whether the last step is done."""
        return self.step >= self.order.steps

    def run(
        self, on_progress: Callable[[Progress], None] | None = None, stop: Callable[[], bool] | None = None
    ) -> bool:
        """Train until the end, or until `stop` says so after a step; returns whether the end was reached."""
        saved = self.step if (self.out / CHECKPOINT).exists() else -1
        if saved < 0 and self.split.held_out:
            self.before = self.held_out()
            self.metrics.write({"step": 0, "held_out": self.before})
        with torch.random.fork_rng([self.policy.device] if self.policy.device.type == "cuda" else []):
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

    def held_out(self) -> dict[str, float]:
        """Loss and figures on the held-out problems, with the weights as they are."""
        seen = evaluate(self.policy, self.split.held_out, self.processes)
        return {"loss": float(seen[LOSS])} | as_json(seen[2:])

    def save(self) -> None:
        """Write a checkpoint of this moment, between two steps."""
        path, position = self.out / CHECKPOINT, self._position()
        if self.config.shard == "fsdp":
            save_sharded(path, self.parameters, self.optimizer, position, self.processes)
        elif self.processes.is_first:
            save_state(path, self.parameters, self.optimizer, position)
        self.processes.wait()

    def _one_step(self) -> Progress:
        started = time.perf_counter()
        seen, norm = self._update()
        self.tokens += int(seen[TOKENS])
        self.step += 1
        found = self.held_out() if self._is_due() else None
        took = time.perf_counter() - started
        self.seconds += took
        if self.step % self.config.log_every == 0 or found is not None:
            line = {
                "step": self.step,
                "loss": float(seen[LOSS]),
                **as_json(seen[2:]),
                "gradient_norm": norm,
                "rate": self.optimizer.param_groups[0]["lr"],
                "tokens": self.tokens,
                "tokens_per_s": round(float(seen[TOKENS]) / took, 1),
                "seconds": round(self.seconds, 2),
            }
            self.metrics.write(line if found is None else line | {"held_out": found})
        return Progress(
            step=self.step,
            steps=self.order.steps,
            tokens=self.tokens,
            seconds=self.seconds,
            loss=float(seen[LOSS]),
            evaluation=found,
        )

    def _update(self) -> tuple[Tensor, float]:
        """One optimizer step; returns what is seen of the batch and the norm of its gradient."""
        items = [self.split.train[index] for index in self.order.batch(self.step)]
        seen = add_gradients(self.policy, self.parameters, items, self.processes, step=self.step)
        norm = whole(clip_grad_norm_(self.parameters.values(), self.config.clip))
        set_rate(self.optimizer, rate(self.step, self.order.steps, self._settings))
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return seen, float(norm)

    def _is_due(self) -> bool:
        every = self.config.evaluate_every or self.order.steps_an_epoch
        return bool(self.split.held_out) and self.step % every == 0 and not self.finished

    def _stops(self, stop: Callable[[], bool] | None) -> bool:
        """Whether any process was asked to stop; all of them agree."""
        asked = torch.tensor([float(stop is not None and stop())], device=self.processes.device)
        self.processes.add_up([asked])
        return bool(asked.item() > 0)

    def _position(self) -> dict[str, Any]:
        return {"step": self.step, "tokens": self.tokens, "seconds": self.seconds, "before": self.before}

    def _take_up(self) -> None:
        load = load_sharded if self.config.shard == "fsdp" else load_state
        position = load(self.out / CHECKPOINT, self.parameters, self.optimizer)
        self.step, self.tokens = position["step"], position["tokens"]
        self.seconds, self.before = position["seconds"], position["before"]
        self.metrics.cut(self.step)
