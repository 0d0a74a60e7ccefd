"""What each loss must equal where it reduces to another, or to a number that can be written down."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prm.training import losses

F64 = torch.float64
LOG2 = math.log(2)


def _tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=F64)


def test_two_classes_are_the_value_loss_of_their_difference():
    logits = torch.randn(5, 2, dtype=F64, generator=torch.Generator().manual_seed(0))
    targets = _tensor(0, 1, 0.4, 0.6, 1)
    options = {"class_weights": (0.5, 2.0), "smoothing": 0.2}
    one = losses.step_classification(logits, targets, **options)
    other = losses.value_bce(logits[:, 1] - logits[:, 0], targets, **options)
    assert one.item() == pytest.approx(other.item(), abs=1e-12)


def test_hard_labels_give_torchs_cross_entropy():
    logits = torch.randn(5, 2, dtype=F64, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([0, 1, 1, 0, 1])
    ours = losses.step_classification(logits, targets.to(F64))
    assert ours.item() == pytest.approx(torch.nn.functional.cross_entropy(logits, targets).item())


def test_smoothing_is_torchs_label_smoothing():
    logits = torch.randn(5, 2, dtype=F64, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([0, 1, 1, 0, 1])
    ours = losses.step_classification(logits, targets.to(F64), smoothing=0.3)
    theirs = torch.nn.functional.cross_entropy(logits, targets, label_smoothing=0.3)
    assert ours.item() == pytest.approx(theirs.item())


def test_two_rows_of_the_vocabulary_are_the_value_of_their_difference():
    logits = torch.randn(4, 9, dtype=F64, generator=torch.Generator().manual_seed(0))
    targets = _tensor(0, 1, 0.4, 0.6)
    ours = losses.step_classification(logits[:, [1, 7]], targets)
    assert ours.item() == pytest.approx(losses.value_bce(logits[:, 7] - logits[:, 1], targets).item())


@given(st.floats(0.02, 0.98))
@settings(max_examples=25, deadline=None)
def test_soft_labels_are_regressed_the_loss_is_least_at_the_label(label: float):
    logits = torch.full((1,), math.log(label / (1 - label)), dtype=F64, requires_grad=True)
    targets = _tensor(label)
    for loss in (losses.value_bce(logits, targets), losses.value_mse(logits.sigmoid(), targets)):
        (gradient,) = torch.autograd.grad(loss, logits)
        assert gradient.item() == pytest.approx(0, abs=1e-9)


def test_the_gradient_of_the_value_loss_is_probability_minus_label():
    logits = _tensor(-1.0, 0.3, 2.0).requires_grad_()
    targets = _tensor(0.2, 0.9, 1.0)
    (gradient,) = torch.autograd.grad(losses.value_bce(logits, targets, total=1.0), logits)
    assert torch.allclose(gradient, logits.sigmoid() - targets)


def test_counts_as_weights_give_the_binomial_likelihood():
    logit, right, n = _tensor(0.4), 3, 8
    weighted = losses.value_bce(logit, _tensor(right / n), _tensor(n), total=1.0)
    p = logit.sigmoid().item()
    assert weighted.item() == pytest.approx(-(right * math.log(p) + (n - right) * math.log(1 - p)))


def test_pairwise_losses_are_log_two_at_equal_scores_and_blind_to_a_shift():
    one, other = _tensor(0.5, -1.0), _tensor(0.5, -1.0)
    assert losses.pairwise_logistic(one, other).item() == pytest.approx(LOG2)
    assert losses.bradley_terry(one, other).item() == pytest.approx(LOG2)
    assert losses.dpo(one, other).item() == pytest.approx(LOG2)
    gap = losses.pairwise_logistic(_tensor(1, 2), _tensor(0, 3))
    assert losses.pairwise_logistic(_tensor(8, 9), _tensor(7, 10)).item() == pytest.approx(gap.item())


def test_pairs_that_weigh_one_over_their_number_are_the_mean_over_positives_times_negatives():
    good, bad = _tensor(0.1, 0.9), _tensor(-0.4, 0.3, 0.2)
    pairs = [(i, j) for i in range(2) for j in range(3)]
    chosen, rejected = good[[i for i, _ in pairs]], bad[[j for _, j in pairs]]
    ours = losses.pairwise_logistic(chosen, rejected, torch.full((6,), 1 / 6, dtype=F64), total=1.0)
    mean = sum(math.log1p(math.exp(b - g)) for g in good.tolist() for b in bad.tolist()) / 6
    assert ours.item() == pytest.approx(mean)


def test_ranking_equals_its_formula_written_out():
    scores = _tensor(0.5, 1.1, -0.7, 0.2)
    right = torch.tensor([True, True, False, False])
    zeta = 4.0
    q = scores.tolist()
    wrong = sum(math.exp(value + zeta) for value in q[2:])
    chain = [0.0, *q[:2]]
    terms = [
        math.log(math.exp(chain[t]) / (sum(math.exp(value) for value in chain[: t + 1]) + wrong))
        for t in range(3)
    ]
    ours = losses.trajectory_ranking(scores[None], right[None], ~right[None], zeta=zeta)
    assert ours.item() == pytest.approx(-sum(terms) / 3)


def test_ranking_without_a_wrong_step_leaves_the_prompts_own_term_out():
    q = 0.8
    ours = losses.trajectory_ranking(_tensor(q)[None], torch.tensor([[True]]), torch.tensor([[False]]))
    assert ours.item() == pytest.approx(math.log(1 + math.exp(-q)))


def test_ranking_of_one_wrong_step_pushes_it_below_the_origin_by_zeta():
    q, zeta = 0.3, 2.0
    ours = losses.trajectory_ranking(
        _tensor(q)[None], torch.tensor([[False]]), torch.tensor([[True]]), zeta=zeta
    )
    assert ours.item() == pytest.approx(math.log(1 + math.exp(q + zeta)))


def test_ranking_does_not_see_padding():
    right, wrong = torch.tensor([[True, False]]), torch.tensor([[False, True]])
    pad = torch.tensor([[False]])
    short = losses.trajectory_ranking(_tensor(0.5, 0.1)[None], right, wrong)
    padded = losses.trajectory_ranking(
        _tensor(0.5, 0.1, 9.0)[None], torch.cat((right, pad), 1), torch.cat((wrong, pad), 1)
    )
    assert padded.item() == pytest.approx(short.item())


def test_implicit_rewards_of_an_untrained_model_are_zero_and_both_losses_log_two():
    ratios = torch.zeros(4, dtype=F64)
    assert losses.implicit_reward(ratios, beta=0.05).abs().sum() == 0
    assert losses.implicit_ce(ratios, _tensor(1, 0, 0.3, 1)).item() == pytest.approx(LOG2)
    assert losses.dpo(ratios, ratios).item() == pytest.approx(LOG2)


def test_the_implicit_loss_pushes_right_up_and_wrong_down_equally_at_the_start():
    ratios = torch.zeros(2, dtype=F64, requires_grad=True)
    (gradient,) = torch.autograd.grad(losses.implicit_ce(ratios, _tensor(1, 0), total=1.0), ratios)
    assert gradient.tolist() == pytest.approx([-0.025, 0.025])


def test_dpo_with_no_beta_scale_is_bradley_terry_of_log_ratios():
    chosen, rejected = _tensor(0.4, -2.0), _tensor(0.1, 1.0)
    ours = losses.dpo(chosen, rejected, beta=1.0)
    assert ours.item() == pytest.approx(losses.bradley_terry(chosen, rejected).item())


def test_dpo_smoothed_by_one_half_does_not_care_which_side_was_chosen():
    chosen, rejected = _tensor(0.4), _tensor(-1.3)
    one = losses.dpo(chosen, rejected, smoothing=0.5)
    assert one.item() == pytest.approx(losses.dpo(rejected, chosen, smoothing=0.5).item())


def test_an_offset_asks_for_a_gap():
    chosen, rejected = _tensor(3.0), _tensor(1.0)
    assert losses.dpo(chosen, rejected, beta=1.0, offset=2.0).item() == pytest.approx(LOG2)
