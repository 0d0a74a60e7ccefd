"""SPIN: a demonstration over what the current model writes.

Contract: `demonstrations` maps problem ids to texts, `encode` gives their token ids (no special tokens). A
demonstration becomes a step of its own below the prompt, closed by the end-of-text token that the tree's
solutions end with, and is chosen over each of up to `max_pairs` different solutions of the tree, drawn by
`seed` and the problem's id. A solution that is the demonstration, word for word, is left out: its gradient
is 0. No grade and no value is read; `selftrain.losses.spin` wants the current model as reference.

Source: SPIN (Chen et al., arXiv 2401.01335), equation 4.7; one generated text a prompt and iteration.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from selftrain.builders.base import Tally, required_input
from selftrain.builders.merge import merge
from selftrain.builders.pairing import Candidate, PairBuilder
from selftrain.builders.solutions import distinct, solutions
from selftrain.data.record import TrainingTree
from selftrain.data.searched import Searched
from selftrain.packing.tree import Ids, TokenTree
from treesearch.seeds import derive
from treesearch.tree import NO_PARENT, ROOT


@dataclass(frozen=True, kw_only=True)
class SelfPlay(PairBuilder):
    """A demonstration over the model's own solutions (SPIN, arXiv 2401.01335)."""

    name: ClassVar[str] = "spin"
    unused = frozenset({"gap_weight", "gap_offset"})

    max_pairs: int | None = 1
    seed: int = 0
    demonstrations: Mapping[str, str] | None = field(
        default=None, repr=False, hash=False, metadata=required_input("texts by problem id")
    )
    encode: Callable[[str], Sequence[int]] | None = field(
        default=None,
        repr=False,
        hash=False,
        metadata=required_input("encodes a text, without special tokens"),
    )

    def build(self, searched: Searched, tally: Tally) -> TrainingTree | None:
        """See the module."""
        text = (self.demonstrations or {}).get(searched.problem.id)
        if text is None or not searched.solutions or self.encode is None:
            tally.drop("no_demonstration" if text is None else "no_solution")
            return None
        found = distinct(solutions(searched, "worth"), tally)
        others = [one for one in found if one.text != text]
        tally.drop("duplicate", len(found) - len(others))
        others.sort(key=lambda one: one.text)
        random.Random(derive(self.seed, self.name, searched.problem.id)).shuffle(others)
        end = searched.tree.segments[searched.solutions[0]][-1]
        merged = merge([searched, _demonstration(searched, text, (*self.encode(text), end))])
        real = merged.places[1][1]
        pairs = [Candidate(above=ROOT, chosen=real, rejected=merged.places[0][one.node]) for one in others]
        return self.tree(merged.searched, pairs=self.pairs(merged.searched, pairs, tally, ordered=True))


def _demonstration(searched: Searched, text: str, ids: Ids) -> Searched:
    """A tree of the prompt and the demonstration, about which nothing is known."""
    return Searched(
        problem=searched.problem,
        tree=TokenTree(segments=(searched.tree.segments[ROOT], ids), parents=(NO_PARENT, ROOT)),
        texts=(searched.texts[ROOT], text),
        finished=(False, True),
        correct=(None, None),
        answers=(None, None),
        outcomes=(0, 0),
        right=(0, 0),
        values=(None, None),
        q=(0.0, 0.0),
        visits=(0, 0),
    )
