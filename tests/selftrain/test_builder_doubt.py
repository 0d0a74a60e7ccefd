"""RSO's sampling, CREAM's consistency and UPO's uncertainty."""

from __future__ import annotations

import math
import random
from itertools import permutations
from typing import Any

import pytest
import torch
from builder_worlds import doubt, opened, pair_texts, samples, trees
from hypothesis import given, settings
from hypothesis import strategies as st

from selftrain.builders import Built
from selftrain.builders.consistent import consistency
from selftrain.builders.rejection import accepted
from selftrain.data.record import Pair
from selftrain.data.searched import Searched
from selftrain.losses import cream, dpo
from tasks.errors import UsageError

FEW = settings(max_examples=40)
REWARDS = st.lists(st.floats(0, 1).map(lambda x: round(x, 3)), min_size=1, max_size=8)


def texts(built: Built) -> list[tuple[str, str]]:
    return [pair_texts(tree, pair) for tree in built.trees for pair in tree.pairs]


def pairs_of(built: Built) -> list[Pair]:
    return [pair for tree in built.trees for pair in tree.pairs]


@FEW
@given(rewards=REWARDS, seed=st.integers(0, 10**6))
def test_a_large_beta_accepts_all_and_a_small_one_goes_by_the_rewards(
    rewards: list[float], seed: int
) -> None:
    assert accepted(rewards, count=len(rewards), beta=1e9, seed=seed) == list(range(len(rewards)))
    first = accepted(rewards, count=1, beta=1e-9, seed=seed)
    assert rewards[first[0]] == max(rewards)
    ranked = accepted(rewards, count=len(rewards), beta=1e-9, seed=seed)
    assert [rewards[index] for index in ranked] == sorted(rewards, reverse=True)


@FEW
@given(rewards=REWARDS, count=st.integers(1, 10), seed=st.integers(0, 10**6))
def test_no_candidate_is_accepted_twice_and_never_more_than_asked_for(
    rewards: list[float], count: int, seed: int
) -> None:
    found = accepted(rewards, count=count, beta=0.3, seed=seed)
    assert len(found) == len(set(found)) == min(count, len(rewards))


def test_what_one_pass_accepts_is_the_policy_tilted_by_the_reward() -> None:
    # A policy over four texts; the best of them is always among so many candidates.
    policy, rewards, beta = [0.5, 0.3, 0.15, 0.05], [0.0, 0.4, 0.2, 1.0], 0.5
    generator = random.Random(1)
    drawn = generator.choices(range(4), weights=policy, k=40_000)
    weights = [p * math.exp(r / beta) for p, r in zip(policy, rewards, strict=True)]
    whole = sum(weights)
    # So few are asked for that one pass is enough.
    rate = sum(p * math.exp((r - 1) / beta) for p, r in zip(policy, rewards, strict=True))
    count = int(len(drawn) * rate * 0.9)
    found = accepted([rewards[one] for one in drawn], count=count, beta=beta, seed=2)
    assert found == sorted(found), "one pass"
    observed = [sum(drawn[index] == text for index in found) for text in range(4)]
    expected = [count * weight / whole for weight in weights]
    chi2 = sum((o - e) ** 2 / e for o, e in zip(observed, expected, strict=True))
    assert chi2 < 16.27, "three degrees of freedom, p = 0.001"
    plain = sum((o - count * p) ** 2 / (count * p) for o, p in zip(observed, policy, strict=True))
    assert plain > 1000


def test_accepted_solutions_are_paired_two_by_two_or_play_a_tournament() -> None:
    tree = samples(*((f"s{n}", True, n / 10) for n in range(8)))
    first = opened("rso", beta=1e9)([tree])
    assert len(pairs_of(first)) == 4
    assert len({text for pair in texts(first) for text in pair}) == 8
    tournament = opened("rso", beta=1e9, ranking="tournament")([tree])
    assert len(pairs_of(tournament)) == 7
    assert [chosen for chosen, _ in texts(tournament)].count("s7") == 3
    assert all(chosen > rejected for chosen, rejected in texts(first) + texts(tournament))


def test_in_a_tournament_of_an_odd_number_nobody_is_forgotten() -> None:
    for count in (3, 5, 6, 7):
        tree = samples(*((f"s{n}", True, n / 10) for n in range(count)))
        found = texts(opened("rso", beta=1e9, ranking="tournament")([tree]))
        assert len(found) == count - 1
        assert {text for pair in found for text in pair} == {f"s{n}" for n in range(count)}
        assert {rejected for _, rejected in found} == {f"s{n}" for n in range(count - 1)}


def test_rso_counts_what_it_did_not_accept_and_draws_by_its_seed() -> None:
    tree = samples(*((f"s{n}", True, n / 20) for n in range(16)))
    built = opened("rso", count=4)([tree])
    assert built.counts["dropped.rejected"] == 12
    assert len({tuple(texts(opened("rso", count=4, seed=seed)([tree]))) for seed in range(6)}) > 3


def kendall(one: list[float], other: list[float]) -> float:
    """Tau without ties, by definition: one less twice the share of pairs in another order."""
    pairs = [(i, j) for i in range(len(one)) for j in range(i)]
    turned = sum((one[i] < one[j]) != (other[i] < other[j]) for i, j in pairs)
    return 1 - 2 * turned / len(pairs)


def test_consistency_is_one_for_equal_and_zero_for_opposite_rankings_and_tau_between() -> None:
    for order in permutations([0.1, 0.2, 0.3, 0.4]):
        given_order = list(order)
        assert consistency([1, 2, 3, 4], given_order) == pytest.approx(
            (kendall([1, 2, 3, 4], given_order) + 1) / 2
        )
    assert consistency([1, 2, 3], [10, 20, 30]) == 1
    assert consistency([1, 2, 3], [3, 2, 1]) == 0
    assert consistency([1, 1, 1], [1, 2, 3]) == 0.5
    with pytest.raises(UsageError, match="two rankings of at least two"):
        consistency([1], [1])


def test_spearmans_rho_is_one_less_the_squared_differences_of_ranks() -> None:
    for order in permutations([1, 2, 3, 4]):
        squares = sum((place - rank) ** 2 for place, rank in enumerate(order, 1))
        rho = 1 - 6 * squares / (4 * (16 - 1))
        assert consistency([1, 2, 3, 4], list(order), "spearman") == pytest.approx((rho + 1) / 2)
    assert consistency([1, 1, 1], [1, 2, 3], "spearman") == 0.5


def test_top_order_wants_the_same_best_and_the_same_worst() -> None:
    assert consistency([1, 2, 3, 4], [1, 3, 2, 4], "top-order") == 1
    assert consistency([1, 2, 3, 4], [1, 2, 4, 3], "top-order") == 0
    assert consistency([1, 2, 3, 4], [2, 1, 3, 4], "top-order") == 0
    assert consistency([1, 2], [5, 5], "top-order") == 0


@FEW
@given(
    pairs=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=6),
    measure=st.sampled_from(["kendall", "spearman", "top-order"]),
)
def test_every_measure_is_in_0_to_1_and_asks_for_no_order_of_the_samples(
    pairs: list[tuple[int, int]], measure: Any
) -> None:
    found = consistency(*zip(*pairs, strict=True), measure)
    assert 0 <= found <= 1
    if measure != "top-order" or len({x for x, _ in pairs}) == len(pairs):
        assert consistency(*zip(*pairs[::-1], strict=True), measure) == pytest.approx(found)


def test_cream_smooths_by_the_measure_that_is_asked_for() -> None:
    tree = ranked("q", 0.9, 0.1, 0.5)
    for measure in ("kendall", "spearman", "top-order"):
        pair = pairs_of(opened("cream", previous_rewards=PREVIOUS, measure=measure)([tree]))[0]
        assert pair.smoothing == pytest.approx(1 - consistency([0.9, 0.1, 0.5], [1.0, 2.0, 3.0], measure))


def ranked(problem: str, *now: float) -> Searched:
    return samples(*((f"s{n}", True, value) for n, value in enumerate(now)), problem=problem)


PREVIOUS = {"p": {"s0": 3.0, "s1": 2.0, "s2": 1.0}, "q": {"s0": 1.0, "s1": 2.0, "s2": 3.0}}


def test_cream_smooths_each_pair_by_its_own_problem_or_all_by_their_mean() -> None:
    forest = [ranked("p", 0.9, 0.5, 0.1), ranked("q", 0.9, 0.1, 0.5)]
    own = opened("cream", consistency="problem", previous_rewards=PREVIOUS)(forest)
    assert texts(own) == [("s0", "s2"), ("s0", "s1")]
    # q: of the pairs (01, 02, 12) only 12 is in the same order.
    assert [pair.smoothing for pair in pairs_of(own)] == pytest.approx([0, 1 - 1 / 3])
    mean = opened("cream", previous_rewards=PREVIOUS)(forest)
    assert [pair.smoothing for pair in pairs_of(mean)] == pytest.approx([1 / 3, 1 / 3])


def test_a_consistency_stays_with_its_problem_where_another_problem_is_left_out() -> None:
    forest = [ranked("o", 0.5, 0.5, 0.5), ranked("p", 0.9, 0.5, 0.1), ranked("q", 0.9, 0.1, 0.5)]
    known = PREVIOUS | {"o": PREVIOUS["p"]}
    built = opened("cream", consistency="problem", previous_rewards=known)(forest)
    found = {tree.problem: tree.pairs[0].smoothing for tree in built.trees}
    assert found == {"p": pytest.approx(0), "q": pytest.approx(2 / 3)}
    assert built.counts["dropped.tie"] == 1


def test_full_consistency_is_dpo_and_the_smoothing_is_that_of_the_cream_loss() -> None:
    chosen, rejected = torch.tensor([1.5]), torch.tensor([0.3])
    pair = pairs_of(opened("cream", previous_rewards=PREVIOUS)([ranked("p", 0.9, 0.5, 0.1)]))[0]
    assert torch.equal(dpo(chosen, rejected, smoothing=pair.smoothing), dpo(chosen, rejected))
    other = pairs_of(opened("cream", previous_rewards=PREVIOUS)([ranked("q", 0.9, 0.1, 0.5)]))[0]
    expected = cream(chosen, rejected, 1 / 3)
    assert torch.allclose(dpo(chosen, rejected, smoothing=other.smoothing), expected)


def test_cream_takes_the_stored_log_probs_for_the_previous_ranking_unless_told_otherwise() -> None:
    from selftrain.builders.values import node_value

    tree = ranked("p", 0.9, 0.5, 0.1)
    before = [node_value(tree, node, "logprob") or 0.0 for node in (1, 2, 3)]
    pair = pairs_of(opened("cream")([tree]))[0]
    assert pair.smoothing == pytest.approx(1 - consistency([0.9, 0.5, 0.1], before))


def test_solutions_without_a_previous_reward_take_no_part() -> None:
    built = opened("cream", previous_rewards={"p": {"s0": 1.0}})([ranked("p", 0.9, 0.5, 0.1)])
    assert built.counts == {"dropped.no_value": 2, "dropped.too_few": 1}


def test_upo_pairs_the_upper_with_the_lower_half_and_smooths_by_uncertainty() -> None:
    tree = samples(*((f"s{n}", True, 1 - n / 10) for n in range(4)))
    built = opened("upo", max_pairs=None, uncertainty=doubt)([tree])
    assert sorted(texts(built)) == [("s0", "s2"), ("s0", "s3"), ("s1", "s2"), ("s1", "s3")]
    assert [pair.smoothing for pair in pairs_of(built)] == pytest.approx(
        [0.5 * doubt("p", *pair) / math.log(2) for pair in texts(built)]
    )
    assert opened("upo")([samples(("a", True, 1.0), ("b", True, 0.1))]).counts == {"dropped.too_few": 1}


def test_smoothing_by_uncertainty_is_from_nothing_to_one_half() -> None:
    tree = samples(*((f"s{n}", True, 1 - n / 10) for n in range(4)))
    for certain, smoothing in ((0.0, 0.0), (math.log(2), 0.5)):
        built = opened("upo", uncertainty=lambda *_, value=certain: value)([tree])
        assert pairs_of(built)[0].smoothing == pytest.approx(smoothing)
    with pytest.raises(UsageError, match=r"uncertainty must be in \[0, log 2\], got 0\.8"):
        opened("upo", uncertainty=lambda *_: 0.8)([tree])


def test_upo_draws_sure_pairs_more_often() -> None:
    tree = samples(*((f"s{n}", True, 1 - n / 10) for n in range(4)))

    def unsure(problem: str, chosen: str, rejected: str) -> float:
        return 0.6 if chosen == "s0" else 0.0

    drawn = [texts(opened("upo", seed=seed, uncertainty=unsure)([tree]))[0][0] for seed in range(300)]
    # Weights 0.4 and 1 for two pairs each: the share of s0 is 0.4 / 1.4, within four standard errors.
    assert abs(drawn.count("s0") / 300 - 0.4 / 1.4) < 4 * math.sqrt(0.4 * 1.0 / 1.4**2 / 300)


@FEW
@given(tree=trees())
def test_the_upper_half_is_worth_more_than_the_lower(tree: Searched) -> None:
    for pair in pairs_of(opened("upo", least=2, max_pairs=None)([tree])):
        assert (pair.q_chosen or 0) > (pair.q_rejected or 0)
