"""Readings of problem texts: what two wordings of one problem have in common, and what tells two apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftrain.decontamination.figures import grams, holds_figures, places_within, same_figures
from selftrain.decontamination.text import read_text

SAME = [
    ("He has 1,000 coins.", "he has 1000 coins"),
    ("It costs $2.50, she says", "It costs 2.5 she says"),
    ("Twelve eggs; twenty-five hens.", "12 eggs, 25 hens"),
    (r"Find $\frac{1}{2}$ of $6$.", "Find 1/2 of 6"),
    (r"Let $x \leq 3$.", "Let x ≤ 3"),
    (r"3 \times 4 \div 2", "3 × 4 ÷ 2"),
    ("Janet’s ducks", "Janet's ducks"),
    ("a 9-year-old boy", "a 9 year old boy"),
    ("５ apples", "5 apples"),
    ("10 percent", "10%"),
    ("Hooray! He won 5 games", "Hooray. He won 5 games"),
    (r"\left(3\right) + {4}", "3 + 4"),
    ("x² − 5x + 6 = 0", "$x^2 - 5x + 6 = 0$"),
    ("x⁻¹ + 2ⁿ⁺¹", "x^{-1} + 2^{n+1}"),
    ("√245 + √(x + 1)", r"\sqrt{245} + \sqrt{x + 1}"),
    ("an angle of 90°", r"an angle of $90^\circ$"),
    ("an angle of 90°", "an angle of 90 degrees"),
    ("πr² and θ", r"\pi r^2 and \theta"),
    ("x ≠ ±3, A ∪ B", r"x \neq \pm 3, A \cup B"),
    ("x₁ + x₂", "x_1 + x_2"),
    ("three hundred coins, one hundred twenty hens", "300 coins, 120 hens"),
    ("two thousand and five, 1.5 million", "2000 and 5, 1,500,000"),
    ("twelve thousand three hundred and four", "12,304"),
    ("the point (1,200)", "the point (1, 200)"),
]
OTHER = [
    ("He has 3 coins", "He has 4 coins"),
    ("3 - 4", "3 + 4"),
    ("-3 + x", "3 + x"),
    ("(2 + 3) * 4", "2 + 3 * 4"),
    ("x = 1", "x = 2"),
    ("2.5 km", "25 km"),
    ("5! / 3", "5 / 3"),
    (r"\sin x", r"\cos x"),
    ("What is 5² + 3?", "What is 52 + 3?"),
    ("{1,2,3} ∪ {3,4}", "{1,2,3} ∩ {3,4}"),
    ("√16 + 3", "16 + 3"),
    ("A ∈ B", "A ∉ B"),
    ("p ∧ q", "p ∨ q"),
    ("a ⊕ b", "a ⊗ b"),
    ("three hundred coins", "three thousand coins"),
    ("the point (1,200)", "the point (1,201)"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_ways_of_writing_do_not_matter(one: str, other: str) -> None:
    assert read_text(one).key == read_text(other).key
    assert read_text(one).figures == read_text(other).figures


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_another_number_sign_or_bracket_is_another_problem(one: str, other: str) -> None:
    first, second = read_text(one), read_text(other)
    assert first.key != second.key
    assert not same_figures(first, second)


def test_numbers_and_letters_are_masked_and_words_are_not() -> None:
    assert read_text("If x = 3, a cat has nine lives.").masked == (
        "if", "_", "=", "#", "a", "cat", "has", "#", "lives",
    )  # fmt: skip


def test_one_is_a_pronoun_among_words_and_a_number_beside_a_sign() -> None:
    assert read_text("each one has 1 hat").figures == ()
    assert read_text("1 + x").figures == ("1", "+")


@pytest.mark.parametrize("text", ["", "  \n", "?!", "...", "$$"])
def test_a_text_without_letters_numbers_or_signs_has_no_key(text: str) -> None:
    assert read_text(text).key == ""


@given(st.text(max_size=80))
def test_any_text_is_read_and_its_parts_are_of_one_length(text: str) -> None:
    found = read_text(text)
    assert len(found.running) == len(found.counted)
    assert read_text(found.key).key == read_text(read_text(found.key).key).key
    assert same_figures(found, found)


def test_clauses_may_move_but_two_numbers_may_not_change_places() -> None:
    one = read_text("Ann has 3 red pens. Bob has 7 blue hats. How many things are there?")
    moved = read_text("Bob has 7 blue hats. Ann has 3 red pens. How many things are there?")
    swapped = read_text("Ann has 7 red pens. Bob has 3 blue hats. How many things are there?")
    assert one.figures != moved.figures
    assert same_figures(one, moved)
    assert not same_figures(one, swapped)


def test_a_longer_text_holds_the_figures_of_one_inside_it() -> None:
    asked = read_text("Ann has 3 red pens and 4 blue pens now")
    page = read_text("Page 9. Ann has 3 red pens and 4 blue pens now. Next, 5 cats.")
    other = read_text("Page 4. Ann has 3 red pens and 5 blue pens now.")
    assert holds_figures(page, asked, grams(page.running, 4), 4)
    assert not holds_figures(other, asked, grams(other.running, 4), 4)


def test_runs_of_a_text_shorter_than_their_size_are_the_whole_of_it() -> None:
    assert grams("ab", 3) == {("a", "b")}
    assert grams("", 3) == set()
    assert grams("abca", 2) == {("a", "b"), ("b", "c"), ("c", "a")}
    assert places_within("xabx", {("a", "b")}, 2) == {1, 2}
