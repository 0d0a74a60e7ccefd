"""A convention bound to a tokenizer: ids derived and checked, questions and steps rendered.

Contract: `bind` derives the id of every token of the convention from the tokenizer and compares it with the
published one; a mismatch is refused, because a score read at or from another token is a number without a
meaning. `Bound.render` gives the ids of question and steps, the position at which each step's score is read,
and where its tokens end. Rendering a longer path encodes the new steps alone: pieces are kept, at most
`_KEPT` of them.

It does not run models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from prm.conventions.base import Convention
from prm.conventions.templates import Context, Piece
from prm.conventions.tokens import Tokens
from tasks.errors import UsageError

_KEPT = 4096


@dataclass(frozen=True, slots=True)
class Rendered:
    """Token ids of a question and its steps.

    `reads[i]` is the position at which step i is scored, `ends[i]` the position behind its last token;
    `head` is the number of ids before the first step.
    """

    ids: tuple[int, ...]
    reads: tuple[int, ...]
    ends: tuple[int, ...]
    head: int

    @property
    def mask(self) -> tuple[bool, ...]:
        """For every id whether a score is read there."""
        marked = set(self.reads)
        return tuple(position in marked for position in range(len(self.ids)))

    @property
    def spans(self) -> tuple[tuple[int, int], ...]:
        """First token of every step, and the position behind its last."""
        return tuple(zip((self.head, *self.ends[:-1]), self.ends, strict=True))

    @property
    def segments(self) -> tuple[tuple[int, ...], ...]:
        """The ids cut behind the head and behind every position that is read; the rest is dropped."""
        cuts = (0, self.head, *(read + 1 for read in self.reads))
        return tuple(self.ids[start:end] for start, end in pairwise(cuts))


class Bound:
    """See the module; made by `bind`. `ids` are those of the convention's tokens, by their text."""

    def __init__(self, convention: Convention, tokens: Tokens, ids: Mapping[str, int]) -> None:
        self.convention = convention
        self.tokens = tokens
        self.ids = dict(ids)
        self._context = Context(tokens=tokens, tag=convention.tag, ids=self.ids)
        self._head = lru_cache(maxsize=_KEPT)(self._render_head)
        self._step = lru_cache(maxsize=_KEPT)(self._render_step)

    def render(self, question: str, steps: Sequence[str]) -> Rendered:
        """Ids and positions of a solution; `UsageError` for no steps."""
        if not steps:
            raise UsageError("no steps to score: give at least one")
        head = self._head(question)
        end = len(steps) if self.convention.template.sees_last else 0
        ids, reads, ends = list(head), list[int](), list[int]()
        for number, step in enumerate(steps):
            piece = self._step(number, step, number + 1 == end)
            reads.append(len(ids) + piece.read)
            ids.extend(piece.ids)
            ends.append(len(ids))
        ids.extend(self.convention.template.tail(self._context))
        return Rendered(tuple(ids), tuple(reads), tuple(ends), len(head))

    def _render_head(self, question: str) -> tuple[int, ...]:
        head = self.convention.template.head(self._context, question)
        if not head:
            raise UsageError(f"the question {question!r} renders to no tokens; give one with text")
        return head

    def _render_step(self, number: int, step: str, last: bool) -> Piece:
        cleaned = self.convention.splitter.clean(step)
        piece = self.convention.template.step(self._context, number, cleaned, last=last)
        if piece.ids:
            return piece
        raise UsageError(
            f"step {number + 1} ({step!r}) renders to no tokens in convention {self.convention.name!r}; "
            "leave empty steps out"
        )


def bind(convention: Convention, tokenizer: object, *, expected: Mapping[str, int] | None = None) -> Bound:
    """`convention` with a `transformers` tokenizer.

    `expected` replaces the published ids, by the token's text: for tests, whose tokenizers are not the
    published ones. Raises `UsageError` naming both ids where they differ.
    """
    tokens = Tokens(tokenizer)
    ids: dict[str, int] = {}
    for token in convention.tokens:
        found = tokens.single(token.text, piece=token.piece)
        wanted = (expected or {}).get(token.text, token.id)
        if wanted is not None and found != wanted:
            raise UsageError(
                f"convention {convention.name!r} was published with id {wanted} for {token.text!r}, but this "
                f"tokenizer gives {found}; use the checkpoint's own tokenizer, or another family"
            )
        ids[token.text] = found
    return Bound(convention, tokens, ids)
