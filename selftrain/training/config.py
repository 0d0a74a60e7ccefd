"""The settings of a run of policy training: one frozen dataclass, which flags, YAML keys and Python arguments
come from.

Contract: every value that changes the trained weights is here, so that two runs with equal configs, bases and
data end with equal weights on the same machine. Which settings belong to which objective is in
`objectives.OBJECTIVES`; setting one that the objective does not use is an error.

`beta`, `gamma` and `sft_weight` of None take the objective's published value. `learning_rate` is what
supervised training of models of billions takes; for preference losses on those take 5e-7 to 1e-6, for LoRA
about 1e-4, for the embedded model 1e-4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from importlib.metadata import entry_points
from typing import Literal

from prm.training import config as shared
from tasks.errors import UsageError, unknown_name

BUILT_IN = (
    "sft",
    "dpo",
    "off-policy-dpo",
    "implicit-ce",
    "direct-advantage",
    "spin",
    "cream",
    "upo",
    "nft",
    "simpo",
)
"""The objectives of this package; `objectives` has a row of each."""
GROUP = "treesearch.objectives"
"""Entry points through which installed packages add rows; a built-in name wins over one of those."""


def objective_names() -> list[str]:
    """Every objective's name, then those of installed packages."""
    return [
        *BUILT_IN,
        *sorted(entry.name for entry in entry_points(group=GROUP) if entry.name not in BUILT_IN),
    ]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Settings of a training run; see the module. `UsageError` for values out of range."""

    objective: str = "sft"
    """What is learned, from which records, by which loss."""
    kind: Literal["sigmoid", "hinge", "ipo"] = "sigmoid"
    """Form of the DPO loss."""
    beta: float | None = None
    """Scale of log-ratios; None takes the objective's published value."""
    gamma: float | None = None
    """Margin that SimPO asks for; None takes 1."""
    weight_power: float = 1.0
    """Power that the records' weights are taken to; 0 weighs all alike."""
    offset_scale: float = 1.0
    """Factor of the pairs' offsets; 0 leaves them out."""
    smoothing_scale: float = 1.0
    """Factor of the pairs' smoothing; 0 leaves it out."""
    sft_weight: float | None = None
    """Weight of the negative log-likelihood added to a pair loss; None takes 1 for upo, else 0."""
    sft_on: Literal["chosen", "traces"] = "chosen"
    """What that likelihood is of: the chosen sides of the pairs, or the traces."""
    nft_by_deviation: bool = False
    """Whether NFT weighs problems as GRPO does, by the rewards' standard deviation."""
    nft_epsilon: float = 1.0
    """Least negative likelihood in NFT."""
    reference: Literal["auto", "stored", "base", "none"] = "auto"
    """Log-probs compared with: stored when steps were written, or the base's; auto is the objective's own."""
    unscored: Literal["refuse", "drop"] = "refuse"
    """What happens to records whose stored log-probs are missing; dropped ones are counted."""
    too_long: Literal["refuse", "drop"] = "refuse"
    """What happens to records longer than the model's context or a row; dropped ones are counted."""

    epochs: float = 1.0
    """Times that the trees are gone through; may be a fraction."""
    batch_trees: int = 16
    """Trees an optimizer step, over all processes."""
    learning_rate: float = 1e-5
    """Highest learning rate."""
    weight_decay: float = 0.0
    """AdamW's decay of matrices; vectors have none."""
    warmup: float = 0.1
    """Share of the steps over which the learning rate rises."""
    decay: Literal["linear", "cosine", "constant"] = "cosine"
    """How the learning rate falls after that, to 0 at the end."""
    clip: float = 1.0
    """Largest norm of the gradient."""

    row_tokens: int = 0
    """Longest row; a longer tree is cut and its ancestors repeated. 0 never cuts."""
    pass_tokens: int = 16384
    """Padded tokens a forward pass; it changes memory and speed only."""
    precision: shared.PrecisionName = "float32"
    """Of the passes; auto is bfloat16 where the device has arithmetic for it, else float32. Trained weights
    and moments are float32 always."""
    gradient_checkpointing: bool = False
    """Whether activations are computed again in the backward pass: less memory, about a third more time."""
    attention: Literal["auto", "sdpa", "eager", "flex_attention"] = "auto"
    """How attention is computed; auto is FlexAttention on a GPU and SDPA elsewhere."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    shard: Literal["none", "fsdp"] = "none"
    """Whether weights, gradients and moments are sharded over several processes."""

    lora_rank: int = 0
    """Rank of LoRA adapters (package peft); 0 trains the model itself."""
    lora_alpha: float = 0.0
    """LoRA's scale times its rank; 0 takes twice the rank."""
    lora_targets: str = "all-linear"
    """Modules that LoRA adapts: all-linear, or names separated by commas."""
    lora_dropout: float = 0.0
    """Share of LoRA's inputs that is dropped in training."""
    merge_lora: bool = True
    """Whether `model` is written with the adapter merged in; the adapter is kept beside in any case."""

    holdout: float = 0.1
    """Share of the problems held out, for loss and accuracy on what was not trained on."""
    evaluate_every: int = 0
    """Steps between evaluations on them; 0 is once an epoch."""
    seed: int = 0
    """Root of the order of trees, the adapters' start, dropout and the choice of held-out problems."""
    checkpoint_every: int = 50
    """Steps between checkpoints."""
    log_every: int = 1
    """Steps between lines of metrics."""
    sink: shared.SinkName = "none"
    """Where metrics go besides metrics.jsonl (package of that name)."""
    sink_project: str = "treesearch"
    """Project that the run belongs to there."""

    def __post_init__(self) -> None:
        if self.objective not in BUILT_IN and self.objective not in objective_names():
            raise unknown_name("objective", self.objective, objective_names())
        counts = ("batch_trees", "pass_tokens", "checkpoint_every", "log_every")
        for name in (*counts, "epochs", "clip", "learning_rate", "nft_epsilon"):
            _check(getattr(self, name) > 0, self, name, "above 0")
        if self.beta is not None:
            _check(self.beta > 0, self, "beta", "above 0")
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int | float) and field.name != "seed":
                _check(0 <= value < math.inf, self, field.name, "at least 0 and finite")
        for name in ("holdout", "warmup", "lora_dropout"):
            _check(getattr(self, name) < 1, self, name, "below 1")
        shared.unused_without_rank(self)
        if self.shard == "fsdp" and self.lora_rank:
            raise UsageError("shard=fsdp is for training the model itself; leave shard or lora_rank out")


def shared_settings(config: TrainConfig) -> shared.TrainConfig:
    """The settings that the parts of `prm.training` read: order of units, optimizer, adapters, metrics."""
    return shared.TrainConfig(
        batch_size=config.batch_trees,
        epochs=config.epochs,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        warmup=config.warmup,
        decay=config.decay,
        clip=config.clip,
        checkpoint_every=config.checkpoint_every,
        log_every=config.log_every,
        sink=config.sink,
        sink_project=config.sink_project,
        lora_rank=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_targets=config.lora_targets,
        lora_dropout=config.lora_dropout,
        seed=config.seed,
    )


def _check(holds: bool, config: TrainConfig, name: str, what: str) -> None:
    if not holds:
        raise UsageError(f"training setting {name} must be {what}, got {getattr(config, name)!r}")
