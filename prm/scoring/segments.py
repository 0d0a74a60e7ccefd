"""What has been computed, as a tree of segments: keys, values and the numbers read at each segment's end.

Contract: a path is a head and one segment a step; paths with a common beginning share the segments of it, so
that each token is computed and held once. `walk` gives the known beginning of a path, `add` puts new segments
behind it. At most `limit_bytes` of tensors are held once `trim` has run; the segments used longest ago go
first, and never one before its children, so what is held can always be used.

It computes nothing. Not thread-safe.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch

Ids = tuple[int, ...]


class Segment:
    """Tokens `ids` behind `parent`: `state` [2 x layers, tokens, heads, size], `numbers` at the end.

    `last` is the hidden state of the last token, for models whose next token is scored by it.
    """

    __slots__ = ("children", "end", "ids", "last", "numbers", "parent", "state")

    def __init__(self, ids: Ids, parent: Segment | None) -> None:
        self.ids = ids
        self.parent = parent
        self.children: dict[Ids, Segment] = {}
        self.state: torch.Tensor | None = None
        self.numbers: tuple[float, ...] = ()
        self.last: torch.Tensor | None = None
        self.end: int = len(ids) + (parent.end if parent else 0)

    @property
    def size(self) -> int:
        """Bytes of its tensors."""
        tensors = (self.state, self.last)
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors if tensor is not None)

    def chain(self) -> list[Segment]:
        """The segments from the head to this one."""
        found: list[Segment] = []
        at, parent = self, self.parent
        while parent is not None:
            found.append(at)
            at, parent = parent, parent.parent
        return found[::-1]


class SegmentStore:
    """See the module. `held_bytes` is what is held now; the root holds nothing."""

    def __init__(self, *, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0
        self.root = Segment((), None)
        self._order: OrderedDict[Segment, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._order)

    def walk(self, path: Sequence[Ids]) -> list[Segment]:
        """The segments of the longest known beginning of a path; they count as used."""
        at, found = self.root, list[Segment]()
        for ids in path:
            child = at.children.get(ids)
            if child is None:
                break
            found.append(child)
            at = child
        for segment in reversed(found):  # the children first: a parent is always the more recent one
            self._order.move_to_end(segment)
        return found

    def add(
        self,
        parent: Segment,
        ids: Ids,
        state: torch.Tensor,
        numbers: tuple[float, ...],
        last: torch.Tensor | None = None,
    ) -> Segment:
        """Put a computed segment behind `parent`."""
        segment = Segment(ids, parent)
        segment.state, segment.numbers, segment.last = state, numbers, last
        parent.children[ids] = segment
        self._order[segment] = None
        for above in reversed(segment.chain()[:-1]):
            self._order.move_to_end(above)
        self.held_bytes += segment.size
        return segment

    def trim(self) -> None:
        """Forget what was used longest ago until the limit holds."""
        while self.held_bytes > self.limit_bytes and self._order:
            segment, _ = self._order.popitem(last=False)
            self.held_bytes -= segment.size
            if segment.parent is not None:
                del segment.parent.children[segment.ids]

    def clear(self) -> None:
        """Forget all."""
        self._order.clear()
        self.root.children.clear()
        self.held_bytes = 0
