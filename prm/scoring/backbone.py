"""Forward passes of a backbone: tokens behind kept keys and values in, hidden states at some positions out.

Contract: any `transformers` decoder without its lm_head that takes a cache and `position_ids` and attends to
the whole context. `run` takes rows of new tokens, each behind a chain of states (none, or of any length), and
gives for each the hidden states at the offsets asked for and the new tokens' state. Rows are padded on the
right: causal attention never reads what is behind a token.

It does not decide what runs together and keeps nothing between calls.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import Cache

from tasks.errors import UsageError
from treesearch.engines.hf_load import cache_argument, context_of


def context_within(config: Any, most: int) -> int:
    """The context of a model, or `most` tokens of it where that is not 0.

    `UsageError` where the model has fewer.
    """
    context = context_of(config)
    if most > context:
        raise UsageError(
            f"max_context={most} is more than the model's own context of {context}; leave it out, or give at "
            f"most {context}"
        )
    return most or context


@dataclass(frozen=True, kw_only=True)
class Row:
    """New tokens behind `past`; hidden states are wanted at the offsets `reads` among them."""

    ids: tuple[int, ...]
    past: tuple[torch.Tensor, ...]
    reads: tuple[int, ...]

    @property
    def start(self) -> int:
        """Tokens before the new ones."""
        return sum(int(state.shape[1]) for state in self.past)


class RowCache(Cache):
    """Keys and values of one forward pass; see `Backbone.run`."""

    def __init__(self, past: torch.Tensor | None, index: torch.Tensor | None) -> None:
        """`past` is [2 x layers, rows, positions, heads, size], `index` where the new tokens go."""
        super().__init__(layers=[])
        self.new: list[torch.Tensor] = []
        self._past, self._index = past, index

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Take a layer's new keys and values, each [rows, heads, tokens, size]; return all of the layer."""
        found: list[torch.Tensor] = []
        for part, states in enumerate((key_states, value_states)):
            self.new.append(states.transpose(1, 2))
            if self._past is None or self._index is None:
                found.append(states)
                continue
            store = self._past[2 * layer_idx + part]
            store.flatten(0, 1).index_copy_(0, self._index, states.transpose(1, 2).flatten(0, 1))
            found.append(store.transpose(1, 2))
        return found[0], found[1]

    def get_seq_length(self, layer_idx: int = 0) -> int:  # noqa: ARG002
        """Tokens before the new ones, as far as the library's mask code is concerned: none."""
        return 0

    def get_mask_sizes(self, query_length: Any, layer_idx: int = 0) -> tuple[int, int]:  # noqa: ARG002
        """Key length and offset for masks that the library builds: only for rows without a past."""
        return int(getattr(query_length, "shape", (query_length,))[0]), 0

    def get_query_offset(self, layer_idx: int = 0) -> int:  # noqa: ARG002
        """Position of the first new token, for masks that the library builds."""
        return 0

    @property
    def is_compileable(self) -> bool:
        """Not meant for `torch.compile`."""
        return False


class Backbone:
    """Forward passes of `model`, in evaluation mode. Call under `torch.inference_mode`. Not thread-safe.

    Raises `UsageError` for architectures that it cannot run (state-space layers, no position ids).
    """

    def __init__(self, model: Any) -> None:
        parameters = inspect.signature(model.forward).parameters
        self._cache_argument = cache_argument(model)
        kinds = set(getattr(model.config, "layer_types", None) or ["full_attention"])
        missing = [name for name in (self._cache_argument, "position_ids") if name not in parameters]
        other = sorted(kinds - {"full_attention", "sliding_attention"})
        if missing or other:
            raise UsageError(
                f"{type(model).__name__} cannot score here: "
                + (f"its forward pass takes no {', '.join(missing)}" if missing else f"it has {other} layers")
            )
        self.model = model
        self.device: torch.device = model.device
        self.dtype: torch.dtype = model.dtype
        self.vocabulary = int(model.get_input_embeddings().weight.shape[0])

    def run(self, rows: Sequence[Row]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Hidden states [reads, size] and states [2 x layers, tokens, heads, size], a tensor each a row."""
        width = max(len(row.ids) for row in rows)
        tokens = torch.tensor([[*row.ids, *[0] * (width - len(row.ids))] for row in rows], device=self.device)
        starts = [row.start for row in rows]
        if any(starts):
            cache, how = self._behind(rows, starts, width)
        else:
            cache, how = RowCache(None, None), {}
        output = self.model(input_ids=tokens, use_cache=True, **how, **{self._cache_argument: cache})
        states = torch.stack(cache.new)
        hidden = output.last_hidden_state
        return (
            [hidden[number, list(row.reads)] for number, row in enumerate(rows)],
            [states[:, number, : len(row.ids)] for number, row in enumerate(rows)],
        )

    def _behind(
        self, rows: Sequence[Row], starts: Sequence[int], width: int
    ) -> tuple[RowCache, dict[str, torch.Tensor]]:
        """The cache with the rows' past in it, and the mask and positions that fit it."""
        span = max(starts) + width
        like = next(row.past[0] for row in rows if row.past)
        past = like.new_zeros((like.shape[0], len(rows), span, *like.shape[2:]))
        for number, row in enumerate(rows):
            at = 0
            for state in row.past:
                past[:, number, at : at + state.shape[1]] = state
                at += int(state.shape[1])
        begin = torch.tensor(list(starts), device=self.device)
        positions = begin[:, None] + torch.arange(width, device=self.device)
        index = (torch.arange(len(rows), device=self.device)[:, None] * span + positions).flatten()
        hidden = torch.arange(span, device=self.device) > positions[:, :, None]
        mask = torch.zeros((len(rows), 1, width, span), dtype=self.dtype, device=self.device)
        mask.masked_fill_(hidden[:, None], torch.finfo(self.dtype).min)
        return RowCache(past, index), {"attention_mask": mask, "position_ids": positions}
