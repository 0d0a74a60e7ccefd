"""Forward passes of a causal language model over slots: prompts, steps of a batch, and scoring.

Contract: any `transformers` decoder that takes a cache and `position_ids` and attends to the whole
context (see `hf_load.check_model`). Rows are slots of a `SlotCache`, filled from the left. `prefill` and
`extend` write keys and values only; `decode` feeds one token to each of the first rows and returns the
logits after it. Prompts are padded on the right: causal attention never reads what is behind a token, so no
mask is needed. `score` runs whole sequences without the cache.

It does not decide what runs when, and does not know of requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from treesearch.engines.hf_cache import SlotCache
from treesearch.engines.hf_load import cache_argument

_SCORE_ELEMENTS = 1 << 24
"""Logits turned into float32 at a time when scoring."""


class Decoder:
    """Forward passes of `model` over `cache`. Call under `torch.inference_mode`. Not thread-safe."""

    def __init__(self, model: Any, *, max_rows: int) -> None:
        self.model = model
        self.cache = SlotCache(max_rows=max_rows)
        self._cache_argument = {cache_argument(model): self.cache}
        self.device: torch.device = model.device
        self.dtype: torch.dtype = model.dtype
        self.vocabulary = int(model.get_output_embeddings().weight.shape[0])

    def prefill(self, first: int, prompts: Sequence[Sequence[int]]) -> None:
        """Run whole prompts into the rows from `first` on."""
        tokens = self._padded(prompts)
        self.cache.reserve(rows=first + len(prompts), length=tokens.shape[1])
        self.cache.expect_fresh(first=first, count=len(prompts), length=tokens.shape[1])
        self.model(input_ids=tokens, use_cache=True, logits_to_keep=1, **self._cache_argument)

    def extend(self, first: int, parts: Sequence[Sequence[int]], starts: Sequence[int]) -> None:
        """Append tokens to rows from `first` on, which hold `starts` tokens each."""
        tokens = self._padded(parts)
        self._append(first, tokens, torch.tensor(list(starts), device=self.device))

    def decode(self, tokens: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> torch.Tensor:
        """Feed one token to each of the first rows, which hold `lengths`; logits [rows, vocabulary]."""
        ids = torch.from_numpy(tokens[:, None].copy()).to(self.device)
        return self._append(0, ids, torch.from_numpy(lengths.copy()).to(self.device))

    def score(
        self, prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[int]]
    ) -> list[list[float]]:
        """Log-probability of every token of each completion after its prompt (at least one token)."""
        tokens = self._padded([[*p, *c] for p, c in zip(prompts, completions, strict=True)])
        begin = min(len(prompt) for prompt in prompts) - 1
        keep = torch.arange(begin, tokens.shape[1] - 1, device=self.device)
        logits = self.model(input_ids=tokens, use_cache=False, logits_to_keep=keep).logits
        chosen = self._chosen(logits, tokens[:, begin + 1 :]).tolist()
        spans = [(len(p) - 1 - begin, len(c)) for p, c in zip(prompts, completions, strict=True)]
        return [row[at : at + size] for row, (at, size) in zip(chosen, spans, strict=True)]

    def _append(self, first: int, tokens: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
        """Forward of tokens [rows, width] at each row's own position; logits after the last column."""
        count, width = tokens.shape
        span = int(starts.max()) + width
        self.cache.reserve(rows=first + count, length=span)
        positions = starts[:, None] + torch.arange(width, device=self.device)
        self.cache.expect_more(first=first, span=span, positions=positions)
        hidden = torch.arange(span, device=self.device) > positions[:, :, None]
        mask = torch.zeros((count, 1, width, span), dtype=self.dtype, device=self.device)
        mask.masked_fill_(hidden[:, None], torch.finfo(self.dtype).min)
        return self.model(
            input_ids=tokens,
            attention_mask=mask,
            position_ids=positions,
            use_cache=True,
            logits_to_keep=1,
            **self._cache_argument,
        ).logits[:, -1]

    def _padded(self, sequences: Sequence[Sequence[int]]) -> torch.Tensor:
        """Ids [rows, longest], padded on the right with zeros."""
        width = max(len(sequence) for sequence in sequences)
        padded = np.zeros((len(sequences), width), dtype=np.int64)
        for row, sequence in enumerate(sequences):
            padded[row, : len(sequence)] = sequence
        return torch.from_numpy(padded).to(self.device)

    def _chosen(self, logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Float32 log-probability of each token, a few positions at a time to bound the memory."""
        width = max(1, _SCORE_ELEMENTS // (logits.shape[0] * logits.shape[2]))
        parts = [
            torch.log_softmax(piece.float(), dim=-1).gather(-1, target[..., None])[..., 0]
            for piece, target in zip(logits.split(width, dim=1), tokens.split(width, dim=1), strict=True)
        ]
        return torch.cat(parts, dim=1)
