"""Whether two texts that are alike ask for the same numbers.

Contract: pure functions of readings. `same_figures` holds where the figures of both are equal in order; or
where they are the same ones and every figure has kept its surroundings: it stands, in both, in one run of
`SURROUNDINGS` equal tokens. The second is for paraphrases that move a clause; texts in which two numbers
have changed places, or the brackets of a formula, are other problems. `holds_figures` is for a text inside a
longer one, which may have more figures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence, Set

from selftrain.decontamination.text import Reading

SURROUNDINGS = 4


def same_figures(first: Reading, second: Reading) -> bool:
    """Whether both texts have the same figures, see the module."""
    if first.figures == second.figures:
        return True
    if Counter(first.figures) != Counter(second.figures):
        return False
    return _kept(second, grams(first.running, SURROUNDINGS), SURROUNDINGS)


def holds_figures(given: Reading, asked: Reading, runs: Set[tuple[str, ...]], size: int) -> bool:
    """Whether `given` has all figures of `asked`, as often, and each within a run of `runs`."""
    return _counts(asked) <= _counts(given) and _kept(asked, runs, size)


def _kept(reading: Reading, runs: Set[tuple[str, ...]], size: int) -> bool:
    places = places_within(reading.running, runs, size)
    return all(place in places for place, counted in enumerate(reading.counted) if counted)


def _counts(reading: Reading) -> Counter[str]:
    return Counter(text for text, counted in zip(reading.running, reading.counted, strict=True) if counted)


def grams(tokens: Sequence[str], size: int) -> set[tuple[str, ...]]:
    """All runs of `size` tokens; the whole of a shorter text, nothing of an empty one."""
    if not tokens:
        return set()
    return {tuple(tokens[start : start + size]) for start in range(max(1, len(tokens) - size + 1))}


def places_within(tokens: Sequence[str], runs: Set[tuple[str, ...]], size: int) -> set[int]:
    """Places of `tokens` within a run of `size` tokens that is in `runs`."""
    found: set[int] = set()
    for start in range(max(1, len(tokens) - size + 1)):
        if tuple(tokens[start : start + size]) in runs:
            found.update(range(start, min(len(tokens), start + size)))
    return found
