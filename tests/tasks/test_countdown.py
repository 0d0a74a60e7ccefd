"""Countdown: exact steps, an exact verifier, a solver that misses nothing, hostile text that never raises."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.arithmetic import MAX_CHARS, MAX_DEPTH, MAX_DIGITS, evaluate
from tasks.base import Problem
from tasks.countdown import (
    Move,
    compose,
    first_wrong_step,
    format_step,
    generate,
    parse_step,
    question_text,
    solvable,
    solve,
    split_of,
    take,
)
from tasks.countdown.puzzle import apply
from tasks.countdown.solver import moves
from tasks.countdown.task import CountdownTask, puzzle_problem
from tasks.errors import DataError, UsageError

TASK = CountdownTask()
NUMBERS = st.lists(st.integers(1, 13), min_size=2, max_size=5)
FRACTIONS = st.fractions(-1000, 1000, max_denominator=50)


def play(numbers: Sequence[int], seed: int) -> tuple[list[str], Fraction]:
    """A random legal play with fractions: its step lines, and what is left at the end."""
    rng, state, lines = random.Random(seed), [Fraction(n) for n in numbers], list[str]()
    while len(state) > 1:
        left, right = rng.sample(state, 2)
        op = rng.choice("+-*/")
        value = apply(left, op, right)
        if value is None:
            continue
        state.remove(left)
        state.remove(right)
        state.append(value)
        lines.append(format_step(left, op, right, state))
    return lines, state[0]


# -- step lines ---------------------------------------------------------------------------------------


@given(left=FRACTIONS, right=FRACTIONS, op=st.sampled_from("+-*/"), rest=st.lists(FRACTIONS, max_size=4))
def test_a_written_step_reads_back_as_it_was(
    left: Fraction, right: Fraction, op: str, rest: list[Fraction]
) -> None:
    value = apply(left, op, right)
    if value is None:
        assert (op, right) == ("/", 0)
        return
    move = parse_step(format_step(left, op, right, [*rest, value]))
    assert move == Move(left=left, op=op, right=right, value=value, left_over=tuple(sorted([*rest, value])))
    assert take([left, right, *rest], move) == tuple(sorted([*rest, value]))


def test_the_documented_lines_read_and_write() -> None:
    assert format_step(Fraction(11), "+", Fraction(3), [Fraction(n) for n in (8, 5, 14)]) == (
        "11+3=14 (left: 5 8 14)"
    )
    line = "3-(8/3)=1/3 (left: 1/3 8)"
    move = parse_step(line)
    assert move is not None
    assert (move.left, move.right, move.value) == (3, Fraction(8, 3), Fraction(1, 3))
    assert format_step(move.left, move.op, move.right, move.left_over) == line


@pytest.mark.parametrize(
    "line",
    [
        "",
        "hello",
        "1+2",
        "1+2=3",
        "1+2=3 (left 3)",
        "1++2=3 (left: 3)",
        "1+2=3/0 (left: 3)",
        "(1/0)+2=3 (left: 3)",
        "1+2=3 (left: 3) and more",
        "9" * 13 + "+1=2 (left: 2)",
        "1^2=1 (left: 1)",
    ],
)
def test_what_is_no_step_is_none(line: str) -> None:
    assert parse_step(line) is None


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("2+3=6 (left: 5 6 7)", "false value"),
        ("2+4=6 (left: 5 6 7)", "operand that is not there"),
        ("2+2=4 (left: 4 5 7)", "operand used twice"),
        ("2+3=5 (left: 5 7)", "number lost"),
        ("2+3=5 (left: 5 5 5 7)", "number made up"),
    ],
)
def test_a_wrong_move_is_not_taken(line: str, why: str) -> None:
    move = parse_step(line)
    assert move is not None, why
    assert take([Fraction(n) for n in (2, 3, 5, 7)], move) is None
    assert first_wrong_step([2, 3, 5, 7], 24, [line]) == 0


@given(numbers=NUMBERS, seed=st.integers(0, 10**6))
def test_a_legal_play_has_no_wrong_step_and_one_that_misses_is_wrong_at_its_end(
    numbers: list[int], seed: int
) -> None:
    lines, reached = play(numbers, seed)
    if reached.denominator == 1:
        assert first_wrong_step(numbers, int(reached), lines) is None
        assert first_wrong_step(numbers, int(reached) + 1, lines) == len(lines) - 1
    assert first_wrong_step(numbers, 10**6, lines[:-1]) is None


# -- composing and verifying --------------------------------------------------------------------------


@given(numbers=NUMBERS, seed=st.integers(0, 10**6))
def test_composing_a_play_gives_an_expression_of_the_same_value_and_numbers(
    numbers: list[int], seed: int
) -> None:
    lines, reached = play(numbers, seed)
    text = compose("Let us see.\n" + "\n".join(lines))
    assert text is not None
    found = evaluate(text)
    assert found is not None
    assert found.value == reached
    assert sorted(found.numbers) == sorted(numbers)
    if reached.denominator == 1:
        problem = puzzle_problem(id="p", numbers=numbers, target=int(reached))
        answer = TASK.extract("\n".join(lines))
        assert answer is not None
        assert answer.source == "steps"
        assert TASK.grade(problem, answer.text).verdict == "correct"
        other = puzzle_problem(id="p", numbers=numbers, target=int(reached) + 1)
        assert TASK.grade(other, answer.text).verdict == "incorrect"


@given(numbers=NUMBERS, first=st.integers(0, 10**6), seed=st.integers(0, 10**6), kept=st.integers(0, 3))
def test_of_several_attempts_the_last_that_ends_is_the_answer(
    numbers: list[int], first: int, seed: int, kept: int
) -> None:
    failed, _ = play(numbers, first)
    lines, reached = play(numbers, seed)
    words = "That does not work. Back to step 1."
    again = [*failed, words, *lines]
    assert compose("\n".join(again)) == compose("\n".join(lines))
    found = evaluate(compose("\n".join(again)) or "")
    assert found is not None
    assert found.value == reached
    # cut while it tries: what ended before counts, the beginning of another attempt does not
    assert compose("\n".join([*lines, words, *failed[:-1]])) == compose("\n".join(lines))
    # back to the middle of an attempt, not to its beginning
    assert compose("\n".join([*lines, words, *lines[kept:]])) == compose("\n".join(lines))
    assert compose("\n".join(failed[:-1])) is None


@given(numbers=NUMBERS, seed=st.integers(0, 10**6), data=st.data())
def test_a_lie_in_any_line_is_never_graded_correct(
    numbers: list[int], seed: int, data: st.DataObject
) -> None:
    lines, reached = play(numbers, seed)
    if reached.denominator != 1:
        return
    problem = puzzle_problem(id="p", numbers=[*numbers[1:], numbers[0] + 1], target=int(reached))
    answer = TASK.extract("\n".join(lines))
    assert TASK.grade(problem, answer.text if answer else None).verdict == "incorrect"


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ("8/(3-8/3)", "correct"),
        (" 8 / (3 - 8 / 3) = 24", "correct"),
        ("8÷(3−8÷3)", "correct"),
        ("8*3", "incorrect"),
        ("8*3+8-8", "incorrect"),
        ("8*3*3/3+8-8", "incorrect"),
        ("24", "incorrect"),
        ("8/(3-3)*8", "incorrect"),
        ("88-33", "incorrect"),
        ("8**3", "incorrect"),
        ("__import__('os')", "incorrect"),
        ("", "incorrect"),
        (None, "incorrect"),
    ],
)
def test_the_game_of_24_with_fractions(answer: str | None, verdict: str) -> None:
    problem = puzzle_problem(id="p", numbers=[3, 3, 8, 8], target=24)
    assert TASK.grade(problem, answer).verdict == verdict


def test_a_problem_without_its_numbers_is_ungradable() -> None:
    assert TASK.grade(Problem(id="p", question="?"), "1").verdict == "ungradable_gold"


def test_without_its_numbers_no_step_is_provably_wrong() -> None:
    assert CountdownTask().check_steps(Problem(id="x", question="?", task="countdown"), ["1+1=3"]) is None


def test_a_file_may_write_puzzles_out_and_other_questions_are_refused_with_the_task_to_name(
    tmp_path: Path,
) -> None:
    path = tmp_path / "typed.jsonl"
    path.write_text('{"id": "a", "question": "Make 24 from 8 3 8 3.", "answer": "8/(3-8/3)"}\n')
    (puzzle,) = CountdownTask().load(path)
    assert (puzzle.id, puzzle.meta) == ("a", {"numbers": [8, 3, 8, 3], "target": 24})
    path.write_text('{"question": "What is 2 + 3?", "answer": 5}\n')
    with pytest.raises(DataError, match=r"typed\.jsonl: the problem 'typed-1' .*--task math"):
        CountdownTask().load(path)


def test_a_phrase_is_a_marked_fallback() -> None:
    answer = TASK.extract("So the answer is: (7-3)*(2+4)\n")
    assert answer is not None
    assert (answer.text, answer.source, answer.fallback) == ("(7-3)*(2+4)", "phrase", True)


# -- solver -------------------------------------------------------------------------------------------


def reachable(numbers: tuple[Fraction, ...], *, whole: bool) -> set[Fraction]:
    """Every value that some play of all the numbers reaches: brute force, written apart from the solver."""
    if len(numbers) == 1:
        return set(numbers)
    found: set[Fraction] = set()
    for i, j in itertools.permutations(range(len(numbers)), 2):
        a, b = numbers[i], numbers[j]
        rest = tuple(numbers[k] for k in range(len(numbers)) if k not in (i, j))
        for value in (a + b, a - b, a * b, *([a / b] if b else [])):
            if not whole or (value >= 0 and value.denominator == 1):
                found |= reachable((*rest, value), whole=whole)
    return found


@settings(max_examples=40, deadline=None)
@given(numbers=st.lists(st.integers(0, 9), min_size=1, max_size=3), whole=st.booleans(), data=st.data())
def test_the_solver_agrees_with_brute_force(numbers: list[int], whole: bool, data: st.DataObject) -> None:
    values = reachable(tuple(Fraction(n) for n in numbers), whole=whole)
    for target in range(-20, 90):
        assert solvable(numbers, target, whole=whole) == (target in values)
    whole_values = sorted(v for v in values if v.denominator == 1)
    target = int(data.draw(st.sampled_from(whole_values))) if whole_values else 10**6
    lines = solve(numbers, target, whole=whole)
    assert (lines is not None) == bool(whole_values)
    if lines is not None:
        assert first_wrong_step(numbers, target, lines) is None
        assert len(lines) == len(numbers) - 1


@pytest.mark.parametrize("numbers", [(2, 3, 5, 7), (3, 3, 8, 8), (1, 1, 1, 1), (1, 5, 5, 5), (13, 13, 13, 1)])
def test_the_solver_agrees_with_brute_force_on_four_numbers(numbers: tuple[int, ...]) -> None:
    values = reachable(tuple(Fraction(n) for n in numbers), whole=False)
    assert all(solvable(numbers, target) == (target in values) for target in range(1, 60))


def test_three_three_eight_eight_needs_a_fraction() -> None:
    lines = solve([3, 3, 8, 8], 24)
    assert lines is not None
    answer = TASK.extract("\n".join(lines))
    assert answer is not None
    assert (
        TASK.grade(puzzle_problem(id="p", numbers=[3, 3, 8, 8], target=24), answer.text).verdict == "correct"
    )
    assert not solvable([3, 3, 8, 8], 24, whole=True)
    assert solve([1, 1, 1, 1], 24) is None


def test_every_move_of_the_solver_is_legal() -> None:
    state = tuple(Fraction(n) for n in (1, 2, 2, 6))
    for left, op, right, after in moves(state, whole=False):
        move = parse_step(format_step(left, op, right, after))
        assert move is not None
        assert take(state, move) == after


@pytest.mark.parametrize("numbers", [[], [1] * 7])
def test_the_solver_says_how_many_numbers_it_takes(numbers: list[int]) -> None:
    with pytest.raises(UsageError, match="takes 1 to 6 numbers"):
        solvable(numbers, 1)


# -- questions and the generator ----------------------------------------------------------------------


@given(numbers=NUMBERS, target=st.integers(0, 999))
def test_a_question_reads_back(numbers: list[int], target: int) -> None:
    problem = TASK.problem(question_text(numbers, target))
    assert problem.meta == {"numbers": sorted(numbers), "target": target}
    assert problem.question == question_text(numbers, target)


@pytest.mark.parametrize("text", ["", "Make", "Make 24", "Make 24 from", "24 from 1 2", "Make x from 1 2."])
def test_a_typed_question_that_is_no_puzzle_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not a countdown puzzle"):
        TASK.problem(text)


def test_generated_puzzles_are_solved_repeatable_and_on_their_side_of_the_split() -> None:
    sides: dict[str, set[tuple[tuple[int, ...], int]]] = {"train": set(), "test": set()}
    for side in ("train", "test"):
        for seed in range(150):
            puzzle = generate(seed, split=side)  # type: ignore[arg-type]
            assert puzzle == generate(seed, split=side)  # type: ignore[arg-type]
            assert len(puzzle.numbers) == 4
            assert all(1 <= number <= 13 for number in puzzle.numbers)
            assert 10 <= puzzle.target <= 100
            assert first_wrong_step(puzzle.numbers, puzzle.target, puzzle.steps) is None
            assert split_of(puzzle.numbers, puzzle.target) == side
            shuffled = random.Random(seed).sample(puzzle.numbers, 4)
            assert split_of(shuffled, puzzle.target) == side
            problem = puzzle_problem(id=puzzle.id, numbers=puzzle.numbers, target=puzzle.target)
            answer = TASK.extract("\n".join(puzzle.steps))
            assert answer is not None
            assert TASK.grade(problem, answer.text).verdict == "correct"
            assert solvable(puzzle.numbers, puzzle.target, whole=True)
            sides[side].add((tuple(sorted(puzzle.numbers)), puzzle.target))
    assert not sides["train"] & sides["test"]


# -- hostile text -------------------------------------------------------------------------------------

ALPHABET = "0123456789+-*/()= \nleft:answer is½²٣\x00\ud800÷"


@settings(max_examples=300)
@given(text=st.text(ALPHABET, max_size=80) | st.text(max_size=60))
def test_text_of_any_kind_never_raises(text: str) -> None:
    problem = puzzle_problem(id="p", numbers=[3, 3, 8, 8], target=24)
    answer = TASK.extract(text)
    for candidate in (text, answer.text if answer else None):
        assert TASK.grade(problem, candidate).verdict in ("correct", "incorrect")
    assert isinstance(TASK.canonical(text), str)
    assert TASK.check_steps(problem, text.splitlines()) in (None, *range(81))
    parse_step(text)
    compose(text)
    evaluate(text)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 100_000,
        "-" * 1_000_000,
        "9" * 1_000_000,
        "1+" * 500_000 + "1",
        "answer " * 100_000,
        "answer: " + "(" * 100_000,
        "1+2=3 (left: 3)\n" * 50_000,
        " " * 1_000_000,
        "999999999999*999999999999=1 (left: 1)\n" * 20_000,
    ],
    ids=lambda text: repr(text[:12]),
)
def test_huge_text_is_done_with_quickly(text: str) -> None:
    problem = puzzle_problem(id="p", numbers=[3, 3, 8, 8], target=24)
    started = time.process_time()
    answer = TASK.extract(text)
    assert TASK.grade(problem, text).verdict == "incorrect"
    assert TASK.grade(problem, answer.text if answer else None).verdict == "incorrect"
    TASK.canonical(text)
    TASK.check_steps(problem, text.splitlines())
    assert time.process_time() - started < 2.5


# -- arithmetic ---------------------------------------------------------------------------------------

EXPRESSIONS = st.recursive(
    st.integers(0, 99).map(str) | st.decimals(0, 99, places=2).map(str),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*/"), inner).map("".join),
        inner.map("({})".format),
        inner.map("-{}".format),
    ),
    max_leaves=8,
)


@settings(max_examples=300)
@given(text=EXPRESSIONS)
def test_arithmetic_agrees_with_pythons_own_on_fractions(text: str) -> None:
    import re

    exact = re.sub(r"\d+(?:\.\d+)?", lambda number: f"Fraction('{number[0]}')", text)
    try:
        expected = eval(exact, {"Fraction": Fraction})
    except ZeroDivisionError:
        assert evaluate(text) is None
        return
    found = evaluate(text)
    assert found is not None
    assert found.value == expected
    assert list(found.numbers) == [Fraction(number) for number in re.findall(r"\d+(?:\.\d+)?", text)]


@pytest.mark.parametrize(
    "text",
    ["", "1+", "(1", "1)", "1 2", "1//2", "2**3", "1e5", ".5", "1,000", "x", "1/0", "1/(2-2)", "½"],
)
def test_what_is_no_expression_is_none(text: str) -> None:
    assert evaluate(text) is None


def test_the_bounds_of_arithmetic_hold() -> None:
    assert evaluate("1" * MAX_DIGITS) is not None
    assert evaluate("1" * (MAX_DIGITS + 1)) is None
    assert evaluate("(" * (MAX_DEPTH - 1) + "1" + ")" * (MAX_DEPTH - 1)) is not None
    assert evaluate("(" * (MAX_DEPTH + 1) + "1" + ")" * (MAX_DEPTH + 1)) is None
    assert evaluate("1" + " " * (MAX_CHARS + 1)) is None
