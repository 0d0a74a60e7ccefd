"""What each loss becomes in a special case, and what its documentation says about optimum and sign."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from prm.training import losses as prm_losses
from selftrain import losses
from tasks.errors import DataError, UsageError

close = torch.testing.assert_close


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slope(loss: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    at = at.detach().clone().requires_grad_()
    return torch.autograd.grad(loss(at), at)[0]


def best_margin(loss: Callable[[Tensor], Tensor]) -> float:
    """Margin of least loss, by bisection on the gradient's sign."""
    low, high = -100.0, 100.0
    for _ in range(45):
        middle = (low + high) / 2
        up = float(slope(loss, torch.tensor(middle, dtype=torch.float64))) < 0
        low, high = (middle, high) if up else (low, middle)
    return low


def test_sft_by_token_is_the_cross_entropy_of_the_labels() -> None:
    logits, labels = random(3, 7, 11), torch.randint(0, 11, (3, 7))
    labels[0, 4:], labels[2, 2:] = -100, -100
    kept = labels >= 0
    log_probs = logits.log_softmax(-1).gather(-1, labels.clamp_min(0)[..., None])[..., 0]
    sums = torch.where(kept, log_probs, 0.0).sum(-1)
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
    close(losses.sft(sums, lengths=kept.sum(-1)), expected)


def test_dpo_with_equal_sides_is_log_two_and_pushes_them_apart_equally() -> None:
    z = torch.zeros(2, 1, dtype=torch.float64)
    close(losses.dpo(*z), torch.tensor(math.log(2), dtype=torch.float64))
    for kind in ("sigmoid", "hinge", "ipo"):
        gradient = slope(lambda z, kind=kind: losses.dpo(z[0], z[1], kind=kind, beta=0.2), z)
        assert gradient[0] < 0
        close(gradient[0], -gradient[1])


@pytest.mark.parametrize("kind", ["sigmoid", "hinge", "ipo"])
def test_smoothing_of_a_half_leaves_no_signal_at_margin_zero(kind: losses.Kind) -> None:
    gradient = slope(lambda h: losses.dpo(h, torch.zeros_like(h), kind=kind, smoothing=0.5), torch.zeros(1))
    assert float(gradient) == 0


def test_the_forms_of_dpo_are_the_published_formulas() -> None:
    chosen, rejected = random(2, 9, seed=1) * 5
    h, beta = chosen - rejected, 0.3
    close(losses.dpo(chosen, rejected, beta=beta), -(beta * h).sigmoid().log().mean())
    close(losses.dpo(chosen, rejected, kind="hinge", beta=beta), (1 - beta * h).clamp_min(0).mean())
    close(losses.dpo(chosen, rejected, kind="ipo", beta=beta), ((h - 1 / (2 * beta)) ** 2).mean())
    close(losses.dpo(chosen, rejected, beta=beta), prm_losses.dpo(chosen, rejected, beta=beta))


def test_ipo_wants_the_margin_one_over_two_beta_and_the_offset_more() -> None:
    def loss(h: Tensor, offset: float = 0.0) -> Tensor:
        return losses.dpo(h, torch.zeros_like(h), kind="ipo", beta=0.1, offset=offset)

    assert best_margin(loss) == pytest.approx(1 / 0.2)
    assert best_margin(lambda h: loss(h, 0.3)) == pytest.approx(1 / 0.2 + 0.3 / 0.1)


def test_an_unknown_kind_of_dpo_is_named() -> None:
    with pytest.raises(UsageError, match="did you mean 'hinge'"):
        losses.dpo(torch.zeros(1), torch.zeros(1), kind="hinges")  # type: ignore[arg-type]


def test_dpo_with_stored_references_is_dpo_of_the_log_ratios() -> None:
    chosen, rejected, *stored = random(4, 5)
    close(
        losses.off_policy_dpo(chosen, rejected, *stored), losses.dpo(chosen - stored[0], rejected - stored[1])
    )


def test_stored_references_get_no_gradient() -> None:
    chosen, rejected, *stored = random(4, 5).requires_grad_()
    live = torch.stack(stored).detach().requires_grad_()
    losses.off_policy_dpo(chosen, rejected, live[0], live[1]).backward()
    assert live.grad is None


def test_a_pair_without_stored_references_is_an_error_unless_it_does_not_count() -> None:
    z = random(4, 2)
    z[2, 1] = math.nan
    with pytest.raises(DataError, match="1 pairs have no stored log-probs"):
        losses.off_policy_dpo(*z)
    counted = losses.off_policy_dpo(*z, torch.tensor([1.0, 0.0]))
    close(counted, losses.off_policy_dpo(*z[:, :1]))


def test_spin_is_dpo_and_its_gradient_vanishes_where_the_opponent_wrote_the_demonstration() -> None:
    real, generated = random(2, 4)
    close(losses.spin(real, generated, beta=0.7), losses.dpo(real, generated, beta=0.7))
    close(slope(lambda z: losses.spin(z, z), real), torch.zeros(4, dtype=torch.float64))


def test_spin_does_not_move_a_policy_that_is_the_data_distribution() -> None:
    """The fixed point on four texts: the expected gradient over real and generated texts is 0."""
    data = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)

    def expected(logits: Tensor) -> Tensor:
        ratio = logits.log_softmax(0) - data.log()
        real, generated = torch.meshgrid(ratio, ratio, indexing="ij")
        return losses.spin(real, generated, torch.outer(data, data))

    close(slope(expected, data.log()), torch.zeros(4, dtype=torch.float64))


def test_cream_is_dpo_at_full_consistency_and_the_mean_of_both_directions_between() -> None:
    chosen, rejected = random(2, 4)
    close(losses.cream(chosen, rejected, 1.0), losses.dpo(chosen, rejected))
    close(losses.cream(chosen, rejected, 0.0), losses.dpo(rejected, chosen))
    mixed = 0.7 * losses.dpo(chosen, rejected) + 0.3 * losses.dpo(rejected, chosen)
    close(losses.cream(chosen, rejected, 0.7), mixed)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.05, 0.95), st.floats(0.1, 2.0))
def test_cream_is_least_at_the_log_odds_of_the_consistency(consistency: float, beta: float) -> None:
    found = best_margin(lambda h: losses.cream(h, torch.zeros_like(h), consistency, beta=beta))
    assert beta * found == pytest.approx(math.log(consistency / (1 - consistency)), abs=1e-6)


def test_uncertainty_is_zero_where_passes_agree_and_at_most_log_two() -> None:
    agree = torch.tensor([0.3, 0.7]).expand(10, 4, 2)
    close(losses.bald(agree), torch.zeros(4))
    opposed = torch.eye(2).repeat(5, 1)
    close(losses.bald(opposed), torch.tensor(math.log(2)))
    passes = random(10, 50, 2).softmax(-1)
    found = losses.bald(passes)
    assert ((found >= 0) & (found <= math.log(2))).all()
    mean = passes.mean(0)
    formula = -(mean * mean.log()).sum(-1) + (passes * passes.log()).sum(-1).mean(0)
    close(found, formula)


def test_upo_without_uncertainty_is_dpo_and_likelihood() -> None:
    chosen, rejected, log_probs = random(3, 4)
    found = losses.upo(chosen, rejected, log_probs, torch.zeros(4), nll_weight=0.5)
    close(found, losses.dpo(chosen, rejected) - 0.5 * log_probs.mean())


@settings(max_examples=30, deadline=None)
@given(st.floats(0.0, 1.0))
def test_upo_never_favours_the_rejected_side_and_is_least_where_it_says(share: float) -> None:
    uncertainty = torch.tensor(share * math.log(2), dtype=torch.float64)
    none = torch.zeros((), dtype=torch.float64)

    def loss(h: Tensor) -> Tensor:
        return losses.upo(h, torch.zeros_like(h), none, uncertainty, beta=0.5)

    assert float(slope(loss, none)) <= 1e-12
    if 0.01 < share < 0.99:
        smoothing = 0.5 * share
        assert 0.5 * best_margin(loss) == pytest.approx(math.log((1 - smoothing) / smoothing), abs=1e-6)


def test_uncertainty_out_of_range_is_an_error() -> None:
    for bad in (-0.1, 0.8):
        with pytest.raises(UsageError, match="in \\[0, log 2\\]"):
            losses.upo(*torch.zeros(3, 1), torch.tensor([bad]))


def test_simpo_of_equal_lengths_is_dpo_with_offset_and_without_reference() -> None:
    chosen, rejected = random(2, 4)
    six = torch.full((4,), 6)
    expected = losses.dpo(chosen, rejected, beta=2.0 / 6, offset=0.5)
    close(losses.simpo(chosen, rejected, six, six, beta=2.0, gamma=0.5), expected)


def test_implicit_cross_entropy_at_zero_pushes_right_up_and_wrong_down_equally() -> None:
    gradient = slope(lambda z: losses.implicit_ce(z, torch.tensor([1.0, 0.0])), torch.zeros(2))
    assert gradient[0] < 0
    close(gradient[0], -gradient[1])


def test_step_rewards_of_the_implicit_model_sum_to_the_whole_reward() -> None:
    steps = random(8)
    close(losses.implicit_reward(steps, beta=0.05).sum(), losses.implicit_reward(steps.sum(), beta=0.05))


def test_advantages_sum_to_zero_in_each_state_and_spread_is_their_span() -> None:
    values, states = random(9), torch.tensor([0, 0, 2, 2, 2, 1, 0, 1, 4])
    found = losses.centred(values, states, 5)
    close(values.new_zeros(5).index_add(0, states, found), values.new_zeros(5), atol=1e-12, rtol=0)
    spans = losses.spread(found, states, 5)
    close(spans[2], values[2:5].max() - values[2:5].min())
    assert spans[3] == 0
    assert spans[4] == 0


def test_the_direct_advantage_update_has_the_sign_of_the_advantage_at_the_reference() -> None:
    advantages = torch.tensor([0.3, -0.2, 0.0, -0.1], dtype=torch.float64)
    gradient = slope(lambda z: losses.direct_advantage(z, advantages, beta=0.1), torch.zeros(4).double())
    close(-gradient, advantages / 0.1 / 4)


def test_direct_advantage_is_zero_at_the_tilted_reference() -> None:
    advantages = random(5)
    close(losses.direct_advantage(advantages / 0.02, advantages, beta=0.02), torch.zeros(()).double())


def test_a_policy_trained_by_direct_advantage_tilts_the_reference_by_its_advantages() -> None:
    """A state of four steps: with a small tilt the normaliser is near 1 and the optimum near the formula."""
    reference = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    advantages = torch.tensor([0.02, -0.01, 0.01, -0.0075], dtype=torch.float64)
    logits = reference.log().requires_grad_()
    optimizer = torch.optim.LBFGS([logits], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = losses.direct_advantage(logits.log_softmax(0) - reference.log(), advantages, beta=0.1)
        loss.backward()
        return loss

    optimizer.step(closure)
    wanted = reference * (advantages / 0.1).exp()
    close(logits.detach().softmax(0), wanted / wanted.sum(), rtol=0.02, atol=0)


RATES = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64).repeat_interleave(4)
CORRECT = torch.tensor([1, 0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 0], dtype=torch.float64)


@pytest.mark.parametrize("by_deviation", [False, True])
def test_at_ratio_one_nft_is_the_group_centred_policy_gradient(by_deviation: bool) -> None:
    omega = losses.nft_omega(RATES, by_deviation=by_deviation)
    advantages = CORRECT - RATES
    if by_deviation:
        advantages = advantages / (RATES * (1 - RATES)).sqrt()

    def loss(z: Tensor, epsilon: float) -> Tensor:
        return losses.nft(z, CORRECT, RATES, omega=omega, epsilon=epsilon)

    at = torch.zeros(12, dtype=torch.float64)
    close(slope(lambda z: loss(z, 1.0), at), -advantages / 12)
    steps = torch.eye(12, dtype=torch.float64) * 1e-6
    differences = torch.stack([(loss(s, 1e-3) - loss(-s, 1e-3)) / 2e-6 for s in steps])
    close(differences, -advantages / 12, rtol=1e-6, atol=1e-8)


def test_nft_without_wrong_samples_is_rejection_fine_tuning() -> None:
    log_ratios, stored = random(5), random(5, seed=1)
    ones = torch.ones(5, dtype=torch.float64)
    for rates in (0.5 * ones, ones):
        found = losses.nft(log_ratios, ones, rates, omega=ones)
        close(found, losses.sft(log_ratios + stored) + stored.mean())


def test_a_clipped_negative_likelihood_still_pushes_the_token_down() -> None:
    rate, ratio = 0.5, 1.5
    wrong, rates = torch.zeros(1), torch.full((1,), rate, dtype=torch.float64)
    at = torch.tensor([math.log(ratio)], dtype=torch.float64)
    assert float(losses.nft(at, wrong, rates)) == 0  # log of the floor 1
    close(
        slope(lambda z: losses.nft(z, wrong, rates), at),
        torch.tensor([(1 - rate) * rate * ratio / (1 - rate)], dtype=torch.float64),
    )


@pytest.mark.parametrize("log_ratio", [10.0, 16.7, 17.0, 29.0])
def test_nft_in_float32_is_what_it_is_in_float64_where_ratios_are_large(log_ratio: float) -> None:
    def at(kind: torch.dtype) -> tuple[float, float]:
        z = torch.tensor([log_ratio], dtype=kind, requires_grad=True)
        loss = losses.nft(z, torch.zeros(1), torch.full((1,), 0.5, dtype=kind))
        return float(loss.detach()), float(torch.autograd.grad(loss, z)[0])

    assert at(torch.float32) == pytest.approx(at(torch.float64), rel=1e-5)
    assert at(torch.float64) == pytest.approx((0.0, 0.5 * math.exp(log_ratio)), rel=1e-9)


def test_nft_of_a_ratio_that_overflows_has_the_gradient_of_the_largest_that_counts() -> None:
    z = torch.tensor([200.0], requires_grad=True)
    losses.nft(z, torch.zeros(1), torch.full((1,), 0.5)).backward()
    assert z.grad is not None
    assert float(z.grad) == pytest.approx(0.5 * math.exp(30), rel=1e-5)


@given(st.lists(st.floats(-2, 2), min_size=1, max_size=8))
def test_what_is_still_to_come_after_delta_is_the_steps_own_reward(rewards: list[float]) -> None:
    given_rewards = torch.tensor(rewards, dtype=torch.float64)
    shaped = losses.delta(given_rewards)
    to_come = shaped.flip(0).cumsum(0).flip(0)
    close(to_come[:-1], given_rewards[:-1])
    assert shaped[-1] == 0


def test_delta_of_one_step_is_nothing_and_of_two_is_the_first() -> None:
    assert losses.delta(torch.tensor([0.7])).tolist() == [0.0]
    close(losses.delta(torch.tensor([0.7, 0.9])), torch.tensor([0.7, 0.0]))


def test_trivial_steps_raise_the_plain_return_but_neither_clip_nor_delta() -> None:
    for more in (1, 10, 1000):
        rewards = torch.cat((torch.tensor([0.4, 0.6]), torch.full((more,), 0.99)))
        assert rewards.sum() > 0.9 * more
        assert losses.clip(rewards, eta=0.5).sum() <= 0
        close(losses.delta(rewards).sum(), torch.tensor(0.4), atol=1e-4, rtol=0)
        close(losses.clip_and_delta(rewards, eta=0.5).sum(), torch.tensor(-0.1), atol=1e-4, rtol=0)


def test_the_reference_probability_is_a_mean_and_not_a_product() -> None:
    log_probs = torch.tensor([0.5, 0.1, 0.9, 0.2, 0.4]).log()
    owners = torch.tensor([0, 0, 1, 2, 2])
    found = losses.reference_probability(log_probs, owners, 3)
    close(found, torch.tensor([0.3, 0.9, 0.3]))
    doubled = losses.reference_probability(log_probs.repeat(2), owners.repeat(2), 3)
    close(doubled, found)
    assert losses.reference_probability(log_probs, owners, 4)[3].isnan()


def test_debiasing_keeps_what_the_reasoning_added_within_zero_and_one() -> None:
    close(losses.debiased(torch.tensor([0.9, 0.2]), torch.tensor([0.3, 0.5])), torch.tensor([0.6, 0.0]))
