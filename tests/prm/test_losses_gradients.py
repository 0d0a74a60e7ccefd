"""Every loss: its gradient against finite differences in float64, and none where the weight is zero."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from prm.training import losses

Loss = Callable[[Tensor], Tensor]


def _random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


SOFT = torch.tensor([0.0, 1.0, 0.3, 0.75, 0.5, 0.9], dtype=torch.float64)
WEIGHTS = torch.tensor([1.0, 0.0, 2.0, 0.5, 1.0, 0.0], dtype=torch.float64)
RIGHT = torch.tensor([[1, 1, 0, 0], [1, 0, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0]], dtype=torch.bool)
WRONG = torch.tensor([[0, 0, 1, 1], [0, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 0]], dtype=torch.bool)

STEP_LOSSES: dict[str, tuple[tuple[int, ...], Loss]] = {
    "value_bce": (
        (6,),
        lambda z: losses.value_bce(z, SOFT, WEIGHTS, class_weights=(2.0, 0.5), smoothing=0.1),
    ),
    "value_bce of members": ((6, 3), lambda z: losses.value_bce(z, SOFT[:, None], WEIGHTS[:, None])),
    "value_mse": ((6,), lambda z: losses.value_mse(z.sigmoid(), SOFT, WEIGHTS)),
    "step_classification": (
        (6, 2),
        lambda z: losses.step_classification(z, SOFT, WEIGHTS, class_weights=(2.0, 0.5), smoothing=0.1),
    ),
    "outcome_bce": ((6,), lambda z: losses.outcome_bce(z, SOFT, WEIGHTS)),
    "implicit_ce": ((6,), lambda z: losses.implicit_ce(z, SOFT, WEIGHTS, beta=0.7)),
}
OTHER_LOSSES: dict[str, tuple[tuple[int, ...], Loss]] = {
    "pairwise_logistic": (
        (2, 6),
        lambda z: losses.pairwise_logistic(z[0], z[1], WEIGHTS, margin=0.3, centring=0.01),
    ),
    "trajectory_ranking": (
        (4, 4),
        lambda z: losses.trajectory_ranking(z, RIGHT, WRONG, WEIGHTS[:4], zeta=1.5),
    ),
    "bradley_terry": ((2, 6), lambda z: losses.bradley_terry(z[0], z[1], WEIGHTS, centring=0.1)),
    "dpo": ((2, 6), lambda z: losses.dpo(z[0], z[1], WEIGHTS, beta=0.4, offset=0.2, smoothing=0.1)),
}
ALL = STEP_LOSSES | OTHER_LOSSES


def test_every_public_loss_is_among_those_whose_gradient_is_checked():
    named = {name.split()[0] for name in ALL}
    assert named == set(losses.__all__) - {"ClassWeights", "reduce", "implicit_reward"}


@pytest.mark.parametrize("name", ALL)
def test_the_gradient_agrees_with_finite_differences(name: str):
    shape, loss = ALL[name]
    given = _random(*shape).requires_grad_()
    assert torch.autograd.gradcheck(loss, (given,), eps=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", STEP_LOSSES)
def test_a_step_of_weight_zero_has_no_gradient_whatever_its_label_and_logit(name: str):
    shape, loss = STEP_LOSSES[name]
    given = _random(*shape)
    given[1], given[5] = 1e4, -1e4
    given.requires_grad_()
    loss(given).backward()
    assert given.grad is not None
    assert given.grad[[1, 5]].abs().sum() == 0
    assert torch.isfinite(given.grad).all()
    assert (given.grad[[0, 2, 3, 4]].flatten(1).abs().sum(1) > 0).all() if given.ndim > 1 else True


@pytest.mark.parametrize("loss", [losses.value_bce, losses.value_mse, losses.outcome_bce])
def test_a_masked_step_may_have_any_target_even_none(loss: Callable[..., Tensor]):
    given = torch.tensor([0.2, 0.9], dtype=torch.float64, requires_grad=True)
    weights = torch.tensor([1.0, 0.0])
    for nothing in (float("nan"), -100.0, float("inf")):
        masked = loss(given, torch.tensor([1.0, nothing], dtype=torch.float64), weights)
        assert masked.item() == pytest.approx(loss(given[:1], torch.ones(1)).item())
        (gradient,) = torch.autograd.grad(masked, given)
        assert torch.isfinite(gradient).all()


def test_parts_divided_by_the_whole_weight_add_up_to_the_loss_of_the_whole():
    given = _random(6)
    whole = losses.value_bce(given, SOFT, WEIGHTS)
    total = WEIGHTS.sum()
    parts = [
        losses.value_bce(given[at], SOFT[at], WEIGHTS[at], total=total) for at in (slice(2), slice(2, 6))
    ]
    assert sum(parts).item() == pytest.approx(whole.item(), abs=1e-12)


def test_no_weight_at_all_gives_a_loss_of_zero_and_not_nan():
    assert losses.value_bce(_random(3), SOFT[:3], torch.zeros(3)).item() == 0
