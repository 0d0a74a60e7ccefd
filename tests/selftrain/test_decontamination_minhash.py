"""MinHash: signatures estimate the Jaccard similarity, bands find similar pairs, boilerplate is left out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftrain.decontamination import Decontamination
from selftrain.decontamination.boilerplate import boilerplate
from selftrain.decontamination.minhash import banding, candidates, found_at, jaccard, signatures, similar
from selftrain.decontamination.text import read_text
from tasks.errors import UsageError

Sets = list[set[tuple[str, ...]]]
SETS = st.lists(st.sets(st.sampled_from([(letter,) for letter in "abcdefgh"]), max_size=8), max_size=6)


def numbers(first: int, last: int) -> set[tuple[str, ...]]:
    return {(str(number),) for number in range(first, last)}


def test_the_default_banding_is_what_the_module_says() -> None:
    settings = Decontamination()
    assert banding(settings.jaccard, settings.permutations, settings.recall) == (128, 2)
    assert 1 / (1 - found_at(settings.jaccard, 128, 2)) == pytest.approx(174_000, rel=0.02)


def test_bands_are_the_longest_that_reach_the_recall() -> None:
    bands, rows = banding(0.5, 128, 0.95)
    assert found_at(0.5, bands, rows) >= 0.95 > found_at(0.5, 128 // (rows + 1), rows + 1)
    with pytest.raises(UsageError, match="raise permutations"):
        banding(0.1, 4, 0.99)


def test_the_share_of_equal_entries_is_the_jaccard_similarity() -> None:
    one, other = numbers(0, 60), numbers(30, 90)
    assert jaccard(one, other) == pytest.approx(1 / 3)
    first, second = signatures([one, other], 4096)
    assert float(np.mean(first == second)) == pytest.approx(1 / 3, abs=0.03)


def test_pairs_at_the_bound_are_proposed_about_as_often_as_the_formula_says() -> None:
    settings = Decontamination(jaccard=0.5, permutations=32, recall=0.9)
    bands, rows = banding(0.5, 32, 0.9)
    one: Sets = [{(f"{place}.{number}",) for number in range(30)} for place in range(600)]
    other: Sets = [{(f"{place}.{number}",) for number in range(10, 40)} for place in range(600)]
    found = {(first, second) for first, second in candidates(one, other, settings)}
    share = sum((place, place) in found for place in range(600)) / 600
    assert share == pytest.approx(found_at(0.5, bands, rows), abs=0.04)


@given(SETS, SETS)
def test_equal_sets_are_always_proposed_and_empty_ones_never(first: Sets, second: Sets) -> None:
    found = list(candidates(first, second, Decontamination()))
    assert found == sorted(set(found))
    for number, one in enumerate(first):
        for index, other in enumerate(second):
            if one == other and one:
                assert (number, index) in found
            if not one or not other:
                assert (number, index) not in found


def test_no_pair_below_the_bound_is_reported_and_the_similarity_is_exact() -> None:
    asked = read_text("Ann has 3 red pens in a big box")
    given = [read_text("Ann has 3 red pens in a tin"), read_text("Ann eats 3 plums")]
    found = similar(given, [asked], Decontamination(shingle=1, jaccard=0.5))
    assert found.pairs == [(0, 0, 7 / 10)]
    assert found.compared == {0}


def test_boilerplate_is_what_both_sides_share_often() -> None:
    often, once = ("solve",), ("leaked",)
    training: Sets = [{often, once, (str(number),)} for number in range(20)]
    held_out: Sets = [{often, (f"h{number}",)} | ({once} if number == 0 else set()) for number in range(20)]
    assert boilerplate(training, held_out, share=0.05, least=5) == {often}
    assert boilerplate(training, held_out, share=0.05, least=21) == frozenset()
    assert boilerplate([], held_out, share=0.05, least=5) == frozenset()
