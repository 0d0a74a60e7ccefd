"""Plays that differ in order or in brackets alone are one answer; others are not."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.arithmetic import evaluate
from tasks.countdown.normal import normal_form
from tasks.countdown.task import CountdownTask

NUMBERS: tuple[str, ...] = ("2", "3", "5", "7", "11")
SOUND: list[dict[str, int]] = [
    dict(zip(NUMBERS, random.Random(seed).sample(range(10**9), 5), strict=True)) for seed in range(3)
]


@pytest.mark.parametrize(
    ("written", "form"),
    [
        ("3+(11*2)", "11*2+3"),
        ("(2*11)+3", "11*2+3"),
        ("8-(5-3)", "3+8-5"),
        ("(8+3)-5", "3+8-5"),
        ("6/(2/3)", "3*6/2"),
        ("(6*3)/2", "3*6/2"),
        ("1/(2*3)", "1/2/3"),
        ("((7))", "7"),
        ("(2-1)*(4-3)", "(1-2)*(3-4)"),
        ("3-5*2", "-(2*5-3)"),
        ("3/4+1", "1+3/4"),
        ("24", "24"),
        ("a+b", None),
        ("", None),
        ("3+", None),
        ("(" * 60 + "1" + ")" * 60, None),
    ],
)
def test_an_expression_has_this_form(written: str, form: str | None) -> None:
    assert normal_form(written) == form


def test_votes_are_by_form_and_without_the_value() -> None:
    task = CountdownTask()
    assert task.canonical("(2*11)+3 = 25") == task.canonical("3+(11*2)")
    assert task.canonical("no expression") == "noexpression"


@st.composite
def plays(draw: st.DrawFn) -> str:
    """A play of all of `NUMBERS`: two of what is left are joined until one is left."""
    left = list(NUMBERS)
    while len(left) > 1:
        first = left.pop(draw(st.integers(0, len(left) - 1)))
        second = left.pop(draw(st.integers(0, len(left) - 1)))
        left.append(f"({first}{draw(st.sampled_from('+-*/'))}{second})")
    return left[0][1:-1]


def values(play: str) -> list[Fraction | None]:
    """The value of the play with other numbers in place of its own, three times."""
    found: list[Fraction | None] = []
    for sound in SOUND:
        other = "".join(str(sound.get(part, part)) for part in _parts(play))
        result = evaluate(other)
        found.append(None if result is None else result.value)
    return found


def _parts(play: str) -> list[str]:
    for mark in "+-*/()":
        play = play.replace(mark, f" {mark} ")
    return play.split()


@settings(max_examples=300)
@given(one=plays(), other=plays())
def test_two_plays_have_one_form_exactly_if_they_are_equal_for_all_numbers(one: str, other: str) -> None:
    assert (normal_form(one) == normal_form(other)) == (values(one) == values(other))


@settings(max_examples=200)
@given(play=plays())
def test_a_form_is_its_own_form_and_worth_what_the_play_is(play: str) -> None:
    form = normal_form(play)
    assert form is not None
    assert normal_form(form) == form
    assert values(form) == values(play)


@settings(max_examples=200)
@given(play=plays(), seed=st.integers(0, 2**32))
def test_swapping_what_commutes_changes_nothing(play: str, seed: int) -> None:
    assert normal_form(_swapped(f"({play})", random.Random(seed))[1:-1]) == normal_form(play)


def _swapped(play: str, rng: random.Random) -> str:
    if play[0] != "(":
        return play
    depth = 0
    for place, mark in enumerate(play):
        depth += (mark == "(") - (mark == ")")
        if depth == 1 and mark in "+-*/" and place > 0:
            first, second = _swapped(play[1:place], rng), _swapped(play[place + 1 : -1], rng)
            if mark in "+*" and rng.random() < 0.5:
                first, second = second, first
            return f"({first}{mark}{second})"
    raise AssertionError(play)
