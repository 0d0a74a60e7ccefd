"""Choosing solutions that differ: distances between token sequences, and greedy choice by them.

Contract: distances are in [0, 1], 0 for equal sequences, symmetric. `edit` is the Levenshtein distance over
the longer length; `ngram` is 1 less the Jaccard overlap of the sets of n-grams (a sequence shorter than n is
one n-gram). `spread_out` takes the first item and then, again and again, the one whose smallest distance to
those taken is largest (the earlier one of equals), until `count` are taken or all others are nearer than
`least` to one taken.

Source: farthest-first traversal (Gonzalez 1985), which is within a factor of two of the largest possible
smallest distance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")
Distance = Callable[[Sequence[int], Sequence[int]], float]
NGRAM = 3


def edit_distance(one: Sequence[int], other: Sequence[int]) -> float:
    """Insertions, deletions and replacements between two sequences, over the longer length."""
    if not one or not other:
        return float(bool(one) != bool(other))
    target = np.asarray(other)
    columns = np.arange(len(other) + 1)
    row = columns.copy()
    for number, token in enumerate(one, 1):
        replaced = row[:-1] + (target != token)
        best = np.concatenate(([number], np.minimum(row[1:] + 1, replaced)))
        # Insertions run along the row: each cell is at most its left neighbour plus one.
        row = np.minimum.accumulate(best - columns) + columns
    return float(row[-1]) / max(len(one), len(other))


def ngram_distance(one: Sequence[int], other: Sequence[int]) -> float:
    """1 less the share of n-grams that two sequences have in common."""
    first, second = _ngrams(one), _ngrams(other)
    return 1.0 - len(first & second) / len(first | second)


def _ngrams(tokens: Sequence[int]) -> set[tuple[int, ...]]:
    starts = range(max(1, len(tokens) - NGRAM + 1))
    return {tuple(tokens[start : start + NGRAM]) for start in starts}


DISTANCES: dict[str, Distance] = {"edit": edit_distance, "ngram": ngram_distance}


def spread_out(
    items: Sequence[T],
    tokens: Callable[[T], Sequence[int]],
    distance: Distance,
    *,
    count: int | None,
    least: float,
) -> tuple[list[T], int]:
    """The items taken, in the order of taking, and how many of the rest were nearer than `least`."""
    taken: list[T] = []
    left = list(enumerate(items))
    nearest = {index: float("inf") for index, _ in left}
    while left and (count is None or len(taken) < count):
        index, item = max(left, key=lambda entry: (nearest[entry[0]], -entry[0]))
        if taken and nearest[index] < least:
            break
        taken.append(item)
        left = [entry for entry in left if entry[0] != index]
        for other, candidate in left:
            nearest[other] = min(nearest[other], distance(tokens(item), tokens(candidate)))
    return taken, sum(nearest[index] < least for index, _ in left)
