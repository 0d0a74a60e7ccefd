"""Scoring many paths at once: what is known is looked up, what several paths share is computed once.

Contract: `TreeBatch.run` takes paths (a head and a segment a step) and gives for each the numbers that the
head reads at the end of every step, and how many tokens were run for it. Paths are laid over one another as a
tree: a beginning that several of them share goes through the model once, as one row; then what hangs below
it, rows of about the same length together. So the tokens of a batch are those of its tree that the store did
not hold. Shared tokens are counted for the first path that has them. A pass that fails empties the store.

It does not wait or deliver, and runs in one thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch

from prm.heads.linear import Head
from prm.scoring.backbone import Backbone, Row
from prm.scoring.segments import Ids, Segment, SegmentStore

_WASTE = 1.5
"""Rows go together while the longest is at most this many times the shortest, plus 16 tokens."""
Found = tuple[tuple[float, ...], torch.Tensor | None]
_SPAN = 4
"""Positions of a forward pass, those kept from before included, per token that it may run."""


@dataclass(eq=False)
class _Path:
    """A path on its way through the model: `known` segments of `ids` are computed."""

    ids: Sequence[Ids]
    known: list[Segment]
    tokens: int = 0

    @property
    def missing(self) -> Sequence[Ids]:
        return self.ids[len(self.known) :]


@dataclass(frozen=True)
class _Work:
    """Segments `ids` that several paths need next, behind `parent`."""

    parent: Segment
    ids: Sequence[Ids]
    paths: Sequence[_Path]

    @property
    def ends(self) -> list[int]:
        """Positions behind the segments, among the new tokens."""
        return list(accumulate(map(len, self.ids)))

    def row(self, *, everywhere: bool) -> Row:
        """What goes through the model; read at the segments' ends, or at every token."""
        tokens = tuple(token for segment in self.ids for token in segment)
        reads = range(len(tokens)) if everywhere else [end - 1 for end in self.ends]
        states = [each.state for each in self.parent.chain()]
        return Row(ids=tokens, past=tuple(s for s in states if s is not None), reads=tuple(reads))


Job = tuple[_Work, Row]


class TreeBatch:
    """See the module. At most `batch_tokens` new tokens, padding included, in a forward pass."""

    everywhere = False
    """Whether hidden states of all tokens are read, or those at the ends of segments."""

    def __init__(
        self, backbone: Backbone, head: Head | None, store: SegmentStore, *, batch_tokens: int
    ) -> None:
        self._backbone, self._head, self.store = backbone, head, store
        self._batch_tokens = batch_tokens

    def run(self, paths: Sequence[Sequence[Ids]]) -> list[tuple[list[tuple[float, ...]], int]]:
        """Numbers of every step, and tokens run, for each path; see the module."""
        walking = [_Path(path, self.store.walk(path)) for path in paths]
        try:
            while work := _next(walking, self.store.root):
                for group in self._groups(work):
                    self._forward(group)
        except BaseException:
            self.store.clear()  # where memory ran out, what is kept is the first thing to give back
            raise
        self.store.trim()
        return [([segment.numbers for segment in path.known[1:]], path.tokens) for path in walking]

    def _forward(self, group: Sequence[Job]) -> None:
        """One forward pass; its segments enter the store and the paths that need them."""
        hidden, states = self._backbone.run([row for _, row in group])
        read = self.read(group, hidden)
        for (work, row), state, numbers in zip(group, states, read, strict=True):
            parent, start = work.parent, 0
            for ids, end, (found, last) in zip(work.ids, work.ends, numbers, strict=True):
                found = () if parent is self.store.root else found
                parent = self.store.add(parent, ids, state[:, start:end].clone(), found, last)
                start = end
                for path in work.paths:
                    path.known.append(parent)
            work.paths[0].tokens += len(row.ids)

    def read(self, group: Sequence[Job], hidden: Sequence[torch.Tensor]) -> list[list[Found]]:
        """For each segment of each job its numbers, and a hidden state to keep where a child needs it."""
        if self._head is None:
            raise ValueError("a batch without a head must read hidden states itself")
        numbers: list[list[float]] = self._head(torch.cat(list(hidden))).tolist()
        rows = iter(numbers)
        return [[(tuple(next(rows)), None) for _ in work.ids] for work, _ in group]

    def _groups(self, work: Sequence[_Work]) -> Iterator[list[Job]]:
        """Rows that go through the model together: alike in having a past and in length."""
        rows = sorted(
            ((each, each.row(everywhere=self.everywhere)) for each in work),
            key=lambda pair: (pair[1].start > 0, len(pair[1].ids)),
        )
        group: list[Job] = []
        span = 0
        for pair in rows:
            size, start = len(pair[1].ids), pair[1].start
            if group:
                first = group[0][1]
                count = len(group) + 1
                fits = (
                    (first.start > 0) == (start > 0)
                    and size <= _WASTE * len(first.ids) + 16
                    and size * count <= self._batch_tokens
                    and max(span, start + size) * count <= _SPAN * self._batch_tokens
                )
                if not fits:
                    yield group
                    group, span = [], 0
            group.append(pair)
            span = max(span, start + size)
        if group:
            yield group


def _next(paths: Sequence[_Path], root: Segment) -> list[_Work]:
    """What the paths need next: each common beginning once, as far as all that need it go on alike."""
    groups: dict[tuple[Segment, Ids], list[_Path]] = {}
    for path in paths:
        if path.missing:
            parent = path.known[-1] if path.known else root
            groups.setdefault((parent, path.missing[0]), []).append(path)
    work: list[_Work] = []
    for (parent, _), together in groups.items():
        common = 0
        for level in zip(*(path.missing for path in together), strict=False):
            if any(ids != level[0] for ids in level):
                break
            common += 1
        work.append(_Work(parent, together[0].missing[:common], together))
    return work
