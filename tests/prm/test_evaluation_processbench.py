"""ProcessBench: exact first errors, a threshold that is frozen, and the edges of a harmonic mean."""

from __future__ import annotations

from pathlib import Path

import pytest
from evaluation_worlds import bench_row, predicted, solution, write_lines
from hypothesis import given
from hypothesis import strategies as st

from prm.evaluation.processbench import (
    Predicted,
    choose_threshold,
    evaluate,
    first_below,
    halves,
    harmonic,
    measure,
    read_predictions,
    read_processbench,
)
from tasks.errors import DataError, UsageError

MIXED = [(-1, "a"), (-1, "b"), (0, "c"), (2, "d"), (3, "e")]


def critic(predict: int | None = None, shift: int = 0) -> list[Predicted]:
    return [
        Predicted(
            solution=solution(label, name=name),
            prediction=(label + shift if label >= 0 else label) if predict is None else predict,
        )
        for label, name in MIXED
    ]


def test_an_oracle_has_f1_one_and_constant_critics_zero() -> None:
    assert measure(critic(), None)["f1"] == 1
    for constant in (-1, 0):
        assert measure(critic(constant), None)["f1"] == 0
    assert measure(critic(-1), None)["acc_cor"] == 1
    assert measure(critic(0), None)["acc_err"] == pytest.approx(1 / 3)


def test_an_error_named_one_step_off_counts_as_wrong() -> None:
    found = measure(critic(shift=1), None)
    assert (found["acc_err"], found["acc_cor"], found["f1"]) == (0, 1, 0)


def test_the_harmonic_mean_is_zero_where_either_is() -> None:
    assert harmonic(0, 0) == harmonic(0, 1) == harmonic(1, 0) == 0
    assert harmonic(0.5, 1) == pytest.approx(2 / 3)


def test_a_class_without_solutions_makes_f1_undefined() -> None:
    only_wrong = [predicted(0, [0.1])]
    assert measure(only_wrong, 0.5)["f1"] is None
    assert measure(only_wrong, 0.5)["acc_cor"] is None


def test_a_step_at_the_threshold_passes() -> None:
    assert first_below([0.5, 0.4], 0.5) == 1
    assert first_below([0.5, 0.5], 0.5) == -1
    assert first_below([], 0.5) == -1


solutions = st.lists(
    st.lists(st.integers(0, 6), min_size=1, max_size=4).flatmap(
        lambda scores: st.tuples(st.just([s / 6 for s in scores]), st.integers(-1, len(scores) - 1))
    ),
    min_size=1,
    max_size=8,
)


@given(solutions)
def test_the_chosen_threshold_is_as_good_as_the_best_of_all(found: list[tuple[list[float], int]]) -> None:
    items = [predicted(label, scores) for scores, label in found]
    best = max(measure(items, t / 12)["f1"] or 0 for t in range(-1, 15))
    assert (measure(items, choose_threshold(items))["f1"] or 0) == pytest.approx(best)


@given(solutions, st.floats(0, 1))
def test_f1_lies_inside_its_interval(found: list[tuple[list[float], int]], threshold: float) -> None:
    measured = measure([predicted(label, scores) for scores, label in found], threshold)
    if measured["f1"] is not None:
        low, high = measured["f1_ci95"]
        assert 0 <= low <= measured["f1"] <= high <= 1


def parts() -> dict[str, list[Predicted]]:
    """On `one` the best threshold is between 0.2 and 0.6, on `two` between 0.7 and 0.9."""
    return {
        "one": [predicted(-1, [0.6, 0.9]), predicted(1, [0.9, 0.2])],
        "two": [predicted(-1, [0.95, 0.9]), predicted(1, [0.9, 0.7])],
    }


def test_the_threshold_of_one_part_is_frozen_for_the_others() -> None:
    found = evaluate(parts(), choose_on="one")
    assert found["chosen_on"] == "one"
    assert 0.2 < found["threshold"] <= 0.6
    assert {name: (part["f1"], part["held_out"]) for name, part in found["parts"].items()} == {
        "one": (1, False),
        "two": (0, True),
    }
    assert found["average_f1"] == 0
    assert evaluate(parts(), choose_on="two")["parts"]["two"]["f1"] == 1


def test_a_given_threshold_is_used_everywhere_and_not_called_held_out() -> None:
    found = evaluate(parts(), threshold=0.8)
    assert found["chosen_on"] == "given by the caller"
    assert {part["held_out"] for part in found["parts"].values()} == {None}
    assert found["average_f1"] == pytest.approx((0 + 1) / 2)


def test_a_single_part_is_split_by_problem_and_the_report_says_so() -> None:
    items = [predicted(-1, [0.9], name=f"{i}", problem=f"p{i // 2}") for i in range(40)]
    items += [predicted(0, [0.1], name=f"w{i}", problem=f"p{i // 2}") for i in range(40)]
    first, second = halves(items)
    assert not {e.solution.problem for e in first} & {e.solution.problem for e in second}
    found = evaluate({"math": items})
    assert found["chosen_on"] == "math (one half of its problems)"
    assert found["parts"]["math"]["n_err"] == sum(e.solution.label == 0 for e in second)
    assert found["average_f1"] == 1


def test_what_to_choose_the_threshold_on_must_be_clear() -> None:
    with pytest.raises(UsageError, match="or the part to choose it on: one, two"):
        evaluate(parts())
    with pytest.raises(UsageError, match="give one of them"):
        evaluate(parts(), threshold=0.5, choose_on="one")
    with pytest.raises(UsageError, match="did you mean 'one'"):
        evaluate(parts(), choose_on="on")
    with pytest.raises(UsageError, match="no threshold"):
        measure([predicted(0, [0.1])], None)


def test_every_aggregate_is_judged_by_how_it_tells_right_solutions_from_wrong() -> None:
    outcome = evaluate(parts(), threshold=0.5)["parts"]["one"]["outcome"]
    assert outcome["min"]["auroc"] == 1
    assert outcome["max"]["auroc"] == 0.5
    assert outcome["last"]["auroc"] == 1


def test_the_benchmark_is_read_from_lines_and_from_an_array(tmp_path: Path) -> None:
    rows = [bench_row("gsm8k-0", -1), bench_row("gsm8k-1", 2)]
    lines = read_processbench(write_lines(tmp_path / "a.jsonl", rows))
    array = tmp_path / "b.json"
    array.write_text("[" + ",\n".join(line for line in (tmp_path / "a.jsonl").read_text().splitlines()) + "]")
    assert read_processbench(array) == lines
    assert [(s.id, s.label, len(s.steps)) for s in lines] == [("gsm8k-0", -1, 3), ("gsm8k-1", 2, 3)]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (bench_row("x", 3), r":2: 'label' must be a whole number from -1 to 2, got 3"),
        (bench_row("x", 0, final_answer_correct="no"), r":2: 'final_answer_correct' must be true or false"),
        (bench_row("x", 0) | {"label": True}, r":2: 'label' must be a whole number"),
        (bench_row("x", -1, steps=0), r":2: 'steps' must be a non-empty list"),
        (bench_row("a", 0), r":2: the id 'a' occurs twice"),
        ([1], r":2: expected a JSON object"),
    ],
)
def test_a_broken_record_is_named_with_its_line(tmp_path: Path, row: object, message: str) -> None:
    file = write_lines(tmp_path / "part.json", [bench_row("a", 0), row])
    with pytest.raises(DataError, match=message):
        read_processbench(file)


def test_published_scores_and_predictions_are_matched_by_id(tmp_path: Path) -> None:
    known = [solution(0, name="a"), solution(-1, name="b")]
    rows = [
        {"id": "b", "prediction": -1},
        {"id": "z", "scores": [1]},
        {"id": "a", "scores": [0.1, 0.9, 0.9, 0.9]},
    ]
    found = read_predictions(write_lines(tmp_path / "s.jsonl", rows), known)
    assert [each.solution.id for each in found] == ["a", "b"]
    assert measure(found, 0.5)["f1"] == 1
    with pytest.raises(DataError, match="no record for 1 solutions, the first is 'b'"):
        read_predictions(write_lines(tmp_path / "s.jsonl", rows[1:]), known)
    with pytest.raises(DataError, match=":1: 2 scores for the 4 steps of 'a'"):
        read_predictions(write_lines(tmp_path / "s.jsonl", [{"id": "a", "scores": [1, 1]}]), known)
