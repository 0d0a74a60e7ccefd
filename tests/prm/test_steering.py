"""Steered decoding: the change of the logits, and targets to train token values on."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("transformers")
import torch

from prm.steering.logits import steer
from prm.steering.targets import td_lambda, transfer_q
from prm.steering.values import Ids, Mixed, TransferQ
from tasks.errors import UsageError

torch.set_num_threads(1)
NUMBERS = st.floats(-5, 5)
ROWS = st.integers(1, 3)


# -- the change of the logits -------------------------------------------------------------------------


def logits_of(data: st.DataObject, rows: int, vocabulary: int = 7) -> torch.Tensor:
    drawn = st.lists(NUMBERS, min_size=rows * vocabulary, max_size=rows * vocabulary)
    return torch.tensor(data.draw(drawn)).reshape(rows, vocabulary)


@settings(deadline=None)
@given(data=st.data(), rows=ROWS, k=st.integers(1, 7), others=st.sampled_from(["keep", "drop"]))
def test_candidates_get_their_value_less_the_mean_and_the_others_stay_or_go(
    data: st.DataObject, rows: int, k: int, others: Any
) -> None:
    logits = logits_of(data, rows)
    candidates = logits.topk(k, dim=-1).indices
    values = torch.tensor(data.draw(st.lists(NUMBERS, min_size=rows * k, max_size=rows * k))).reshape(rows, k)
    got = steer(logits, candidates, values, others=others)
    for row, column in itertools.product(range(rows), range(7)):
        place = (candidates[row] == column).nonzero()
        if len(place):
            gap = values[row, place[0, 0]] - values[row].mean()
            assert got[row, column] == pytest.approx(float(logits[row, column] + gap), abs=1e-5)
        else:
            assert float(got[row, column]) == (float(logits[row, column]) if others == "keep" else -math.inf)


@settings(deadline=None)
@given(data=st.data(), rows=ROWS, k=st.integers(1, 7), value=st.floats(-1e6, 1e6))
def test_a_constant_value_changes_no_number_and_neither_does_none(
    data: st.DataObject, rows: int, k: int, value: float
) -> None:
    logits = logits_of(data, rows)
    candidates = logits.topk(k, dim=-1).indices
    for same in (torch.full((rows, k), value, dtype=torch.float64), torch.zeros(rows, k)):
        assert torch.equal(steer(logits, candidates, same), logits)


@settings(deadline=None)
@given(data=st.data(), values=st.lists(NUMBERS, min_size=7, max_size=7))
def test_the_expected_value_and_the_divergence_rise_with_beta(
    data: st.DataObject, values: list[float]
) -> None:
    logits, every = logits_of(data, 1), torch.arange(7)[None]
    base = torch.log_softmax(logits, -1)
    found = []
    for beta in (0.0, 0.5, 1.0, 3.0):
        logp = torch.log_softmax(steer(logits, every, beta * torch.tensor([values])), -1)
        p = logp.exp()
        found.append((float((p * torch.tensor(values)).sum()), float((p * (logp - base)).sum())))
    for (value, divergence), (more, further) in itertools.pairwise(found):
        assert more >= value - 1e-5
        assert further >= divergence - 1e-5


def test_with_all_tokens_and_the_exact_value_it_is_the_tilted_distribution() -> None:
    logits, values = torch.tensor([[0.3, -1.0, 2.0]]), torch.tensor([[1.0, 0.0, -0.5]])
    got = torch.softmax(steer(logits, torch.arange(3)[None], 2 * values), -1)
    tilted = torch.softmax(logits, -1) * torch.exp(2 * values)
    assert torch.allclose(got, tilted / tilted.sum())


# -- targets ------------------------------------------------------------------------------------------

CHAINS = st.integers(1, 7).flatmap(
    lambda size: st.tuples(*[st.lists(NUMBERS, min_size=size, max_size=size)] * 2)
)


@settings(deadline=None)
@given(CHAINS, st.floats(0, 1), NUMBERS)
def test_lambda_one_is_the_monte_carlo_return_and_lambda_zero_the_one_step_target(
    chain: tuple[list[float], list[float]], gamma: float, bootstrap: float
) -> None:
    rewards, values = chain
    size = len(rewards)
    whole = td_lambda(rewards, values, decay=1.0, gamma=gamma, bootstrap=bootstrap)
    one = td_lambda(rewards, values, decay=0.0, gamma=gamma, bootstrap=bootstrap)
    for t in range(size):
        later = sum(gamma ** (i - t) * rewards[i] for i in range(t, size)) + gamma ** (size - t) * bootstrap
        assert whole[t] == pytest.approx(later, abs=1e-6)
        following = values[t + 1] if t + 1 < size else bootstrap
        assert one[t] == pytest.approx(rewards[t] + gamma * following, abs=1e-6)


@settings(deadline=None)
@given(CHAINS, st.floats(0, 1), st.floats(0, 1))
def test_targets_obey_their_recursion_and_are_the_lambda_mixture_of_n_step_returns(
    chain: tuple[list[float], list[float]], decay: float, gamma: float
) -> None:
    rewards, values = chain
    size = len(rewards)
    got = td_lambda(rewards, values, decay=decay, gamma=gamma)
    for t in range(size):
        mixed, weight = 0.0, 1.0
        for n in range(1, size - t + 1):
            steps = sum(gamma**i * rewards[t + i] for i in range(n))
            last = t + n == size
            steps += 0.0 if last else gamma**n * values[t + n]
            mixed += (weight if last else weight * (1 - decay)) * steps
            weight *= decay
        assert got[t] == pytest.approx(mixed, abs=1e-6)


@settings(deadline=None)
@given(st.integers(1, 6), NUMBERS, st.floats(0, 1))
def test_exact_values_are_a_fixed_point_for_every_lambda(size: int, reward: float, decay: float) -> None:
    rewards = [0.0] * (size - 1) + [reward]
    assert td_lambda(rewards, [reward] * size, decay=decay) == pytest.approx([reward] * size)


@settings(deadline=None)
@given(st.lists(st.floats(-3, 3), min_size=1, max_size=6), st.floats(0.1, 5))
def test_indirect_transfer_with_the_same_reward_is_direct_transfer(rewards: list[float], beta: float) -> None:
    direct = transfer_q(rewards)
    assert direct == pytest.approx(sum(rewards) / len(rewards))
    assert transfer_q(rewards, rewards, beta=beta) == pytest.approx(direct)
    assert min(rewards) - 1e-9 <= transfer_q(rewards, [0.0] * len(rewards), beta=beta) <= max(rewards) + 1e-9


def test_indirect_transfer_reweighs_by_the_difference_of_the_rewards() -> None:
    weights = [math.exp((1.0 - 0.5) / 2), math.exp((3.0 - 0.0) / 2)]
    wanted = (weights[0] * 1.0 + weights[1] * 3.0) / sum(weights)
    assert transfer_q([1.0, 3.0], [0.5, 0.0], beta=2.0) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: td_lambda([0.0], []), "got 1 and 0"),
        (lambda: td_lambda([], [], decay=1.5), "decay"),
        (lambda: td_lambda([], [], gamma=-1), "gamma"),
        (lambda: transfer_q([]), "at least one"),
        (lambda: transfer_q([1.0], [1.0, 2.0]), "as many"),
        (lambda: transfer_q([1.0], [1.0], beta=0.0), "beta"),
        (lambda: TransferQ(lambda ids, n: [], len, n=0), "n must be"),
        (lambda: Mixed([]), "at least one"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(call: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()


def test_transfer_q_on_a_small_tree_is_the_enumerated_value() -> None:
    """Texts of two binary tokens behind a prompt; the baseline writes token 1 with probability 3/4."""
    reward = {(9, 0, 0): 0.0, (9, 0, 1): 1.0, (9, 1, 0): 2.0, (9, 1, 1): 5.0}

    def complete(ids: Ids, n: int) -> list[Ids]:
        return [(*ids, 0), *[(*ids, 1)] * 3] if len(ids) < 3 else [ids]

    value = TransferQ(complete, lambda ids: reward[ids], n=4)
    assert value([(9, 0), (9, 1), (9, 1, 1)]) == [0.75, 4.25, 5.0]
    indirect = TransferQ(complete, lambda ids: reward[ids], n=4, baseline=lambda ids: reward[ids], beta=0.5)
    assert indirect([(9, 0), (9, 1)]) == pytest.approx([0.75, 4.25])
