"""Every loss: its gradient against finite differences in float64, and none where the weight is zero."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from selftrain import losses

Loss = Callable[[Tensor], Tensor]

WEIGHTS = torch.tensor([1.0, 0.0, 2.0, 0.5, 1.0, 0.0], dtype=torch.float64)
SHARES = torch.tensor([0.25, 0.25, 0.5, 0.5, 0.75, 0.75], dtype=torch.float64)
OFFSETS = torch.tensor([0.0, 0.4, -0.2, 0.1, 0.0, 1.0], dtype=torch.float64)
SMOOTHINGS = torch.tensor([0.0, 0.1, 0.2, 0.3, 0.4, 0.5], dtype=torch.float64)
RIGHT = torch.tensor([1.0, 0.0, 0.0, 1.0, 0.0, 0.0], dtype=torch.float64)
LENGTHS = torch.tensor([3, 5, 1, 2, 8, 4])
STORED = torch.tensor([[-3.0, -4.0, -1.0, -2.0, -5.0, -3.0], [-2.0, -5.0, -2.5, -1.0, -4.0, -4.0]]).double()


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def of_pairs(kind: losses.Kind) -> Loss:
    return lambda z: losses.dpo(
        z[0], z[1], WEIGHTS, kind=kind, beta=0.4, offset=OFFSETS, smoothing=SMOOTHINGS
    )


EDGES: dict[str, Loss] = {
    "sft": lambda z: losses.sft(z, WEIGHTS),
    "sft by token": lambda z: losses.sft(z, WEIGHTS, lengths=LENGTHS),
    "implicit_ce": lambda z: losses.implicit_ce(z, SHARES, WEIGHTS, beta=0.7),
    "direct_advantage": lambda z: losses.direct_advantage(z, OFFSETS, WEIGHTS, beta=0.3),
    "nft": lambda z: losses.nft(0.2 * z, RIGHT, SHARES, WEIGHTS, epsilon=1e-3),
    "nft by deviation": lambda z: losses.nft(
        0.2 * z, RIGHT, SHARES, WEIGHTS, omega=losses.nft_omega(SHARES, by_deviation=True), epsilon=1e-3
    ),
}
PAIRS: dict[str, Loss] = {
    "dpo sigmoid": of_pairs("sigmoid"),
    "dpo hinge": of_pairs("hinge"),
    "dpo ipo": of_pairs("ipo"),
    "off_policy_dpo": lambda z: losses.off_policy_dpo(z[0], z[1], STORED[0], STORED[1], WEIGHTS, beta=0.4),
    "spin": lambda z: losses.spin(z[0], z[1], WEIGHTS, beta=0.4),
    "cream": lambda z: losses.cream(z[0], z[1], SHARES, WEIGHTS, beta=0.4),
    "upo": lambda z: losses.upo(z[0], z[1], z[0] - 3, SMOOTHINGS * math.log(2), WEIGHTS, nll_weight=0.3),
    "simpo": lambda z: losses.simpo(z[0], z[1], LENGTHS, LENGTHS.flip(0), WEIGHTS),
}
ALL = {name: ((6,), loss) for name, loss in EDGES.items()}
ALL |= {name: ((2, 6), loss) for name, loss in PAIRS.items()}
NOT_LOSSES = {
    "Kind", "bald", "centred", "clip", "clip_and_delta", "debiased", "delta", "implicit_reward", "nft_omega",
    "reduce", "reference_probability", "spread",
}  # fmt: skip


def test_every_public_loss_is_among_those_whose_gradient_is_checked() -> None:
    assert {name.split()[0] for name in ALL} == set(losses.__all__) - NOT_LOSSES


@pytest.mark.parametrize("name", ALL)
def test_the_gradient_agrees_with_finite_differences(name: str) -> None:
    shape, loss = ALL[name]
    given = random(*shape).requires_grad_()
    assert torch.autograd.gradcheck(loss, (given,), eps=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ALL)
def test_an_entry_of_weight_zero_has_no_gradient_and_the_others_have_one(name: str) -> None:
    shape, loss = ALL[name]
    given = random(*shape).requires_grad_()
    loss(given).backward()
    assert given.grad is not None
    size = given.grad.reshape(-1, 6).abs().sum(0)
    assert (size[WEIGHTS == 0] == 0).all()
    assert (size[WEIGHTS > 0] > 0).all()


@pytest.mark.parametrize("name", ALL)
def test_an_entry_of_weight_zero_may_be_unknown(name: str) -> None:
    shape, loss = ALL[name]
    given = random(*shape).requires_grad_()
    expected = loss(given)
    expected.backward()
    for value in (math.nan, math.inf):
        unknown = given.detach().clone()
        unknown[..., WEIGHTS == 0] = value
        unknown.requires_grad_()
        found = loss(unknown)
        found.backward()
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(unknown.grad, given.grad)


UNKNOWN = torch.where(WEIGHTS == 0, math.nan, 0.5)


@pytest.mark.parametrize(
    "loss",
    [
        lambda z: losses.off_policy_dpo(z, z.flip(0), UNKNOWN, UNKNOWN, WEIGHTS),
        lambda z: losses.off_policy_dpo(z, z.flip(0), UNKNOWN, UNKNOWN, WEIGHTS, kind="ipo"),
        lambda z: losses.dpo(z, z.flip(0), WEIGHTS, offset=UNKNOWN, smoothing=UNKNOWN, kind="hinge"),
        lambda z: losses.cream(z, z.flip(0), UNKNOWN, WEIGHTS),
        lambda z: losses.direct_advantage(z, UNKNOWN, WEIGHTS),
        lambda z: losses.nft(z, torch.zeros(6), UNKNOWN, WEIGHTS),
        lambda z: losses.nft(z, RIGHT, SHARES, WEIGHTS, omega=UNKNOWN),
        lambda z: losses.implicit_ce(z, UNKNOWN, WEIGHTS),
    ],
)
def test_what_is_unknown_of_an_entry_of_weight_zero_reaches_no_gradient(
    loss: Callable[[Tensor], Tensor],
) -> None:
    given = random(6).requires_grad_()
    loss(given).backward()
    assert given.grad is not None
    assert given.grad.isfinite().all()


def test_parts_divided_by_the_whole_weight_add_up_to_the_loss_of_the_whole() -> None:
    z, total = random(2, 6), WEIGHTS.sum()
    for kind in ("sigmoid", "hinge", "ipo"):
        parts = [losses.dpo(*z[:, at], WEIGHTS[at], kind=kind, total=total) for at in (slice(2), slice(2, 6))]
        torch.testing.assert_close(sum(parts), losses.dpo(*z, WEIGHTS, kind=kind))
