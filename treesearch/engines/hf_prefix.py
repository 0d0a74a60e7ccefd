"""Least-recently-used store of the keys and values of finished samples.

Contract: a tree search asks again with an earlier prompt plus a sample of it. `put` keeps the keys and values
of such a sequence; `find` returns the longest stored beginning of a new prompt, at the ends that were
registered (the end of the earlier prompt, and of the sample). Keys are chained hashes of token ids, checked
against the ids themselves. At most `limit_bytes` of tensors are held; the ones used longest ago go first.

It does not share storage between sequences with a common beginning; each entry is a copy of its own.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from treesearch.engines.hf_cache import Snapshot

_SEED = 0x5EED


def chain(token_ids: Sequence[int], start: int = _SEED) -> list[int]:
    """Hashes of all beginnings of `token_ids`: element i covers the first i + 1 ids."""
    hashes: list[int] = []
    value = start
    for token in token_ids:
        value = hash((value, token))
        hashes.append(value)
    return hashes


@dataclass(frozen=True, kw_only=True)
class Prefix:
    """A stored beginning: `length` tokens are usable of `state`, which may cover more."""

    token_ids: tuple[int, ...]
    state: Snapshot
    length: int


class PrefixStore:
    """See the module. `limit_bytes` 0 keeps nothing. Not thread-safe."""

    def __init__(self, *, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0
        self._entries: OrderedDict[int, tuple[Prefix, list[int]]] = OrderedDict()
        self._ends: dict[int, tuple[int, int]] = {}

    @property
    def on(self) -> bool:
        """Whether anything is ever kept."""
        return self.limit_bytes > 0

    def has(self, key: int) -> bool:
        """Whether a sequence with this last chained hash is stored; it counts as used."""
        if key not in self._entries:
            return False
        self._entries.move_to_end(key)
        return True

    def put(
        self, token_ids: tuple[int, ...], hashes: Sequence[int], state: Snapshot, *, ends: Sequence[int]
    ) -> None:
        """Store a sequence with its chained hashes, to be found at each of the lengths `ends`."""
        key = hashes[-1]
        size = _bytes(state)
        if size > self.limit_bytes or key in self._entries:
            return
        self.held_bytes += size
        places = {hashes[end - 1]: (key, end) for end in ends if end > 0}
        self._entries[key] = Prefix(token_ids=token_ids, state=state, length=len(token_ids)), list(places)
        self._ends.update(places)
        while self.held_bytes > self.limit_bytes:
            self._evict()

    def find(self, token_ids: tuple[int, ...], hashes: Sequence[int]) -> Prefix | None:
        """Longest registered beginning of `token_ids`, whose chained hashes are given; None without one."""
        for length in range(len(token_ids), 0, -1):
            place = self._ends.get(hashes[length - 1])
            if place is None:
                continue
            entry, _ = self._entries[place[0]]
            if entry.token_ids[:length] == token_ids[:length]:
                self._entries.move_to_end(place[0])
                return Prefix(token_ids=token_ids[:length], state=entry.state, length=length)
        return None

    def clear(self) -> None:
        """Drop all."""
        self._entries.clear()
        self._ends.clear()
        self.held_bytes = 0

    def _evict(self) -> None:
        """Drop the sequence that was used longest ago."""
        key, (entry, registered) = self._entries.popitem(last=False)
        self.held_bytes -= _bytes(entry.state)
        for value in registered:
            if self._ends.get(value, (None, 0))[0] == key:
                del self._ends[value]


def _bytes(state: Snapshot) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in state)
