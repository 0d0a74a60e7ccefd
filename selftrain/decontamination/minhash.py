"""Overlap by MinHash: problems whose wordings are alike, found without comparing all pairs.

Contract: `similar` gives the pairs whose sets of shingles (runs of tokens, numbers masked) have a Jaccard
similarity ``|A & B| / |A | B|`` of at least `settings.jaccard`. MinHash only proposes; every proposal is
measured on the sets themselves, so the similarity given is exact and no pair below the bound is reported. A
pair of similarity s is proposed with chance ``1 - (1 - s^r)^b`` for b bands of r rows: `banding` takes the
longest bands (fewest false proposals) for which that chance at the bound is at least `settings.recall`. With
the defaults that is 128 bands of 2 rows, and a pair at the bound of 0.3 is missed once in 170,000 times.

Numbers are masked so that a paraphrase is not missed for how it writes them; that they are the same is
checked by `selftrain.decontamination.figures`. Boilerplate is left out. The seed is fixed.

Sources: Broder 1997; banding as in Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, section 3.4.
Own code in place of the library `datasketch`, which would bring SciPy into every installation.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from selftrain.decontamination.boilerplate import Gram, boilerplate
from selftrain.decontamination.figures import grams, same_figures
from selftrain.decontamination.ngrams import Near, Pair
from selftrain.decontamination.settings import Decontamination
from selftrain.decontamination.text import Reading
from tasks.errors import UsageError

_SEED = 1
_PRIME = 2**31 - 1
"""Hashes are below it, so that a product of two and a sum stay within 64 bits."""
_FOLD = np.uint64(0x9E3779B97F4A7C15)


def similar(training: Sequence[Reading], held_out: Sequence[Reading], settings: Decontamination) -> Near:
    """Pairs at least as similar as `settings.jaccard`, and with the same numbers where that is asked."""
    asked = [grams(reading.masked, settings.shingle) for reading in held_out]
    given = [grams(reading.masked, settings.shingle) for reading in training]
    common = boilerplate(given, asked, share=settings.common_share, least=settings.common_least)
    asked, given = [found - common for found in asked], [found - common for found in given]
    pairs: list[Pair] = []
    for number, index in candidates(given, asked, settings):
        share = jaccard(given[number], asked[index])
        if share < settings.jaccard:
            continue
        if settings.numbers == "any" or same_figures(held_out[index], training[number]):
            pairs.append((number, index, share))
    return Near(pairs, frozenset(index for index, found in enumerate(asked) if found))


def candidates(
    first: Sequence[set[Gram]], second: Sequence[set[Gram]], settings: Decontamination
) -> Iterator[tuple[int, int]]:
    """Index pairs that share a band of their signatures, in order; empty sets have none."""
    bands, rows = banding(settings.jaccard, settings.permutations, settings.recall)
    holders: dict[int, list[int]] = defaultdict(list)
    for index, signature in enumerate(signatures(second, bands * rows)):
        for key in _band_keys(signature, rows) if second[index] else ():
            holders[key].append(index)
    for number, signature in enumerate(signatures(first, bands * rows)):
        if first[number]:
            found = {other for key in _band_keys(signature, rows) for other in holders.get(key, ())}
            yield from ((number, other) for other in sorted(found))


def jaccard(first: set[Gram], second: set[Gram]) -> float:
    """Shared n-grams over all n-grams of both; 0 for two empty sets."""
    union = len(first | second)
    return len(first & second) / union if union else 0.0


def banding(similarity: float, permutations: int, recall: float) -> tuple[int, int]:
    """Bands and rows: the most rows r for which ``1 - (1 - similarity^r)^(permutations // r) >= recall``.

    `UsageError` where not even single rows reach it.
    """
    best = 0
    for rows in range(1, permutations + 1):
        if found_at(similarity, permutations // rows, rows) >= recall:
            best = rows
    if not best:
        raise UsageError(
            f"{permutations} permutations cannot find pairs of similarity {similarity} with chance {recall}; "
            "raise permutations or jaccard, or lower recall"
        )
    return permutations // best, best


def found_at(similarity: float, bands: int, rows: int) -> float:
    """``1 - (1 - s^r)^b``: the chance that a pair of similarity s shares a band."""
    return 1 - (1 - similarity**rows) ** bands


def signatures(sets: Sequence[set[Gram]], permutations: int) -> Iterator[NDArray[np.uint64]]:
    """The least hash of every set under each of `permutations` hash functions ``(a h + b) mod p``.

    Two sets have equal entries with a chance of their Jaccard similarity. All are p for an empty set.
    """
    draw = random.Random(_SEED)
    drawn = [(draw.randrange(1, _PRIME), draw.randrange(_PRIME)) for _ in range(permutations)]
    factors, offsets = np.array(drawn, dtype=np.uint64).reshape(permutations, 2).T[:, :, None]
    for found in sets:
        hashes = np.array([_hash(gram) for gram in found], dtype=np.uint64)
        yield ((factors * hashes + offsets) % np.uint64(_PRIME)).min(axis=1, initial=np.uint64(_PRIME))


def _band_keys(signature: NDArray[np.uint64], rows: int) -> list[int]:
    """One number for each band: its place and its rows, folded modulo 2^64."""
    bands = signature.reshape(-1, rows)
    keys = np.arange(len(bands), dtype=np.uint64)
    for column in bands.T:
        keys = keys * _FOLD + column
    return keys.tolist()


@lru_cache(maxsize=1 << 18)
def _hash(gram: Gram) -> int:
    return int.from_bytes(blake2b(" ".join(gram).encode(), digest_size=8).digest()) % _PRIME
