"""`tasks.math.explain` and the parts that show in it: structures, pairs, parses."""

from __future__ import annotations

from tasks.base import Verdict
from tasks.math import explain, grade
from tasks.math.rational import differ


def test_both_readings_and_every_pair_are_shown() -> None:
    how = explain(r"x \in [1, \sqrt{8})", r"[1,2\sqrt2)")
    assert how.gold is not None
    assert (how.gold.structure, how.gold.items) == ("interval", ("1", r"\sqrt{8}"))
    assert [(pair.decided_by, pair.equal) for pair in how.comparisons] == [
        ("exact", True),
        ("symbolic", True),
    ]
    assert how.comparisons[-1].forms == ("sqrt(8)", "2*sqrt(2)")
    assert how.grade.decided_by == "symbolic"


def test_the_pair_that_differs_is_the_last() -> None:
    how = explain("(1,2,3)", "(1,5,3)")
    last = how.comparisons[-1]
    assert (last.gold, last.answer, last.equal, last.forms) == ("2", "5", False, ())


def test_a_capped_text_is_named_and_not_taken_apart() -> None:
    how = explain("5", "9^{9^9}")
    assert how.answer is not None
    assert (how.answer.cap, how.answer.items, how.comparisons) == ("power", (), ())
    assert how.grade.verdict is Verdict.UNGRADABLE_ANSWER


def test_what_is_missing_or_too_long_has_no_reading() -> None:
    assert explain(None, "5").gold is None
    assert explain("5", "1" * 5000).answer is None


def test_a_pair_that_stays_open_is_shown_as_such() -> None:
    how = explain("x+1", r"\frac{3}{4")
    assert how.comparisons[-1].equal is None
    assert how.comparisons[-1].decided_by == "answer_unreadable"


def test_a_matrix_is_compared_entry_by_entry() -> None:
    how = explain(r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{bmatrix}1.0&2\\3&5\end{bmatrix}")
    assert how.gold is not None
    assert (how.gold.structure, how.gold.items) == ("matrix", ("1", "2", "3", "4"))
    assert (how.grade.verdict, how.grade.decided_by) == (Verdict.INCORRECT, "exact")


def test_nothing_is_claimed_where_a_text_is_no_plain_rational_function() -> None:
    pairs = [
        ("f(x)", "x"), (r"\sqrt{x}", "x"), ("i", "1"), ("1/2x", "x"), (r"2\frac{1}{2}x", "x"), (r"\pi", "e"),
        ("1/(x-x)", "2"), ("x^y", "x"), ("x!", "x"), ("", "1"), ("x+", "x"), ("(x", "x"), ("x^{99999}", "x"),
        ("2" + "(" * 100 + "x" + ")" * 100, "x"), ("x1", "x"), ("a b", "a"), ("x^2^3", "x"), ("^", "x"),
    ]  # fmt: skip
    assert [pair for pair in pairs if differ(*pair)] == []


def test_adding_the_prime_makes_no_wrong_answer_right() -> None:
    assert not differ("5", f"5+{2**127 - 1}")
    assert grade("5", f"5+{2**127 - 1}").verdict is Verdict.INCORRECT
