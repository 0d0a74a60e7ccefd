"""Log-probs of the edges of packed trees, with gradients, from any causal model of transformers.

Contract: `EdgeScorer(model)(batch)` gives for every edge of the batch the sum of its tokens' log-probs,
each token read once, at the place that predicts it. Values and gradients equal those of the paths in rows
of their own up to rounding. Works with full fine-tuning and with peft's adapters (LoRA and its kin; no
prompt tuning), with gradient checkpointing and autocast; log-softmax is taken in float32 at least. It is a
module: wrap *it* for data parallelism, so that gradients are synchronised at its end.

Not every model can read a tree: it must take positions and a mask ``[B, 1, T, T]``, attend in every layer
to whatever the mask allows, carry nothing else from token to token (no recurrence, no convolution), and
have plain logits, since these are computed only where they are read. That is tried out when the scorer is
made, on a tree of a few tokens, and a sliding window shorter than a path is refused at each batch.

It knows no losses and no optimizer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from selftrain.packing.attention import KINDS, tree_mask
from selftrain.packing.batch import Batch
from selftrain.packing.check import check_reads_trees
from tasks.errors import UsageError

KEPT_LOGITS = 2**27
"""Most logits kept for the backward pass (512 MiB in float32); with more, they are made again in it."""
_CHUNK_LOGITS = 2**25
"""Logits in memory at once where they are made again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeLogProbs:
    """Log-probs of one pass: `sums` [N] by edge, `tokens` [M] one a token, `owners` [M] the edge of each.

    Edges that the pass does not read are NaN in `sums`; prompts are 0.
    """

    sums: Tensor
    tokens: Tensor
    owners: Tensor


class EdgeScorer(nn.Module):
    """Reads edge log-probs with `model`, a causal model of transformers or one that peft wrapped.

    `check` tries on a small tree that the model can read trees, see the module. `UsageError` where it cannot.
    """

    def __init__(self, model: Any, *, check: bool = True, kept_logits: int = KEPT_LOGITS) -> None:
        super().__init__()
        self.model = model
        self._kept_logits = kept_logits
        if _has_virtual_tokens(model):
            raise UsageError("prompt tuning puts tokens of its own before the row; use LoRA or the like")
        self._window = _window(self._causal.config)
        if check:
            check_reads_trees(self)

    @property
    def _causal(self) -> Any:
        """The model itself, with adapters in its layers where peft put them there."""
        unwrap = getattr(self.model, "get_base_model", None)
        return self.model if unwrap is None else unwrap()

    def forward(self, batch: Batch) -> EdgeLogProbs:
        """Log-probs of the batch's edges; `batch` is on the model's device."""
        if self._window is not None and batch.depth > self._window:
            raise UsageError(
                f"a path has {batch.depth} tokens, but the model's attention window is {self._window}"
            )
        hidden = self._hidden(batch).flatten(0, 1)
        tokens = self._token_log_probs(hidden[batch.reads], batch.targets)
        start = torch.zeros(len(batch.known), dtype=tokens.dtype, device=tokens.device)
        sums = start.index_add(0, batch.owners, tokens).masked_fill(~batch.known, torch.nan)
        return EdgeLogProbs(sums=sums, tokens=tokens, owners=batch.owners)

    def _hidden(self, batch: Batch) -> Tensor:
        """Last hidden states ``[B, T, hidden]``, behind the final norm."""
        causal = self._causal
        mask = tree_mask(batch, causal.config._attn_implementation, causal.dtype)
        found = causal.base_model(
            input_ids=batch.ids, attention_mask=mask, position_ids=batch.positions, use_cache=False
        )
        return cast("Tensor", found.last_hidden_state)

    def _token_log_probs(self, states: Tensor, targets: Tensor) -> Tensor:
        """Log-probs [M] of `targets`, predicted from `states` ``[M, hidden]``."""
        unembed = self._causal.get_output_embeddings()

        def read(some: Tensor, wanted: Tensor) -> Tensor:
            logits: Tensor = unembed(some)
            precise = logits if logits.dtype == torch.float64 else logits.float()
            return -functional.cross_entropy(precise, wanted, reduction="none")

        vocabulary = int(self._causal.config.get_text_config().vocab_size)
        if len(targets) * vocabulary <= self._kept_logits or not torch.is_grad_enabled():
            size = max(1, self._kept_logits // vocabulary)
            return torch.cat([read(*part) for part in _parts(states, targets, size)])
        size = max(1, min(_CHUNK_LOGITS, self._kept_logits) // vocabulary)
        parts = _parts(states, targets, size)
        return torch.cat([cast("Tensor", checkpoint(read, *part, use_reentrant=False)) for part in parts])


def _parts(states: Tensor, targets: Tensor, size: int) -> list[tuple[Tensor, Tensor]]:
    return list(zip(states.split(size), targets.split(size), strict=True))


def _has_virtual_tokens(model: Any) -> bool:
    configs = getattr(model, "peft_config", None)
    return isinstance(configs, dict) and any(c.is_prompt_learning for c in configs.values())


def _window(config: Any) -> int | None:
    """Tokens that the narrowest layer sees, None for all; `UsageError` for layers that are not attention."""
    text = config.get_text_config()
    if text._attn_implementation not in KINDS:
        raise UsageError(
            f"attention implementation {text._attn_implementation!r} takes no tree mask; call "
            "model.set_attn_implementation('sdpa')"
        )
    kinds: set[str] = set(getattr(text, "layer_types", None) or ())
    other = kinds - {"full_attention", "sliding_attention"}
    if other:
        raise UsageError(
            f"packed trees need attention in every layer, this model has {', '.join(sorted(other))}"
        )
    window: int | None = getattr(text, "sliding_window", None)
    if (kinds and "sliding_attention" not in kinds) or not getattr(text, "use_sliding_window", True):
        return None
    return window
