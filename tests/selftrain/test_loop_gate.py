"""The gate: exact and bootstrap tests of paired results, several tasks, and what is decided."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftrain.loop.gate import Action, Measured, bootstrap, decide, paired
from selftrain.loop.sections import GatePart
from tasks.errors import DataError

EXACT = GatePart()


def results(right: Sequence[int], samples: int = 1) -> Measured:
    return Measured(samples=samples, right={f"p{i}": count for i, count in enumerate(right)})


def change(better: int, worse: int, same: int = 0) -> tuple[Measured, Measured]:
    """Two results of which the second one is right where the first is wrong `better` times, and so on."""
    before = [0] * better + [1] * worse + [1] * same
    after = [1] * better + [0] * worse + [1] * same
    return results(before), results(after)


def decided(tasks: dict[str, tuple[Measured, Measured]], settings: GatePart = EXACT) -> Any:
    return decide(
        {name: both[0] for name, both in tasks.items()},
        {name: both[1] for name, both in tasks.items()},
        settings,
    )


def test_a_clear_gain_is_promoted_and_the_reason_has_the_figures() -> None:
    found = decided({"math": change(8, 0, 12)})
    assert found.action is Action.PROMOTE
    assert "math gained from 60.0% to 100.0% (20 problems, p 0.00781" in found.reason


def test_the_p_of_one_sample_is_that_of_mcnemars_exact_test() -> None:
    for better, worse in product(range(7), repeat=2):
        n = better + worse
        tail = sum(math.comb(n, i) for i in range(min(better, worse) + 1)) / 2**n
        wanted = min(1.0, 2 * tail)
        assert decided({"t": change(better, worse, 3)}).tasks["t"].p == pytest.approx(wanted)


def test_five_differences_are_too_few_at_the_usual_level_and_six_are_enough() -> None:
    assert decided({"t": change(5, 0, 20)}).action is Action.HOLD
    assert decided({"t": change(6, 0, 20)}).action is Action.PROMOTE


def test_a_fall_rolls_back_whatever_else_gained() -> None:
    found = decided({"math": change(30, 0), "logic": change(0, 6, 10)})
    assert found.action is Action.ROLL_BACK
    assert found.reason.startswith("logic fell from 100.0% to 62.5%")


def test_a_task_that_is_not_held_may_fall() -> None:
    tasks = {"math": change(30, 0), "logic": change(0, 6, 10)}
    assert decided(tasks, GatePart(hold=("math",))).action is Action.PROMOTE


def test_gains_are_adjusted_for_the_number_of_tasks_and_falls_are_not() -> None:
    six_up, six_down, same = change(6, 0, 9), change(0, 6, 9), change(0, 0, 9)
    assert decided({"a": six_up}).action is Action.PROMOTE
    assert decided({"a": six_up, "b": same}).action is Action.HOLD  # 2 x 0.03 > 0.05
    assert decided({"a": six_down, "b": same}).action is Action.ROLL_BACK


def test_no_difference_is_held() -> None:
    found = decided({"t": change(0, 0, 9)})
    assert found.action is Action.HOLD
    assert found.tasks["t"].p == 1


def test_non_inferiority_promotes_a_small_gain_that_excludes_a_loss_of_the_margin() -> None:
    # one more of 400 right: not significant, and the interval's lower end is above -2 %
    tasks = {"t": change(1, 0, 399)}
    assert decided(tasks).action is Action.HOLD
    assert decided(tasks, GatePart(rule="non-inferior", margin=0.02)).action is Action.PROMOTE
    found = decided(tasks, GatePart(rule="non-inferior", margin=0.001))
    assert found.action is Action.HOLD
    assert "cannot be excluded" in found.reason


def test_non_inferiority_without_a_gain_holds_and_with_a_fall_rolls_back() -> None:
    rule = GatePart(rule="non-inferior", margin=0.1)
    assert decided({"t": change(0, 0, 400)}, rule).action is Action.HOLD
    assert decided({"t": change(0, 9, 400)}, rule).action is Action.ROLL_BACK


def test_several_samples_count_within_their_problem() -> None:
    # 4 samples each: sums of differences, problems as units
    before, after = results([0, 1, 2, 2, 0, 1, 3], 4), results([3, 4, 4, 4, 2, 4, 4], 4)
    found = decided({"t": (before, after)})
    assert found.action is Action.PROMOTE
    assert found.tasks["t"].p == pytest.approx(2 / 2**7)
    assert found.tasks["t"].difference == pytest.approx(sum((3, 3, 2, 2, 2, 3, 1)) / 28)


def test_results_of_other_problems_or_other_numbers_of_samples_are_refused() -> None:
    with pytest.raises(DataError, match="not of the same problems"):
        paired({"t": results([1, 0])}, {"t": results([1, 0, 1])}, "t")
    with pytest.raises(DataError, match="not of the same problems"):
        paired({"t": results([1, 0])}, {"t": results([1, 0], 2)}, "t")
    with pytest.raises(DataError, match="'t'"):
        paired({"t": results([1, 0])}, {}, "t")


BOOTSTRAP = GatePart(test="bootstrap", resamples=2000)


def test_the_bootstrap_agrees_with_the_exact_test_on_clear_cases_and_repeats_itself() -> None:
    up, down, mixed = change(15, 1, 34), change(1, 15, 34), change(8, 7, 35)
    assert decided({"t": up}, BOOTSTRAP).action is Action.PROMOTE
    assert decided({"t": down}, BOOTSTRAP).action is Action.ROLL_BACK
    assert decided({"t": mixed}, BOOTSTRAP).action is Action.HOLD
    assert decided({"t": up}, BOOTSTRAP) == decided({"t": up}, BOOTSTRAP)


def test_the_bootstrap_interval_is_that_of_all_resamples_of_a_small_set() -> None:
    differences = [1, 0, -1]
    means = sorted(sum(draw) / 3 for draw in product(differences, repeat=3))
    low, high = means[round(0.1 * len(means))], means[-1 - round(0.1 * len(means))]
    p, interval = bootstrap(differences, 1, alpha=0.2, resamples=20_000, seed=0)
    assert interval == pytest.approx((low, high), abs=1e-9)
    assert p == pytest.approx(1.0, abs=0.01)


def test_the_bootstrap_p_is_twice_the_share_of_resamples_on_the_other_side() -> None:
    differences = [1, 1, -1, 0]
    draws = [sum(draw) for draw in product(differences, repeat=4)]
    wanted = 2 * sum(total <= 0 for total in draws) / len(draws)
    p, _ = bootstrap(differences, 1, alpha=0.05, resamples=20_000, seed=1)
    assert p == pytest.approx(min(1.0, wanted), abs=0.02)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=12))
def test_exchanging_the_models_turns_the_comparison_round(pairs: list[tuple[int, int]]) -> None:
    one, other = results([a for a, _ in pairs], 3), results([b for _, b in pairs], 3)
    there, back = decided({"t": (one, other)}).tasks["t"], decided({"t": (other, one)}).tasks["t"]
    assert there.p == pytest.approx(back.p)
    assert there.difference == pytest.approx(-back.difference)
    assert there.interval == pytest.approx((-back.interval[1], -back.interval[0]))
    changes = {"gained": "fallen", "fallen": "gained", "none": "none"}
    assert back.change == changes[there.change]


@given(st.integers(0, 10), st.integers(0, 10), st.sampled_from(["exact", "bootstrap"]))
def test_nothing_is_promoted_that_is_not_better(better: int, worse: int, test: Any) -> None:
    found = decided({"t": change(better, worse, 5)}, GatePart(test=test, resamples=200))
    if found.action is Action.PROMOTE:
        assert better > worse
    if found.action is Action.ROLL_BACK:
        assert worse > better


def test_a_decision_is_plain_data() -> None:
    import json

    content = decided({"t": change(6, 0, 9)}).to_json()
    assert json.loads(json.dumps(content)) == content
    assert content["action"] == "promote"
