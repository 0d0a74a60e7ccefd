"""Keys and values of a running batch: one static slot a sequence, filled from the left.

Contract: `SlotCache` is a `transformers` cache whose storage is, for every layer, a tensor of
[rows, heads, positions, head size]. Row r of the running batch is slot r, so that the attention of the
first `count` rows reads a view and a step copies nothing but the new token's keys and values. A forward
pass is announced first: `expect_fresh` (a prompt from position 0, which attends to itself alone) or
`expect_more` (tokens appended at each row's own position, which attend to the row's slot under the mask
that the caller passes). Growing copies the storage, with capacity at least doubled; `copy_rows` serves the
copies of a prompt for n samples and the closing of gaps. A snapshot holds one row's keys and values, and
`restore` puts them into another row.

It does not know which position of a slot holds a real token: lengths and masks are the caller's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import Cache

Snapshot = list[torch.Tensor]
"""Keys of every layer, then values of every layer, each [heads, positions, head size]."""
_LENGTH_STEP = 64


class SlotCache(Cache):
    """Slots for at most `max_rows` sequences. Not thread-safe."""

    def __init__(self, *, max_rows: int) -> None:
        super().__init__(layers=[])
        self.max_rows = max_rows
        self.rows = 0
        self.length = 0
        self._keys: list[torch.Tensor] = []
        self._values: list[torch.Tensor] = []
        self._first = 0
        self._count = 0
        self._span = 0
        self._positions: torch.Tensor | None = None
        self._indices: dict[int, torch.Tensor] = {}

    def reserve(self, *, rows: int, length: int) -> None:
        """Make room for `rows` sequences of `length` tokens; what is stored stays."""
        if rows <= self.rows and length <= self.length:
            return
        if rows > self.rows:
            rows = max(rows, min(self.max_rows, 2 * self.rows))
        if length > self.length:
            length = -(-max(length, 2 * self.length) // _LENGTH_STEP) * _LENGTH_STEP
        self.rows, self.length = max(rows, self.rows), max(length, self.length)
        for stores in (self._keys, self._values):
            for layer, old in enumerate(stores):
                stores[layer] = self._allocate(old)
                stores[layer][: old.shape[0], :, : old.shape[2]] = old

    def expect_fresh(self, *, first: int, count: int, length: int) -> None:
        """Announce `count` prompts of `length` tokens (the shorter ones padded on the right)."""
        self._first, self._count, self._span, self._positions = first, count, length, None

    def expect_more(self, *, first: int, span: int, positions: torch.Tensor) -> None:
        """Announce tokens appended to rows from `first` on, at `positions` [rows, tokens] of each row.

        Attention sees the first `span` positions of the rows.
        """
        self._first, self._count, self._span, self._positions = first, len(positions), span, positions
        self._indices.clear()

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store a layer's new keys and values, each [rows, heads, tokens, head size], and return all."""
        while len(self._keys) <= layer_idx:
            self._keys.append(self._allocate(key_states))
            self._values.append(self._allocate(value_states))
        keys, values = self._keys[layer_idx], self._values[layer_idx]
        rows = slice(self._first, self._first + self._count)
        if self._positions is None:
            keys[rows, :, : self._span] = key_states
            values[rows, :, : self._span] = value_states
            return key_states, value_states
        index = self._index(self._positions, key_states.shape[1])
        for store, new in ((keys, key_states), (values, value_states)):
            store.flatten(0, 2).index_copy_(0, index, new.flatten(0, 2))
        return keys[rows, :, : self._span], values[rows, :, : self._span]

    def _index(self, positions: torch.Tensor, heads: int) -> torch.Tensor:
        """Where new tokens go in storage seen as [rows * heads * positions], computed once a pass."""
        if heads not in self._indices:
            count = len(positions) * heads
            slots = torch.arange(self._first * heads, self._first * heads + count, device=positions.device)
            places = slots.view(-1, heads, 1) * self.length + positions[:, None]
            self._indices[heads] = places.flatten()
        return self._indices[heads]

    def copy_rows(self, *, source: Sequence[int], target: Sequence[int], length: int) -> None:
        """Copy the first `length` positions of the rows `source` to the rows `target`."""
        for store in (*self._keys, *self._values):
            store[list(target), :, :length] = store[list(source), :, :length]

    def snapshot(self, row: int, length: int) -> Snapshot:
        """A copy of the first `length` positions of a row."""
        return [store[row, :, :length].clone() for store in (*self._keys, *self._values)]

    def restore(self, row: int, snapshot: Snapshot, length: int) -> None:
        """Write the first `length` positions of a snapshot into a row."""
        for store, saved in zip((*self._keys, *self._values), snapshot, strict=True):
            store[row, :, :length] = saved[:, :length]

    def clear(self) -> None:
        """Give the storage back."""
        self._keys.clear()
        self._values.clear()
        self.rows = self.length = 0

    def _allocate(self, like: torch.Tensor) -> torch.Tensor:
        """Storage for one layer with the heads, type and device of `like` [rows, heads, tokens, size].

        Zeroed: a masked position still takes part in the arithmetic, and garbage may be NaN.
        """
        return like.new_zeros((self.rows, like.shape[1], self.length, like.shape[3]))

    def get_seq_length(self, layer_idx: int = 0) -> int:  # noqa: ARG002
        """Tokens before the announced ones, as far as the library's mask code is concerned: none."""
        return 0

    def get_mask_sizes(self, query_length: Any, layer_idx: int = 0) -> tuple[int, int]:  # noqa: ARG002
        """Key length and offset for masks that the library builds: only for fresh prompts."""
        return self._span, 0

    def get_query_offset(self, layer_idx: int = 0) -> int:  # noqa: ARG002
        """Position of the first announced token, for masks that the library builds."""
        return 0

    @property
    def is_compileable(self) -> bool:
        """Not meant for `torch.compile`."""
        return False
