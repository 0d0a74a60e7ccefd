"""The settings of a training run: one frozen dataclass, which flags, YAML keys and Python arguments come
from.

Contract: every value that changes the trained weights is here, so that two runs with equal configs, bases and
data end with equal weights on the same machine. Which settings belong to which head is in `heads.HEADS`.

Defaults are for a small backbone (the embedded policy); for a model of billions take learning rates of 1e-6
to 2e-5 for full training, about 1e-4 with LoRA, and one or two epochs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Literal

from tasks.errors import UsageError

PrecisionName = Literal["float32", "bfloat16", "auto"]
SinkName = Literal["none", "trackio", "wandb"]

HeadName = Literal[
    "value-bce",
    "value-mse",
    "step",
    "two-token",
    "ranking",
    "pairwise",
    "outcome-bce",
    "outcome-bt",
    "implicit-ce",
    "implicit-dpo",
    "step-dpo",
]


ADAPTER_SETTINGS = frozenset({"lora_alpha", "lora_targets", "lora_dropout", "merge_lora"})


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Settings of a training run; see the module. `UsageError` for values out of range."""

    head: HeadName = "value-bce"
    """What is trained, and by which loss."""
    members: int = 1
    """Linear heads on one backbone, each with its own start and its own bootstrap of the problems."""
    adapters: int = 1
    """LoRA adapters with a head each, an ensemble of different backbones; written as one folder each."""
    bootstrap: bool = True
    """Whether the members of an ensemble weigh the problems by Poisson(1) draws of their own."""
    lora_rank: int = 0
    """Rank of LoRA adapters (package peft); 0 trains the backbone itself."""
    lora_alpha: float = 0.0
    """LoRA's scale times its rank; 0 takes twice the rank."""
    lora_targets: str = "all-linear"
    """Modules that LoRA adapts: all-linear, or names separated by commas."""
    lora_dropout: float = 0.0
    """Share of LoRA's inputs that is dropped in training."""
    freeze: Literal["none", "embeddings", "backbone"] = "none"
    """What of the backbone is not trained."""

    mask_after_error: bool = False
    """Whether steps behind the first error are not trained on."""
    error_at_most: float = 0.0
    """A step whose label is at most this is an error."""
    weight_by_counts: bool = False
    """Whether a step weighs as much as it has roll-outs; then BCE is the likelihood of the counts."""
    token_decay: float | None = None
    """Lambda of TD(lambda) targets for every token of a step, for steering; None reads a step's end alone."""
    right_weight: float = 1.0
    """Class weight of right: a factor of its part of the loss."""
    wrong_weight: float = 1.0
    """Class weight of wrong."""
    smoothing: float = 0.0
    """Label smoothing: a share of the target moved to one half (DPO: the chance that a pair is flipped)."""
    good_token: str = "+"
    """The token whose vocabulary row head `two-token` starts from for right."""
    bad_token: str = "-"
    """The token whose vocabulary row head `two-token` starts from for wrong."""
    beta: float | None = None
    """Scale of log-ratios; None takes 0.05 for implicit heads and 0.1 for step-dpo."""
    zeta: float = 4.0
    """Margin between wrong steps and the origin in head `ranking`."""
    margin: float = 0.0
    """Margin wanted between the two scores of a pair."""
    centring: float = 0.0
    """Weight of the squared sum of a pair's scores, which keeps rewards around 0."""

    epochs: float = 2.0
    """Times that the training rows are gone through; may be a fraction."""
    batch_size: int = 64
    """Rows or pairs an optimizer step, over all processes."""
    microbatch_tokens: int = 8192
    """Padded tokens a forward pass; it changes memory and speed only."""
    pack: bool = False
    """Whether rows of one prompt are stored as a tree, so that shared prefixes are computed once."""
    max_tokens: int = 0
    """Longest row; 0 is the model's context."""
    too_long: Literal["refuse", "drop"] = "refuse"
    """What happens to longer rows; dropped ones are counted."""
    learning_rate: float = 3e-4
    """Highest learning rate of the backbone or the adapters."""
    head_learning_rate: float = 1e-3
    """Highest learning rate of the linear heads."""
    weight_decay: float = 0.01
    """AdamW's decay of matrices; vectors and heads have none."""
    warmup: float = 0.05
    """Share of the steps over which the learning rate rises."""
    decay: Literal["linear", "cosine", "constant"] = "cosine"
    """How the learning rate falls after that, to 0 at the end."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    precision: PrecisionName = "float32"
    """Of the passes; auto is bfloat16 where the device has arithmetic for it, else float32. Weights and
    moments are float32 always."""
    gradient_checkpointing: bool = False
    """Whether activations are computed again in the backward pass: less memory, about a third more time."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    seed: int = 0
    """Root of the order of rows, the starts of heads and adapters, dropout, bootstrap and the split."""

    holdout: float = 0.1
    """Share of the problems held out: one half selects and calibrates, the other is reported on."""
    evaluate_every: int = 0
    """Steps between evaluations; 0 is once an epoch."""
    select: Literal["last", "loss", "auroc", "accuracy"] = "last"
    """Which weights are exported: the last, or the best on the first half of the held-out problems."""
    patience: int = 0
    """Evaluations without a better one after which training stops early; 0 never."""
    calibration: Literal["none", "platt", "isotonic"] = "none"
    """Map from score to probability, fitted on the first half of the held-out problems."""
    checkpoint_every: int = 200
    """Steps between checkpoints."""
    log_every: int = 10
    """Steps between lines of metrics."""
    sink: SinkName = "none"
    """Where metrics go besides metrics.jsonl (package of that name)."""
    sink_project: str = "treesearch"
    """Project that the run belongs to there."""

    def __post_init__(self) -> None:
        positive = ("members", "adapters", "batch_size", "microbatch_tokens", "checkpoint_every", "log_every")
        for name in (*positive, "epochs", "clip", "learning_rate", "head_learning_rate"):
            _check(getattr(self, name) > 0, self, name, "above 0")
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int | float) and field.name != "seed":
                _check(0 <= value < math.inf, self, field.name, "at least 0 and finite")
        if self.beta is not None:
            _check(self.beta > 0, self, "beta", "above 0")
        _check(
            self.right_weight > 0 or self.wrong_weight > 0, self, "right_weight", "above 0, or wrong_weight"
        )
        if self.token_decay is not None:
            _check(self.token_decay <= 1, self, "token_decay", "at most 1")
        for name in ("holdout", "warmup", "smoothing", "lora_dropout"):
            _check(getattr(self, name) < 1, self, name, "below 1")
        self._check_parts()

    def _check_parts(self) -> None:
        if self.adapters > 1 and not self.lora_rank:
            raise UsageError(f"adapters={self.adapters} needs LoRA; set lora_rank, for example 16")
        unused_without_rank(self)
        if self.lora_rank and self.freeze != "none":
            raise UsageError(f"lora_rank={self.lora_rank} freezes the backbone already; leave freeze out")
        if self.patience and self.select == "last":
            raise UsageError("patience needs to know what better is; set select to loss, auroc or accuracy")
        if not self.holdout and (self.select != "last" or self.calibration != "none"):
            raise UsageError("select and calibration need held-out problems; set holdout, for example 0.1")


def unused_without_rank(config: Any) -> None:
    """`UsageError` for settings of adapters where `lora_rank` asks for none."""
    for field in fields(config):
        changed = getattr(config, field.name) != field.default
        if changed and not config.lora_rank and field.name in ADAPTER_SETTINGS:
            raise UsageError(f"{field.name} is a setting of LoRA; set lora_rank too, for example 16")


def _check(holds: bool, config: TrainConfig, name: str, what: str) -> None:
    if not holds:
        raise UsageError(f"training setting {name} must be {what}, got {getattr(config, name)!r}")
