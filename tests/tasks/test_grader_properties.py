"""Properties of the grader under Hypothesis: total, bounded, symmetric, consistent with canonical keys."""

from __future__ import annotations

import json
import re
import time
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.base import Grade, Verdict
from tasks.math import canonical, explain, extract, grade, prewarm
from tasks.math.rational import differ

FOLDER = Path(__file__).parent.parent / "data" / "grader"
LATEX = sorted(
    {
        json.loads(line)[side]
        for path in FOLDER.glob("*.jsonl")
        for line in path.read_text().splitlines()
        for side in ("gold", "answer")
    }
)
CUTS = [
    r"\frac",
    "{",
    "}",
    "\\",
    "(",
    "]",
    "^",
    "_",
    "=",
    ",",
    " ",
    r"\text{",
    "9",
    "$",
    "\ud800",
    "\x00",
    "½",
]
TERMS = st.sampled_from(["x", "y", "2", "3x", "x^2", "xy", r"\frac{x}{2}", "(x+1)(y-2)", "7y^3", r"\pi"])
POLYNOMIALS = st.lists(st.tuples(st.sampled_from("+-"), TERMS), min_size=1, max_size=5)


@pytest.fixture(autouse=True, scope="module")
def _warm() -> None:
    prewarm()


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """An answer of the golden files with a few places cut, doubled or overwritten."""
    text = draw(st.sampled_from(LATEX))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(text)))
        length = draw(st.integers(0, 3))
        text = (
            text[:place]
            + draw(st.sampled_from([*CUTS, text[place : place + 4] * 2]))
            + text[place + length :]
        )
    return text


def joined(terms: list[tuple[str, str]]) -> str:
    return "".join(sign + term for sign, term in terms).removeprefix("+")


@settings(max_examples=150, deadline=None)
@given(mutated() | st.text(max_size=80), mutated() | st.text(max_size=80))
def test_any_text_gets_a_grade_in_bounded_time(gold: str, answer: str) -> None:
    started = time.perf_counter()
    result = grade(gold, answer)
    assert time.perf_counter() - started <= 2.5
    assert isinstance(result, Grade)
    assert result.verdict in Verdict
    assert result.decided_by


@settings(max_examples=60, deadline=None)
@given(mutated())
def test_an_explanation_agrees_with_the_grade_and_names_the_pair_that_decided(answer: str) -> None:
    how = explain(r"\frac{x}{2}+1", answer)
    assert how.grade.verdict is grade(r"\frac{x}{2}+1", answer).verdict
    if how.grade.decided_by in ("exact", "symbolic"):
        assert how.comparisons[-1].equal is (how.grade.verdict is Verdict.CORRECT)


@settings(max_examples=200, deadline=None)
@given(mutated(), mutated())
def test_equal_keys_grade_correct_unless_two_variables_are_named(gold: str, answer: str) -> None:
    if canonical(gold) == canonical(answer) != "" and "=" not in gold + answer:
        result = grade(gold, answer)
        assert result.verdict is Verdict.CORRECT or result.decided_by.startswith("cap:")


@settings(max_examples=60, deadline=None)
@given(POLYNOMIALS, st.randoms(use_true_random=False))
def test_the_terms_of_a_sum_may_come_in_any_order(terms: list[tuple[str, str]], random: object) -> None:
    shuffled = list(terms)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert grade(joined(terms), joined(shuffled)).verdict is Verdict.CORRECT


@settings(max_examples=60, deadline=None)
@given(POLYNOMIALS, POLYNOMIALS)
def test_the_verdict_on_exact_expressions_does_not_depend_on_which_is_the_gold(
    one: list[tuple[str, str]], other: list[tuple[str, str]]
) -> None:
    left, right = joined(one), joined(other)
    assert grade(left, right).verdict is grade(right, left).verdict


@settings(max_examples=100, deadline=None)
@given(POLYNOMIALS, st.integers(-9, 9).filter(bool), TERMS)
def test_a_term_more_is_shown_to_differ_without_the_worker(
    terms: list[tuple[str, str]], factor: int, term: str
) -> None:
    text = joined(terms)
    assert not differ(text, text)
    changed = f"{text}{factor:+d}({term})"
    assert differ(text, changed)
    assert grade(text, changed).decided_by == "exact"


@settings(max_examples=100, deadline=None)
@given(st.lists(st.fractions(-99, 99, max_denominator=20), min_size=1, max_size=5), st.data())
def test_a_set_is_its_elements_and_a_tuple_their_order(values: list[Fraction], data: st.DataObject) -> None:
    permuted = data.draw(st.permutations(values))
    listed, other = ",".join(map(str, values)), ",".join(map(str, permuted))
    assert grade(f"\\{{{listed}\\}}", f"\\{{{other}\\}}").verdict is Verdict.CORRECT
    same = grade(f"({listed})", f"({other})").verdict is Verdict.CORRECT
    assert same == (values == permuted)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(LATEX).filter(lambda text: text.count("{") == text.count("}") and "box" not in text))
def test_a_box_around_an_answer_is_read_as_the_answer(text: str) -> None:
    found = extract(f"We conclude that $\\boxed{{{text}}}$ holds.")
    assert found is not None
    assert re.sub(r"\s", "", found.text) == re.sub(r"\s", "", text)
