"""`tasks.math.grade`: verdicts on real golds, equal and known-wrong pairs, and hostile text."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.base import Verdict
from tasks.errors import DataError, UsageError
from tasks.math import GRADER, MathTask, extract, grade, prewarm
from tasks.readers import read_problems

FIXTURES = Path(__file__).parent.parent / "data" / "problems"
GOLDS = [
    problem.gold
    for name in ("gsm8k.jsonl", "math500.jsonl", "aime.jsonl")
    for problem in read_problems(FIXTURES / name).require_clean()
]


@pytest.fixture(autouse=True, scope="module")
def _warm() -> None:
    prewarm()


@pytest.mark.parametrize("gold", GOLDS)
def test_every_gold_grades_correct_against_itself(gold: str) -> None:
    answer = extract(f"Therefore $\\boxed{{{gold}}}$.")
    assert answer is not None
    assert grade(gold, gold).verdict is Verdict.CORRECT
    assert grade(gold, answer.text).verdict is Verdict.CORRECT


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("025", "25"),
        ("x=5", "5"),
        ("5", "x = 5"),
        ("10", r"\binom{5}{2} = 10"),
        ("5", "2+3"),
        ("1/3", r"x = \frac{2}{6} = \frac13"),
        (r"2\sqrt3", r"\sqrt{12}"),
        (r"\frac{\sqrt{3}}{3}", r"\frac{1}{\sqrt{3}}"),
        ("p - q", "-q+p"),
        ("(a+5)(b+2)", "ab + 2a + 5b + 10"),
        ("i", r"\sqrt{-1}"),
        ("6 - 5i", "-5i + 6"),
        (r"\cot x", r"\frac{\cos x}{\sin x}"),
        (r"\sin 30^\circ", r"\frac12"),
        ("5x - 7y + 11z + 4 = 0", "-5x + 7y - 11z = 4"),
        ("y = 2x + 3", "2x - y + 3 = 0"),
        (r"\left( 3, \frac{\pi}{2} \right)", r"(3, 0.5\pi)"),
        ("1,-2", r"\{-2, 1\}"),
        (r"1 \pm \sqrt{19}", r"1-\sqrt{19}, 1+\sqrt{19}"),
        (r"x \in [-2,7]", r"-2 \le x \le 7"),
        (r"(-\infty, 2) \cup (3, \infty)", r"(3,\infty)\cup(-\infty,2)"),
        (r"(-\infty, 1) \cup [3, \infty)", r"x < 1 \text{ or } x \ge 3"),
        (r"\begin{pmatrix} -1/3 \\ 2/3 \end{pmatrix}", r"\begin{bmatrix}-\frac13\\\frac23\end{bmatrix}"),
        (r"\text{Evelyn}", "evelyn"),
        (r"\text{Tuesday}", "Tuesday"),
        (r"\text{(C)}", "C"),
        (r"\$32,\!348", "32348 dollars"),
        ("50", r"50\%"),
        ("0.3333", "1/3"),
        ("3.1416", r"\pi"),
        ("2^{2^5}+1", "4294967297"),
        ("x^2", "x**2"),
        ("x < 5", "5 > x"),
    ],
)
def test_an_equal_answer_in_another_form_is_correct(gold: str, answer: str) -> None:
    assert grade(gold, answer).verdict is Verdict.CORRECT


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("3", "x=1=2=3"),
        ("7", "8 = 7"),
        ("3", "3 or 4"),
        ("3", r"3 \text{ or } 4"),
        ("3", "3, 4"),
        ("101_2", "101"),
        ("101", "101_2"),
        ("101_2", "5"),
        ("1", "1_{20}"),
        (r"\frac{1}{2004!}", r"\frac{1}{2006!}"),
        ("1/2004!", "0"),
        (r"\frac{1}{2^{99}}", r"\frac{1}{2^{98}}"),
        ("x/2^{99}", "x/2^{98}"),
        (r"\frac{2^{2005}+1}{3\cdot 2^{2006}}", r"\frac{1}{3 \cdot 2^{2006}}"),
        (r"1 - \frac{1}{\mathrm{e}}", r"1 + \frac{1}{\mathrm{e}}"),
        (r"1, 2, \ldots, n", r"1, 3, 5, \ldots, 2n-1"),
        (r"1:2:3:\ldots", r"1:4:9:\ldots"),
        ("3x + 4y + 14=0", "3*x-1*y+13=0"),
        ("0.0000001", "0.0000004"),
        ("0.5", "50%"),
        ("12:00", "1:00"),
        (r"5 \text{ pm}", r"5 \text{ am}"),
        ("4", r"4\sqrt(2)"),
        (r"\pm 2021", "2021"),
        ("n=2, 3, 4", "n=1, 2, 3"),
        ("D = (0, 1)", "D = (0, 1.5)"),
        (r"19, 46, \text{ and } 82", "21, 36, and 82"),
        (r"F_n = \sum_{k=0}^{n-1} F_k F_{n-k-1}", r"F_n = \sum_{k=0}^{n-2} F_k F_{n-k-2}"),
        ("x=5", "y=5"),
        ("0", "x - 5 = 0"),
        ("5", "2x = 10"),
        ("5", "2 3"),
        ("2k", "2"),
        ("2", "2 thirds"),
        (r"(-\infty, 1) \cup (3, \infty)", r"x < 1 \text{ or } x \ge 3"),
        ("(3,4]", "[3,4)"),
        ("(2,3)", "(3,2)"),
        (r"(-2, 2)", "x^2 < 4"),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}2\\1\end{pmatrix}"),
        ("6-5i", "6+5i"),
        ("x", r"\sqrt{x^2}"),
        (r"\frac{14}{3}", "4.6667"),
        (r"\pi", "3.1416"),
        ("0.15", "0.154"),
        ("x < 5", r"x \le 5"),
        (r"\text{even}", r"\text{odd}"),
        ("5", "Tuesday"),
        ("5", "it cannot be known"),
        ("5", "garbage (((("),
    ],
)
def test_a_known_wrong_answer_is_incorrect(gold: str, answer: str) -> None:
    assert grade(gold, answer).verdict is Verdict.INCORRECT


@pytest.mark.parametrize("answer", [None, "", "   "])
def test_no_answer_is_incorrect(answer: str | None) -> None:
    assert (grade("5", answer).verdict, grade("5", answer).decided_by) == (Verdict.INCORRECT, "missing")


@pytest.mark.parametrize("gold", [None, " ", "1" * 5000, "1000000!", r"\frac{1"])
def test_a_gold_that_cannot_be_read_is_ungradable(gold: str | None) -> None:
    assert grade(gold, "5x").verdict is Verdict.UNGRADABLE_GOLD


def test_a_broken_formula_is_ungradable_and_not_incorrect() -> None:
    result = grade(r"\frac{3}{4}", r"\frac{3}{4")
    assert (result.verdict, result.decided_by) == (Verdict.UNGRADABLE_ANSWER, "unreadable")


def test_a_grade_carries_the_version_and_the_seconds() -> None:
    result = grade("5", "5")
    assert result.grader == GRADER == "math/2"
    assert 0 <= result.seconds < 1


HOSTILE = [
    "9^{9^{9}}",
    "9**9**9",
    "10^{100000000}",
    "1000000!",
    "3!!!!!!",
    r"\binom{1000000}{500000}",
    r"\sum_{k=1}^{100000000} k",
    r"\prod_{n=1}^{9999}(x+n)",
    r"\int_0^{\infty} \frac{\sin x^{x}}{x^{99}} dx",
    r"(9^{9999})^{9999}",
    "(" * 500 + "1" + ")" * 500,
    "{" * 500 + "1" + "}" * 500,
    r"\sqrt{" * 60 + "2" + "}" * 60,
    "1" * 1_000_000,
    "x" * 4000,
    "1e999999999",
    "(((x+y)^{99})^{99})^{99}",
    "(65)^{(65)^{(65)}}",
    r"\ln(\ln(\ln(\ln(\ln(\ln(x))))))",
    r"\begin{pmatrix}" + r"1&2&x\\" * 60 + r"\end{pmatrix}",
    "|" * 60 + "1" + "|" * 60,
    "<".join(f"x_{n}" for n in range(90)),
    "__import__('os').system('true')",
    "+".join(f"x_{{{n}}}" for n in range(400)),
    ",".join("xy"[n % 2] + "^2" for n in range(200)),
    "\ud800\x00",
]


@pytest.mark.parametrize("answer", HOSTILE, ids=lambda text: text[:16].encode("ascii", "replace").decode())
@pytest.mark.parametrize("gold", ["5", r"\sqrt{2}+x"])
def test_a_hostile_answer_is_refused_within_the_bound(gold: str, answer: str) -> None:
    started = time.perf_counter()
    verdict = grade(gold, answer).verdict
    assert time.perf_counter() - started <= 2.5
    assert verdict in (Verdict.INCORRECT, Verdict.UNGRADABLE_ANSWER)


def test_many_slow_elements_share_one_time_limit() -> None:
    slow = r"\int_{9}^{\infty}\sqrt{\sin x+x^5}dx"
    started = time.perf_counter()
    result = grade("(x, y, z)", f"({slow}, {slow}, {slow})")
    assert time.perf_counter() - started <= 2.5
    assert result.verdict is Verdict.UNGRADABLE_ANSWER


PIECES = [
    r"\frac", r"\sqrt", r"\pi", r"\left(", r"\right)", r"\{", r"\}", r"\text{or}", r"\cup", r"\pm", r"\infty",
    "0", "1", "27", "x", "y", "e", "i", "cm", "and", *"{}()[],=<>^_+-/!.%$ ",
]  # fmt: skip
FRAGMENTS = st.lists(st.sampled_from(PIECES), max_size=14).map("".join)


@settings(max_examples=60, deadline=None)
@given(FRAGMENTS | st.text(max_size=40), FRAGMENTS | st.text(max_size=40))
def test_grade_never_raises_and_keeps_its_bound(gold: str, answer: str) -> None:
    started = time.perf_counter()
    result = grade(gold, answer)
    assert time.perf_counter() - started <= 2.5
    assert result.grader == GRADER


@settings(max_examples=40, deadline=None)
@given(FRAGMENTS.filter(lambda text: bool(text.strip())))
def test_no_answer_is_incorrect_against_itself(text: str) -> None:
    assert grade(text, text).verdict is not Verdict.INCORRECT


def test_the_task_loads_grades_and_wraps_questions() -> None:
    task = MathTask()
    problems = task.load(FIXTURES / "gsm8k.jsonl", limit=2)
    assert [problem.gold for problem in problems] == ["18", "3"]
    assert task.grade(problems[0], "18").verdict is Verdict.CORRECT
    asked = task.problem(" What is 2+2? ")
    assert (asked.question, asked.gold) == ("What is 2+2?", None)
    assert task.grade(asked, "4").verdict is Verdict.UNGRADABLE_GOLD
    assert task.canonical("0.5") == "1/2"
    assert not task.verifies_without_gold


def test_the_task_refuses_an_empty_question_and_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="empty"):
        MathTask().problem("  ")
    with pytest.raises(DataError, match="cannot read"):
        MathTask().load(tmp_path / "absent.jsonl")
