"""Overlap by n-grams: long runs of tokens of an evaluation problem that stand in a training problem.

Contract: `covered` gives, for each pair with a shared n-gram, the share of the evaluation problem's tokens
that are within shared n-grams, of those that are within any n-gram that is not boilerplate. With the numbers
`same` the training problem must hold all figures of the evaluation problem, each in an n-gram that both have.
The measure is not symmetric: a question inside a longer text is found.

A text shorter than an n-gram is one n-gram with the end of its sentence, so that ``Compute 3 + 4.`` is not
found in ``Compute 3 + 4 * 5.``

Source: the share of tokens in shared n-grams, 8-grams and one half are those of Tülu 3's decontamination
(arXiv 2411.15124; open-instruct, decontamination/search.py). Deviations: boilerplate is left out, and numbers
must be held.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence, Set
from dataclasses import dataclass

from selftrain.decontamination.boilerplate import Gram, boilerplate
from selftrain.decontamination.figures import grams, holds_figures, places_within
from selftrain.decontamination.settings import Decontamination
from selftrain.decontamination.text import Reading

Pair = tuple[int, int, float]
"""Index of the training problem, index of the evaluation problem, similarity in (0, 1]."""


@dataclass(frozen=True, slots=True)
class Near:
    """Pairs that a near method found, and which evaluation problems are more than boilerplate to it."""

    pairs: list[Pair]
    compared: frozenset[int]


def covered(training: Sequence[Reading], held_out: Sequence[Reading], settings: Decontamination) -> Near:
    """Pairs whose coverage is at least `settings.coverage`, by training problem."""
    pairs: list[Pair] = []
    sizes = sorted({min(settings.ngram, len(reading.running)) for reading in held_out})
    asked = [grams(reading.running, settings.ngram) for reading in held_out]
    common = boilerplate(
        (_of_sizes(reading, sizes) for reading in training),
        asked,
        share=settings.common_share,
        least=settings.common_least,
    )
    holders: dict[Gram, list[int]] = defaultdict(list)
    for index, found in enumerate(asked):
        for gram in found - common:
            holders[gram].append(index)
    for number, reading in enumerate(training):
        given = _of_sizes(reading, sizes)
        for index in sorted({index for gram in given for index in holders.get(gram, ())}):
            share = coverage(held_out[index], given, common, settings.ngram)
            if share >= settings.coverage and (
                settings.numbers == "any" or holds_figures(reading, held_out[index], given, settings.ngram)
            ):
                pairs.append((number, index, share))
    return Near(pairs, frozenset(index for found in holders.values() for index in found))


def coverage(asked: Reading, given: Set[Gram], common: Set[Gram], size: int) -> float:
    """Share of the tokens of `asked` in n-grams of `given`, of those in any; n-grams in `common` are none.

    0 where all of the text is boilerplate.
    """
    informative = grams(asked.running, size) - common
    whole = places_within(asked.running, informative, size)
    return len(places_within(asked.running, informative & given, size)) / len(whole) if whole else 0.0


def _of_sizes(reading: Reading, sizes: Sequence[int]) -> set[Gram]:
    """N-grams of every length that an evaluation problem has them in; short problems are looked for whole."""
    return {gram for size in sizes for gram in grams(reading.running, size)}
