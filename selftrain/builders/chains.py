"""Texts that are no path of a searched tree, composed of its steps and of words in between.

Contract: a `Composer` starts from a problem's prompt. `step` copies a step of the searched tree below any
composed node, `say` puts words of its own; both are steps of the composed tree, and equal steps at one place
are one node, so that chains share what they have in common. A copied step that ended the text keeps its
end-of-text token only with `last`: nothing may follow that token. Stored log-probs stay only where all that
is before a step is as it was when the step was written.

Words stand on their own: between two steps the text has the policy's `delimiter`, which is put before the
words where the text before does not end with it, and always after them. `encode` gives their token ids, one
piece a call, without special tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from selftrain.builders.base import Builder, required_input
from selftrain.data.record import Pair, Trace, TrainingTree
from selftrain.data.searched import Searched
from selftrain.packing.tree import Ids, TokenTree
from tasks.errors import UsageError
from treesearch.formats import delimiter
from treesearch.tree import NO_PARENT, ROOT

Encode = Callable[[str], Sequence[int]]


@dataclass(slots=True, kw_only=True)
class _Composed:
    parent: int
    ids: Ids
    text: str
    logprobs: tuple[float, ...] | None
    source: int | None
    """The searched node of which this is a copy with all that was before it."""


class Composer:
    """Composes chains below the prompt of `searched`; see the module."""

    def __init__(self, searched: Searched, *, encode: Encode, delimiter: str) -> None:
        self.searched = searched
        self._encode, self._delimiter = encode, delimiter
        self._nodes = [
            _Composed(
                parent=NO_PARENT,
                ids=searched.tree.segments[ROOT],
                text=searched.texts[ROOT],
                logprobs=None,
                source=ROOT,
            )
        ]
        self._index: dict[tuple[int, Ids, str], int] = {}

    def step(self, at: int, node: int, *, last: bool = False) -> int:
        """Copy step `node` of the searched tree below the composed node `at`; returns the copy."""
        tree = self.searched.tree
        cut = self.searched.finished[node] and not last
        ids = tree.segments[node][:-1] if cut else tree.segments[node]
        as_it_was = self._nodes[at].source == tree.parents[node]
        stored = tree.logprobs[node] if tree.logprobs and as_it_was else None
        return self._add(
            _Composed(
                parent=at,
                ids=ids,
                text=self.searched.texts[node],
                logprobs=stored if stored is None else stored[: len(ids)],
                source=node if as_it_was else None,
            )
        )

    def steps(self, at: int, nodes: Iterable[int], *, last: bool = False) -> list[int]:
        """Copy steps one below the other; with `last` the final one may end the text."""
        found: list[int] = []
        todo = list(nodes)
        for number, node in enumerate(todo, 1):
            at = self.step(at, node, last=last and number == len(todo))
            found.append(at)
        return found

    def text(self, at: int) -> str:
        """Text of a composed node."""
        return self._nodes[at].text

    def say(self, at: int, words: str) -> int:
        """Put words below `at`, on their own; returns their node. `UsageError` if they have no tokens."""
        open_end = at != ROOT and not self._nodes[at].text.endswith(self._delimiter)
        text = f"{self._delimiter if open_end else ''}{words}{self._delimiter}"
        ids = tuple(self._encode(text))
        if not ids:
            raise UsageError(f"encode gave no tokens for {text!r}")
        return self._add(_Composed(parent=at, ids=ids, text=text, logprobs=None, source=None))

    def _add(self, node: _Composed) -> int:
        key = (node.parent, node.ids, node.text)
        if key not in self._index:
            self._index[key] = len(self._nodes)
            self._nodes.append(node)
        return self._index[key]

    def tree(
        self, traces: Sequence[Trace], *, builder: str, pairs: Sequence[Pair] = ()
    ) -> TrainingTree | None:
        """The composed tree with `traces` and `pairs`; None without any trace."""
        if not traces:
            return None
        return TrainingTree(
            problem=self.searched.problem.id,
            tree=TokenTree(
                segments=tuple(node.ids for node in self._nodes),
                parents=tuple(node.parent for node in self._nodes),
                logprobs=tuple(node.logprobs for node in self._nodes),
            ),
            texts=tuple(node.text for node in self._nodes),
            traces=tuple(traces),
            pairs=tuple(pairs),
            meta={"builders": [builder]},
        )


@dataclass(frozen=True, kw_only=True)
class ComposingBuilder(Builder):
    """A builder that puts words between steps.

    `delimiter` is the policy's (`treesearch.formats.delimiter`); words end with it, with a line break where
    steps end after a number of tokens.
    """

    delimiter: str = "line"
    encode: Encode | None = field(
        default=None, repr=False, hash=False, metadata=required_input("encodes words, without special tokens")
    )

    def __post_init__(self) -> None:
        delimiter(self.delimiter)

    def composer(self, searched: Searched) -> Composer:
        """A composer for one problem."""
        if self.encode is None:
            raise UsageError(f"builder {self.name!r} needs encode")
        stops = delimiter(self.delimiter).stop or ("\n",)
        return Composer(searched, encode=self.encode, delimiter=stops[0])


def wrong_children(searched: Searched, state: int, step: int, least: int) -> list[int]:
    """Siblings of `step` below `state` that never led to a right answer, the most tempting first.

    They have at least `least` outcomes, none of them right, and another text than `step`; the larger worth is
    the more tempting, then the earlier text. Of equal texts the first stays.
    """
    found: dict[str, int] = {}
    children = [
        node for node in searched.tree.children()[state] if searched.texts[node] != searched.texts[step]
    ]
    for node in sorted(children, key=lambda one: (searched.downwards(one), searched.texts[one])):
        if searched.outcomes[node] >= least and not searched.right[node]:
            found.setdefault(searched.texts[node], node)
    return list(found.values())
