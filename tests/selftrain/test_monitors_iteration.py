"""Drift, values by depth, log-probs of chosen steps, and all monitors of an iteration together."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from builder_worlds import Step, searched
from hypothesis import given
from hypothesis import strategies as st

from selftrain.data.record import Pair, Trace, TrainingTree
from selftrain.data.searched import Searched
from selftrain.monitors import (
    MonitorSettings,
    chosen_logprobs,
    drift,
    iteration_monitors,
    samples_of,
    shape,
    value_by_depth,
)
from selftrain.packing import TokenTree
from tasks.errors import UsageError


def two_steps(*, problem: str = "p", text: str = "abc", value: float = 0.5) -> Searched:
    """A step of len(text) tokens, then a right end (2 tokens with the end) and a wrong one (3)."""
    return searched(
        Step(text=text, value=value),
        Step(parent=1, text="x", correct=True, value=0.9),
        Step(parent=1, text="yz", correct=False, value=0.4),
        problem=problem,
    )


def pair_tree(*, stored: bool = True) -> TrainingTree:
    """A prompt, two steps of two tokens below it, one of one token below the first."""
    return TrainingTree(
        problem="p",
        tree=TokenTree(
            segments=((5,), (6, 7), (8, 9), (4,)),
            parents=(-1, 0, 0, 1),
            logprobs=(None, (-1.0, -2.0), (-0.5, -1.5) if stored else None, (-4.0,)),
        ),
        texts=("q", "a", "b", "c"),
        pairs=(Pair(above=0, chosen=3, rejected=2),),
        traces=(Trace(node=3, untrained=(1,)), Trace(node=2, right=False)),
    )


def test_samples_are_the_graded_solutions_of_a_problem_of_all_its_trees() -> None:
    found = samples_of([two_steps(), two_steps(problem="o"), two_steps(text="d")])
    assert [[one.text for one in query] for query in found] == [
        ["abcx", "abcyz", "dx", "dyz"],
        ["abcx", "abcyz"],
    ]
    assert [(one.right, one.score, one.answer) for one in found[1]] == [(True, 0.9, "1"), (False, 0.4, None)]
    assert samples_of([searched(Step(text="a", correct=True), graded=False)]) == []


def test_the_shape_of_solutions_by_hand() -> None:
    assert shape([two_steps()]) == {
        "solutions": 2, "tokens": 5.5, "tokens_p90": 6, "steps": 2.0, "steps_p90": 2,
    }  # fmt: skip
    assert shape([]) == {}


def test_drift_compares_the_problems_that_both_iterations_searched() -> None:
    first = [two_steps(), two_steps(problem="only then", text="a" * 50)]
    now = [two_steps(text="abcdefghijklmn"), two_steps(problem="only now")]
    assert drift(now, first) == {"problems": 1, "tokens_ratio": 16.5 / 5.5, "steps_ratio": 1.0}
    assert drift(first, first) == {"problems": 2, "tokens_ratio": 1.0, "steps_ratio": 1.0}
    assert drift(now[1:], first) == {"problems": 0}


def test_values_against_truth_by_depth_by_hand() -> None:
    found = value_by_depth([two_steps(value=0.8), two_steps(problem="o", value=0.6)])
    assert found == pytest.approx(
        {
            "1.steps": 2, "1.value": 0.7, "1.truth": 0.5, "1.bias": 0.2,
            "2.steps": 4, "2.value": 0.65, "2.truth": 0.5, "2.bias": 0.15, "2.correlation": 1.0,
            "finished.auc": 1.0, "finished.pairs": 2,
        }
    )  # fmt: skip


def test_the_last_depth_stands_for_all_below_and_steps_with_few_outcomes_are_left_out() -> None:
    assert value_by_depth([two_steps()], deepest=1)["1+.steps"] == 3
    assert value_by_depth([two_steps()], least=2)["1.steps"] == 1
    assert "2.steps" not in value_by_depth([two_steps()], least=2)
    with pytest.raises(UsageError, match="at least 1"):
        value_by_depth([], deepest=0)


def test_a_reward_that_prefers_wrong_ends_shows_in_its_ranking() -> None:
    hacked = searched(
        Step(text="a", correct=True, value=0.2), Step(text="b", correct=False, value=0.9),
        Step(text="c", correct=False, value=0.2),
    )  # fmt: skip
    found = value_by_depth([hacked])
    assert found["finished.auc"] == pytest.approx(0.25)
    assert found["1.bias"] > 0 > found["1.correlation"]


def test_log_probs_of_chosen_steps_by_hand() -> None:
    found = chosen_logprobs([pair_tree()], after=[[0.0, -4.0, -6.0, -5.0]])
    assert found == {
        "pairs": 1, "pairs_unknown": 0, "traces": 1, "traces_unknown": 0,
        "chosen.before": -7 / 3, "rejected.before": -1.0, "traces.before": -4.0, "margin.before": -5.0,
        "chosen.after": -3.0, "rejected.after": -3.0, "traces.after": -5.0, "margin.after": -3.0,
        "chosen.fell": 1.0,
    }  # fmt: skip


def test_what_is_not_known_is_left_out_and_counted() -> None:
    unknown = chosen_logprobs([pair_tree(stored=False)])
    assert unknown == {
        "pairs": 0, "pairs_unknown": 1, "traces": 1, "traces_unknown": 0, "traces.before": -4.0,
    }  # fmt: skip
    assert chosen_logprobs([pair_tree()], after=[[0.0, math.nan, -1.0, -1.0]])["pairs_unknown"] == 1
    assert chosen_logprobs([]) == {}
    with pytest.raises(UsageError, match="every node of every tree"):
        chosen_logprobs([pair_tree()], after=[[0.0]])


def test_all_monitors_of_an_iteration_are_one_flat_dict_of_finite_numbers() -> None:
    now = [two_steps(), two_steps(problem="o", text="ab")]
    found = iteration_monitors(now, [two_steps()], trees=[pair_tree()], settings=MonitorSettings(wanted=1))
    assert {name.split(".")[0] for name in found} == {
        "samples", "explore", "balance", "shape", "drift", "depth", "logprob",
    }  # fmt: skip
    assert all(math.isfinite(one) for one in found.values())
    assert json.loads(json.dumps(found)) == found
    # Both ends have a reward above 0 and one of the two is right.
    assert found["balance.score"] == 0.5
    assert (found["samples.solved"], found["explore.pass@1"]) == (1.0, 0.5)


def test_a_first_iteration_has_no_drift_and_nothing_at_all_is_little() -> None:
    assert not any(name.startswith("drift") for name in iteration_monitors([two_steps()]))
    assert iteration_monitors([]) == {
        "explore.queries": 0, "explore.queries@1": 0, "explore.queries@4": 0, "explore.queries@16": 0,
    }  # fmt: skip


STEPS = st.lists(
    st.tuples(st.integers(0, 9), st.sampled_from(["a", "bb", "3 = 3"]), st.sampled_from([None, True, False]),
              st.none() | st.floats(0, 1)),
    max_size=7,
)  # fmt: skip


@given(st.lists(STEPS, max_size=4))
def test_any_trees_in_any_order_give_the_same_finite_figures(
    rows: list[list[tuple[int, str, bool | None, float]]],
) -> None:
    trees: list[Searched] = []
    for number, row in enumerate(rows):
        steps: list[Step] = []
        for above, text, correct, value in row:
            open_ones = [0, *(place for place, one in enumerate(steps, 1) if one.correct is None)]
            steps.append(
                Step(parent=open_ones[above % len(open_ones)], text=text, correct=correct, value=value)
            )
        trees.append(searched(*steps, problem=f"p{number % 2}"))
    found = iteration_monitors(trees, trees)
    assert all(math.isfinite(one) for one in found.values())
    assert found == pytest.approx(iteration_monitors(trees[::-1], trees[::-1]))
    assert all(found[name] == pytest.approx(1.0) for name in found if name.endswith("_ratio"))


@pytest.mark.parametrize("wrong", [{"ks": ()}, {"ks": (0,)}, {"s": 0}, {"wanted": 0}, {"rule": "prm"}])
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        replace(MonitorSettings(), **wrong)  # type: ignore[arg-type]
