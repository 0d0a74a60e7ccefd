"""N-grams that say nothing about a problem, because all problems of a kind share them.

Contract: pure function. An n-gram is boilerplate if it is in more than `share` of the training problems *and*
of the evaluation set, and in at least `least` of each. Both are needed: a question that leaked twenty times
over makes its n-grams common in training, but an evaluation set asks it once.

The idea is that of document frequency in retrieval (Spaerck Jones 1972), with a cut in place of a weight, so
that similarities stay shares of a set.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

Gram = tuple[str, ...]


def boilerplate(
    training: Iterable[set[Gram]], held_out: Sequence[set[Gram]], *, share: float, least: int
) -> frozenset[Gram]:
    """The n-grams to leave out, of one set of n-grams a problem."""
    asked = _often(Counter(gram for grams in held_out for gram in grams), len(held_out), share, least)
    if not asked:
        return frozenset()
    counts: Counter[Gram] = Counter()
    total = 0
    for total, grams in enumerate(training, start=1):  # noqa: B007
        counts.update(asked & grams)
    return frozenset(_often(counts, total, share, least))


def _often(counts: Counter[Gram], total: int, share: float, least: int) -> set[Gram]:
    return {gram for gram, count in counts.items() if count >= least and count > share * total}
