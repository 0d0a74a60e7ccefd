"""The training of a policy: what a step learns from, evaluation, sharded checkpoints.

Contract: steps, checkpoints and metrics are those of `prm.training.loop`. The first line of metrics is at
step 0, before anything was trained.

It does not read data, load models or export them: that is `session`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch.nn.utils import clip_grad_norm_

from prm.training.loop import Loop, Seen
from prm.training.processes import Processes
from selftrain.training.config import shared_settings
from selftrain.training.figures import as_json
from selftrain.training.passes import LOSS, TOKENS, add_gradients, evaluate
from selftrain.training.policy import PackedPolicy
from selftrain.training.sharding import load_sharded, save_sharded, whole
from selftrain.training.split import Split, as_example


class Trainer(Loop):
    """One run in the folder `out`; goes on from its checkpoint where there is one. See the module."""

    def __init__(self, policy: PackedPolicy, split: Split, out: Path, processes: Processes) -> None:
        self.policy, self.split = policy, split
        self.config = policy.config
        super().__init__(
            out,
            shared_settings(self.config),
            examples=[as_example(item) for item in split.train],
            parameters=policy.trainable(),
            shown=asdict(self.config),
            processes=processes,
        )
        self.before: dict[str, float] | None = None
        """Held-out figures before the first step; None without held-out problems."""
        self._take_up()

    def held_out(self) -> dict[str, float]:
        """Loss and figures on the held-out problems, with the weights as they are."""
        seen = evaluate(self.policy, self.split.held_out, self.processes)
        return {"loss": float(seen[LOSS])} | as_json(seen[2:])

    def _begin(self) -> None:
        super()._begin()
        if self.split.held_out:
            self.before = self.held_out()
            self.metrics.write({"step": 0, "held_out": self.before})

    def _add_gradients(self) -> Seen:
        items = [self.split.train[index] for index in self.order.batch(self.step)]
        seen = add_gradients(self.policy, self.parameters, items, self.processes, step=self.step)
        return Seen(loss=float(seen[LOSS]), tokens=int(seen[TOKENS]), figures=as_json(seen[2:]))

    def _clip(self) -> float:
        return float(whole(clip_grad_norm_(self.parameters.values(), self.config.clip)))

    def _evaluate(self) -> dict[str, float] | None:
        """Held-out figures, where they are due; those after the last step are of what is written."""
        every = self.config.evaluate_every or self.order.steps_an_epoch
        due = self.split.held_out and self.step % every == 0 and not self.finished
        return self.held_out() if due else None

    def _position(self) -> dict[str, Any]:
        return super()._position() | {"before": self.before}

    def _go_to(self, position: Mapping[str, Any]) -> None:
        super()._go_to(position)
        self.before = position["before"]

    def _write(self, path: Path, position: Mapping[str, Any]) -> None:
        if self.config.shard == "fsdp":
            save_sharded(path, self.parameters, self.optimizer, position, self.processes)
        else:
            super()._write(path, position)

    def _read(self, path: Path) -> dict[str, Any]:
        if self.config.shard == "fsdp":
            return load_sharded(path, self.parameters, self.optimizer)
        return super()._read(path)
