"""The policy that is trained: a causal language model, LoRA adapters where asked for, and its tree scorer.

Contract: `policy(batch)` gives log-probs by edge (`selftrain.packing.EdgeLogProbs`), with gradients, and
`policy.reference(batch)` those of the model as training found it, for LoRA at any time by switching the
adapter off, else only before the first step. Trained weights are float32; in bfloat16 (`precision`) passes
run under autocast and log-softmax stays in float32.

It computes no losses and writes no files.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, cast

import torch
from torch import nn

from prm.training.lora import add_adapters
from prm.training.precision import autocast
from selftrain.packing import Batch, EdgeLogProbs, EdgeScorer, use_tree_attention
from selftrain.training.config import TrainConfig, shared_settings
from treesearch.engines.hf_load import context_of


class PackedPolicy:
    """Model, adapters and scorer of a run; see the module. `language_model` is changed in place."""

    def __init__(self, language_model: Any, config: TrainConfig, device: torch.device) -> None:
        self.config = config
        self.device = device
        self.context = context_of(language_model.config)
        self.vocabulary = int(language_model.get_input_embeddings().weight.shape[0])
        if config.attention == "auto":
            use_tree_attention(language_model, device)
        else:
            language_model.set_attn_implementation(config.attention)
        if config.gradient_checkpointing:
            _recompute_activations(language_model)
        self.language_model: Any = language_model
        self.network: Any = language_model
        if config.lora_rank:
            self.network = add_adapters(language_model, shared_settings(config))
        self.scorer = EdgeScorer(self.network)

    def trainable(self) -> dict[str, nn.Parameter]:
        """What is trained, by name, in a fixed order."""
        return {
            name: cast("nn.Parameter", parameter)
            for name, parameter in self.network.named_parameters()
            if parameter.requires_grad
        }

    def train_mode(self, on: bool) -> None:
        """Dropout on or off."""
        self.network.train(on)

    def __call__(self, batch: Batch) -> EdgeLogProbs:
        """Log-probs of the batch's edges; the batch is moved to the policy's device."""
        with autocast(self.config.precision, self.device):
            return self.scorer(batch.to(self.device))

    def reference(self, batch: Batch) -> EdgeLogProbs:
        """Log-probs by the model without adapter and dropout, without gradients."""
        self.train_mode(False)
        adapter_off = self.network.disable_adapter() if self.config.lora_rank else nullcontext()
        with torch.no_grad(), adapter_off:
            return self(batch)


def _recompute_activations(model: Any) -> None:
    """Gradient checkpointing, by the name that transformers 5.24 gives it or the older one."""
    name = "activation_checkpointing_enable"
    enable = getattr(model, name if hasattr(model, name) else "gradient_checkpointing_enable")
    enable({"use_reentrant": False})
