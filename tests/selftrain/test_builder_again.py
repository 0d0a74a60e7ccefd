"""Words between attempts: what they hold, and how they are found again in a text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftrain.builders.again import Again


@pytest.mark.parametrize(
    "text", ["{question}", "No. {question} ({number})", "{question}\nNot {first}", "Again."]
)
@pytest.mark.parametrize("question", ["Make 24 from 1 2 3.", r"Find \text{number} (a+b)*.", "{first}?"])
def test_words_are_found_where_they_were_put(text: str, question: str) -> None:
    again = Again(text, question)
    steps = ["a\n", "b"]
    for number in (2, 3):
        steps += f"\n{again.words(number, 'a{number}')}\n".splitlines(keepends=True)
        steps += ["a{number}\n", "c"]
    found = again.split(steps)
    assert [[steps[place] for place in each] for each in found] == [["a\n", "b"], *[["a{number}\n", "c"]] * 2]


def test_each_name_is_put_in_once() -> None:
    assert Again("{question} {number}", "why {number}?").words(2, "x") == "why {number}? 2"
    assert Again("not {first}", "q").words(2, " 1+{number}\n") == "not 1+{number}"


@given(st.lists(st.text(max_size=8), max_size=6))
def test_every_other_text_is_one_attempt(steps: list[str]) -> None:
    assert Again("words that no such step holds", "q").split(steps) == [range(len(steps))]
