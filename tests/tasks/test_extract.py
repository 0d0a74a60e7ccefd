"""`tasks.math.extract`: which answer a solution gives, and by which rule."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.math import extract
from tasks.math.limits import MAX_CHARS


@pytest.mark.parametrize(
    ("solution", "text", "source"),
    [
        (r"so \boxed{5}.", "5", "boxed"),
        (r"first \boxed{4}, no: \boxed{5}", "5", "boxed"),
        (r"\boxed{\frac{1}{\sqrt{2}}} is the answer", r"\frac{1}{\sqrt{2}}", "boxed"),
        (r"\boxed{\left\{1,2\right\}}", r"\left\{1,2\right\}", "boxed"),
        (r"\boxed 7 is it", "7", "boxed"),
        (r"\fbox{12} and done", "12", "boxed"),
        (r"\framebox{204} minutes", "204", "boxed"),
        (r"\boxed{3} but then \boxed{", "3", "boxed"),
        (r"\boxed{3} but then \boxed{1 + 2", "3", "boxed"),
        (r"\boxed{6} is what #### 7 is not", "6", "boxed"),
        ("She has 9 left.\n#### 18", "18", "hash"),
        ("#### 18\nand more talk about 20 things", "18", "hash"),
        ("#### Step 1: add 2\nThe answer is 9.", "9", "phrase"),
        ("The answer is 42.", "42", "phrase"),
        ("the Answer: $\\frac{1}{2}$.", r"\frac{1}{2}", "phrase"),
        ("**Answer:** 3.5", "3.5", "phrase"),
        ("So the final answer is: 18 dollars.", "18 dollars", "phrase"),
        ("The answer is 3. Earlier I said the answer is 4. ", "4", "phrase"),
        ("The answer is 12 because 3 times 4 is 12.", "12", "phrase"),
        (r"The answer is \(x = 2\).", "x = 2", "phrase"),
        ("Answer:\n\n7", "7", "phrase"),
        ("2 + 2 = 4\nA: 4", "4", "phrase"),
        ("**Answer:** Verna received $7.00 in change.", "$7.00", "phrase"),
        ("The answer is a total of 1,250 apples.", "1,250", "phrase"),
        ("The answer is at least 5.", "at least 5", "phrase"),
        ("The answer is either 4 or 6.", "either 4 or 6", "phrase"),
        ("The answer is Tuesday.", "Tuesday", "phrase"),
    ],
)
def test_a_marked_answer_is_found(solution: str, text: str, source: str) -> None:
    answer = extract(solution)
    assert answer is not None
    assert (answer.text, answer.source, answer.fallback) == (text, source, False)


@pytest.mark.parametrize(
    ("solution", "text"),
    [
        ("That makes 5 and then 7 apples.", "7"),
        ("a total of $1,234.50, it seems.", "1,234.50"),
        ("x = -3", "-3"),
        ("16-3", "3"),
        ("about 3/4 of it", "3/4"),
        ("cost .5", ".5"),
    ],
)
def test_without_a_mark_the_last_number_is_a_fallback(solution: str, text: str) -> None:
    answer = extract(solution)
    assert answer is not None
    assert (answer.text, answer.source, answer.fallback) == (text, "last_number", True)


@pytest.mark.parametrize("solution", ["", "   ", "no idea", r"\boxed{}", r"\boxed", "####", "Answer:"])
def test_text_without_an_answer_gives_none(solution: str) -> None:
    assert extract(solution) is None


def test_an_answer_longer_than_the_cap_is_cut_just_above_it() -> None:
    answer = extract(r"\boxed{" + "1+" * MAX_CHARS + "1}")
    assert answer is not None
    assert len(answer.text) == MAX_CHARS + 1


@pytest.mark.parametrize(
    "solution",
    [
        "1" * 1_000_000,
        r"\boxed{" * 140_000,
        "answer " * 140_000,
        "answer is" + " " * 1_000_000,
        "#" * 1_000_000,
        "####\n" * 200_000,
        "{" * 1_000_000,
        "final" + " " * 1_000_000 + "5",
        "1," * 500_000,
        "\\" * 1_000_000,
        "the answer is $" * 60_000,
    ],
    ids=lambda text: text[:12],
)
def test_a_megabyte_of_anything_is_read_in_under_a_second(solution: str) -> None:
    started = time.perf_counter()
    extract(solution)
    assert time.perf_counter() - started < 1.0


@given(st.text(max_size=200) | st.text(alphabet="\\boxed{}#answer is:1.$ \n", max_size=200))
def test_extract_never_raises_and_never_returns_an_empty_answer(solution: str) -> None:
    answer = extract(solution)
    assert answer is None or answer.text.strip()
