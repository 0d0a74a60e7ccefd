"""Adaptive self-consistency: its stopping rules against exact integrals; what it samples, keeps, cancels."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_worlds import SCENARIOS, Scenario, UnrulyEngine, run, search

from tasks.errors import UsageError
from treesearch.algorithms.adaptive import AdaptiveSelfConsistency, sampled_votes
from treesearch.algorithms.vote_stop import VoteStop, beta_posterior, dirichlet_posterior
from treesearch.budget import Budget
from treesearch.events import StopReason
from treesearch.tree import Tree

AGREEING = Scenario(name="agreeing", script=lambda prompt, seed: "#### 7")
MANY = Budget(tokens=100_000)


def integral_above_half(first: int, second: int) -> Fraction:
    """Mass above 1/2 of Beta(first + 1, second + 1): (1 - x)^second expanded, each power integrated."""

    def upto(x: Fraction) -> Fraction:
        return sum(
            (
                Fraction((-1) ** k * math.comb(second, k), first + k + 1) * x ** (first + k + 1)
                for k in range(second + 1)
            ),
            Fraction(0),
        )

    return 1 - upto(Fraction(1, 2)) / upto(Fraction(1))


def exact_race(counts: Sequence[int]) -> Fraction:
    """P(the first share is the largest) under Dirichlet(counts + 1), by inclusion and exclusion.

    The integral of the leader's Gamma density times prod(1 - e^-x T_i(x)), T_i the start of the exponential
    series, is a sum over subsets of the others and over one term of each of their series.
    """
    lead, *others = [count + 1 for count in counts]
    total = Fraction(0)
    for size in range(len(others) + 1):
        for chosen in itertools.combinations(others, size):
            for powers in itertools.product(*(range(shape) for shape in chosen)):
                degree = lead - 1 + sum(powers)
                weight = math.prod(math.factorial(power) for power in powers) * math.factorial(lead - 1)
                term = Fraction(math.factorial(degree), weight * (size + 1) ** (degree + 1))
                total += (-1) ** size * term
    return total


@given(st.integers(0, 40), st.integers(0, 40))
def test_the_beta_posterior_is_the_integral_above_one_half(first: int, second: int) -> None:
    assert beta_posterior(first, second) == pytest.approx(
        float(integral_above_half(first, second)), abs=1e-12
    )


def test_the_beta_posterior_has_the_values_worked_out_by_hand() -> None:
    assert [beta_posterior(votes, 0) for votes in range(5)] == [1 / 2, 3 / 4, 7 / 8, 15 / 16, 31 / 32]
    assert beta_posterior(6, 6) == 0.5
    assert beta_posterior(1, 0) + beta_posterior(0, 1) == 1.0


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 6), min_size=2, max_size=4))
def test_the_dirichlet_posterior_is_the_exact_sum(counts: list[int]) -> None:
    assert dirichlet_posterior(counts) == pytest.approx(float(exact_race(counts)), abs=1e-6)


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(1, 60))
def test_two_answers_alone_make_the_dirichlet_posterior_the_beta_posterior(first: int, second: int) -> None:
    assert dirichlet_posterior([first, second]) == pytest.approx(beta_posterior(first, second), abs=1e-6)


@settings(deadline=None)
@given(st.integers(1, 30), st.integers(3, 12))
def test_equal_counts_make_every_answer_equally_likely_to_lead(count: int, answers: int) -> None:
    assert dirichlet_posterior([count] * answers) == pytest.approx(1 / answers, abs=1e-6)


def test_a_window_decides_only_where_it_is_whole_and_all_its_answers_agree() -> None:
    rule = VoteStop(rule="window", threshold=0.95, window=3)
    assert not rule.decided(["a", "a"])
    assert rule.decided(["a", "a", "a"])
    assert not rule.decided(["b", "a", "a", "a", "b"])
    assert rule.decided(["b", "a", "a", "c", "c", "c"])
    assert not rule.decided([None, None, None])


@settings(deadline=None)
@given(
    votes=st.lists(st.none() | st.sampled_from("abc"), max_size=10),
    more=st.integers(0, 6),
    rule=st.sampled_from(["beta", "dirichlet", "window"]),
    data=st.data(),
)
def test_what_could_not_decide_at_best_does_not_decide(
    votes: list[str | None], more: int, rule: str, data: st.DataObject
) -> None:
    stop = VoteStop(rule=rule, threshold=0.9, window=3)  # type: ignore[arg-type]
    further = data.draw(st.lists(st.none() | st.sampled_from("abc"), min_size=more, max_size=more))
    if stop.decided([*votes, *further]):
        assert stop.could_decide(votes, more)


@pytest.mark.parametrize("in_flight", [1, 2, 8])
def test_four_samples_that_agree_are_enough_and_nothing_is_sampled_in_vain(in_flight: int) -> None:
    tree, _, engine = search(AGREEING, AdaptiveSelfConsistency(in_flight=in_flight), MANY)
    assert (tree.stop, len(sampled_votes(tree)), tree.cancelled) == (StopReason.CONFIDENT, 4, 0)
    assert engine.usage.requests == 4
    assert engine.usage.generated_tokens == tree.usage.generated_tokens


def test_with_speculation_what_is_left_in_flight_is_cancelled_and_only_the_engine_counts_it() -> None:
    speculating = AdaptiveSelfConsistency(in_flight=8, speculate=True)
    tree, _, engine = search(AGREEING, speculating, MANY)
    assert (tree.stop, len(sampled_votes(tree)), tree.cancelled) == (StopReason.CONFIDENT, 4, 7)
    assert tree.usage.calls == 4 < engine.usage.requests <= 11
    assert engine.active == 0
    assert not tree.in_flight
    assert tree.meter.reserved.tokens == 0
    assert tree.usage.generated_tokens < engine.usage.generated_tokens


def test_cancelled_samples_stop_before_the_engine_has_written_them() -> None:
    engine = UnrulyEngine(disorder=1, longest_s=0.02)
    tree = AGREEING.tree(MANY)
    speculating = AdaptiveSelfConsistency(in_flight=30, speculate=True)
    run(speculating, tree, AGREEING.policy(engine), AGREEING.value_for(speculating))
    written = engine.usage.generated_tokens // len("#### 7|")
    assert tree.cancelled > 20
    assert 4 <= written < len(engine.widths)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    stop=st.sampled_from(["beta", "dirichlet", "window"]),
    in_flight=st.integers(1, 9),
    speculate=st.booleans(),
)
def test_how_many_run_side_by_side_changes_no_vote(
    seed: int, stop: str, in_flight: int, speculate: bool
) -> None:
    def sampled(in_flight: int, speculate: bool) -> Tree:
        algorithm = AdaptiveSelfConsistency(
            stop=stop,  # type: ignore[arg-type]
            threshold=0.8,
            window=3,
            n=14,
            in_flight=in_flight,
            speculate=speculate,
        )
        return search(SCENARIOS["no value"], algorithm, MANY, seed=seed)[0]

    one_by_one, tree = sampled(1, False), sampled(in_flight, speculate)
    assert sampled_votes(tree) == sampled_votes(one_by_one)
    assert tree.usage == one_by_one.usage
    assert tree.stop == one_by_one.stop
    assert speculate or tree.cancelled == 0


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), threshold=st.floats(0, 0.99))
def test_it_stops_at_the_first_sample_that_decides_and_answers_with_the_majority(
    seed: int, threshold: float
) -> None:
    algorithm = AdaptiveSelfConsistency(threshold=threshold, n=20)
    tree, _, _ = search(SCENARIOS["no value"], algorithm, MANY, seed=seed)
    votes = [vote for vote in sampled_votes(tree) if vote is not None]
    decided = [
        size
        for size in range(1, len(votes) + 1)
        if beta_posterior(*[n for _, n in [*Counter(votes[:size]).most_common(2), ("", 0)]][:2]) >= threshold
    ]
    assert decided in ([], [len(votes)])
    assert tree.stop == (StopReason.CONFIDENT if decided else StopReason.COMPLETED)
    assert Counter(votes)[algorithm.final_answer(tree) or ""] == max(Counter(votes).values())


def test_threshold_zero_is_a_single_sample() -> None:
    tree, _, _ = search(SCENARIOS["no value"], AdaptiveSelfConsistency(threshold=0), MANY)
    assert len(sampled_votes(tree)) == 1


@pytest.mark.parametrize(
    "wrong",
    [{"threshold": 1.0}, {"threshold": -0.1}, {"stop": "gamma"}, {"window": 0}, {"n": 0}, {"in_flight": 0}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_wrong_setting_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        AdaptiveSelfConsistency(**wrong)  # type: ignore[arg-type]
