"""`tasks.math.canonical`: equal answers share a key, different ones do not, and grading agrees."""

from __future__ import annotations

import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.base import Verdict
from tasks.math import canonical, grade

RATIONALS = st.fractions(min_value=-10_000, max_value=10_000, max_denominator=999)


@pytest.mark.parametrize(
    ("key", "spellings"),
    [
        (
            "1/2",
            ["0.5", "1/2", r"\frac{1}{2}", r"\dfrac12", r"$\tfrac 12$", ".50", "2/4", r"\boxed{0.5}", "5e-1"],
        ),
        (
            "1000",
            ["1000", "1,000", r"1\,000", "1 000", "1{,}000", r"1,\!000", "1000.00", "$1,000$", r"\$1000"],
        ),
        ("9/5", [r"1\frac{4}{5}", "1 4/5", r"1\frac45", "1.8", r"\frac{9}{5}"]),
        ("90", ["90", r"90^\circ", "90°", "90 degrees", r"90\text{ degrees}", r"90^{\circ}"]),
        ("50", ["50", "50%", r"50\%", "50 percent"]),
        ("15", ["15", r"15\mbox{ cm}^2", "15 cm", "15 apples", "15.", r"\text{15}"]),
        ("-3", ["-3", "−3", r"\left(-3\right)", "x = -3", "-3.0"]),
        ("2000000", ["2 million", "2,000,000", r"2\times 10^6"]),
        ("52_8", ["52_8", "52_{8}", r"52_{\text{eight}}"]),
        ("east", ["East", r"\text{east}", "east."]),
        ("C", [r"\text{(C)}", "C", "(C)"]),
        ("-2,1", ["1,-2", "-2, 1", "1 and -2", "x = 1 or x = -2"]),
        ("(3,4]", ["(3,4]", r"\left(3, 4\right]", r"x \in (3,4]"]),
        (r"2\sqrt{5}", [r"2\sqrt5", r"2 \sqrt{5}", r"2\sqrt 5"]),
    ],
)
def test_spellings_of_one_answer_share_a_key(key: str, spellings: list[str]) -> None:
    assert {spelling: canonical(spelling) for spelling in spellings} == dict.fromkeys(spellings, key)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1", "l"),
        ("50%", "0.5"),
        ("101_2", "101"),
        ("(1,2)", "(2,1)"),
        ("(1,2)", "[1,2]"),
        ("AB", "ab"),
        ("x=1=2", "2"),
        ("3 or 4", "3"),
        ("1.0000001", "1"),
        ("2 3", "23"),
        (r"1,2,\ldots,n", "1,2,n"),
    ],
)
def test_different_answers_have_different_keys(one: str, other: str) -> None:
    assert canonical(one) != canonical(other)


@given(RATIONALS, st.data())
def test_notations_of_one_rational_share_a_key_and_grade_correct(
    value: Fraction, data: st.DataObject
) -> None:
    top, bottom = value.numerator, value.denominator
    sign = "-" if value < 0 else ""
    whole, rest = divmod(abs(top), bottom)
    factor = data.draw(st.integers(min_value=1, max_value=50))
    notations = [
        f"{top}/{bottom}",
        f"\\frac{{{top * factor}}}{{{bottom * factor}}}",
        f"${sign}\\dfrac{{{abs(top)}}}{{{bottom}}}$",
        f"\\boxed{{{top}/{bottom}}}",
    ]
    if bottom == 1:
        notations += [f"{top:,}", f"{top}.00", f"{top} apples"]
    elif whole:
        notations += [f"{sign}{whole}\\frac{{{rest}}}{{{bottom}}}", f"{sign}{whole} {rest}/{bottom}"]
    keys = {canonical(notation) for notation in notations}
    assert keys == {str(value)}
    one, other = data.draw(st.sampled_from(notations)), data.draw(st.sampled_from(notations))
    assert grade(one, other).verdict is Verdict.CORRECT


@given(RATIONALS, RATIONALS)
def test_keys_of_two_rationals_agree_with_their_grade(gold: Fraction, answer: Fraction) -> None:
    same_key = canonical(str(gold)) == canonical(str(answer))
    assert same_key == (gold == answer) == (grade(str(gold), str(answer)).verdict is Verdict.CORRECT)


@given(st.text(max_size=120) | st.text(alphabet="\\frac{}()[],=.0123 x$%^_/-", max_size=120))
def test_canonical_never_raises(answer: str) -> None:
    canonical(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "1" * 1_000_000,
        "9" * 4000,
        "(" * 4000,
        "{" * 4096,
        "1," * 2000,
        r"\frac" * 800,
        "((1,2)," * 500,
        "=" * 4000,
        "1e999999",
    ],
    ids=lambda text: text[:8],
)
def test_canonical_is_bounded_for_huge_text(answer: str) -> None:
    started = time.perf_counter()
    assert len(canonical(answer)) <= 4 * 4096
    assert time.perf_counter() - started < 0.5


def test_huge_answers_vote_together_only_if_identical() -> None:
    assert canonical("1" * 5000) == canonical("1" * 5000)
    assert canonical("1" * 5000) != canonical("1" * 5001)
