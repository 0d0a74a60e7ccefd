"""What each objective makes of the records: its formula on hand-made log-probs, and what is left out."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid
from tree_training_worlds import rich_tree, tree_of

from selftrain import losses
from selftrain.data.record import Pair, Trace, TrainingTree
from selftrain.packing import EdgeIndex
from selftrain.training import TrainConfig
from selftrain.training.figures import as_json, figures
from selftrain.training.mixture import batch_loss, divisors
from selftrain.training.objectives import OBJECTIVES, reference_of
from selftrain.training.reads import named_nodes
from selftrain.training.selection import select
from selftrain.training.units import make_item, units

SUMS = torch.tensor([0.0, -3.0, -5.0, -2.0, -4.0, -7.0])
REFERENCES = torch.tensor([0.0, -3.5, -4.0, -2.5, -3.0, -6.5])
RATIOS = SUMS - REFERENCES


def loss_of(tree: TrainingTree, **given: Any) -> float:
    """The objective's loss of one tree with the log-probs above by node."""
    config = TrainConfig(**given)
    index = EdgeIndex([tree.tree])
    found = batch_loss(SUMS, index, [tree], REFERENCES, config, divisors([tree], config))
    return float(found)


def lengths(tree: TrainingTree, *nodes: int) -> int:
    return sum(len(tree.tree.segments[node]) for node in nodes)


def sigma(value: Tensor) -> Tensor:
    return -logsigmoid(value)


TREE = rich_tree(0)
GAPS = torch.stack(
    (RATIOS[1] - RATIOS[2], RATIOS[3] - RATIOS[4], RATIOS[1] + RATIOS[3] - RATIOS[2] - RATIOS[5])
)


@pytest.mark.parametrize("name", ["dpo", "off-policy-dpo"])
def test_dpo_takes_weight_offset_and_smoothing_of_each_pair(name: str) -> None:
    terms = sigma(0.2 * GAPS - torch.tensor([0.0, 0.1, 0.0]))
    smooth = 0.9 * sigma(0.2 * GAPS[2]) + 0.1 * sigma(-0.2 * GAPS[2])
    expected = (2 * terms[0] + terms[1] + smooth) / 4
    assert loss_of(TREE, objective=name, beta=0.2) == pytest.approx(float(expected), rel=1e-6)


def test_scales_and_the_power_of_weights_take_the_records_terms_out() -> None:
    expected = sigma(0.1 * GAPS).mean()
    plain = {"weight_power": 0.0, "offset_scale": 0.0, "smoothing_scale": 0.0}
    assert loss_of(TREE, objective="dpo", **plain) == pytest.approx(float(expected), rel=1e-6)
    assert loss_of(TREE, objective="dpo") != pytest.approx(float(expected), rel=1e-3)


@pytest.mark.parametrize("kind", ["hinge", "ipo"])
def test_the_other_kinds_of_dpo_are_those_of_the_losses(kind: Any) -> None:
    chosen = torch.stack((RATIOS[1], RATIOS[3], RATIOS[1] + RATIOS[3]))
    rejected = torch.stack((RATIOS[2], RATIOS[4], RATIOS[2] + RATIOS[5]))
    expected = losses.dpo(
        chosen,
        rejected,
        torch.tensor([2.0, 1.0, 1.0]),
        kind=kind,
        offset=torch.tensor([0.0, 0.1, 0.0]),
        smoothing=torch.tensor([0.0, 0.0, 0.1]),
    )
    assert loss_of(TREE, objective="dpo", kind=kind) == pytest.approx(float(expected), rel=1e-6)


def test_spin_takes_weights_only() -> None:
    terms = sigma(0.1 * GAPS)
    expected = (2 * terms[0] + terms[1] + terms[2]) / 4
    assert loss_of(TREE, objective="spin") == pytest.approx(float(expected), rel=1e-6)


def test_the_smoothing_of_a_pair_is_one_minus_the_consistency_of_cream() -> None:
    (pair,) = [pair for pair in TREE.pairs if pair.smoothing]
    tree = replace(TREE, pairs=(replace(pair, smoothing=0.75),))
    expected = 0.25 * sigma(0.1 * GAPS[2]) + 0.75 * sigma(-0.1 * GAPS[2])
    assert loss_of(tree, objective="cream") == pytest.approx(float(expected), rel=1e-6)


def test_upo_adds_the_mean_likelihood_of_chosen_sides_and_smooths_by_uncertainty() -> None:
    pair = Pair(above=0, chosen=3, rejected=5, smoothing=0.2)
    tree = replace(TREE, pairs=(pair,))
    smooth = 0.8 * sigma(0.1 * GAPS[2]) + 0.2 * sigma(-0.1 * GAPS[2])
    likelihood = -(SUMS[1] + SUMS[3]) / lengths(tree, 1, 3)
    assert loss_of(tree, objective="upo") == pytest.approx(float(smooth + likelihood), rel=1e-6)
    assert loss_of(tree, objective="upo", sft_weight=0.5) == pytest.approx(
        float(smooth + 0.5 * likelihood), rel=1e-6
    )


def test_simpo_divides_by_lengths_and_needs_no_reference() -> None:
    tree = replace(TREE, pairs=(Pair(above=0, chosen=3, rejected=2),))
    gap = (SUMS[1] + SUMS[3]) / lengths(tree, 1, 3) - SUMS[2] / lengths(tree, 2)
    assert loss_of(tree, objective="simpo") == pytest.approx(float(sigma(2.0 * gap - 1.0)), rel=1e-6)
    assert loss_of(tree, objective="simpo", gamma=0.0, beta=3.0) == pytest.approx(
        float(sigma(3 * gap)), rel=1e-6
    )
    assert reference_of(TrainConfig(objective="simpo")) == "none"


def test_sft_weighs_every_token_alike_and_leaves_untrained_steps_out() -> None:
    traces = (Trace(node=3, weight=2.0), Trace(node=5, untrained=(2,)))
    tree = replace(TREE, traces=traces)
    whole = -(2 * (SUMS[1] + SUMS[3]) + SUMS[5])
    expected = whole / (2 * lengths(tree, 1, 3) + lengths(tree, 5))
    assert loss_of(tree, objective="sft") == pytest.approx(float(expected), rel=1e-6)
    assert named_nodes(replace(tree, pairs=(), advantages=())) == {1, 3, 5}


def test_implicit_ce_reads_the_grade_of_a_whole_trace() -> None:
    rewards = 0.05 * torch.stack((RATIOS[1] + RATIOS[3], RATIOS[1] + RATIOS[4], RATIOS[2] + RATIOS[5]))
    expected = (sigma(rewards[0]) + sigma(-rewards[1]) + 2 * sigma(-rewards[2])) / 4
    assert loss_of(TREE, objective="implicit-ce") == pytest.approx(float(expected), rel=1e-6)


def test_direct_advantage_fits_each_steps_ratio_to_its_advantage() -> None:
    advantages = torch.tensor([0.5, -0.5, 0.2, -0.2])
    expected = (0.5 * (advantages / 0.1 - RATIOS[1:5]) ** 2).mean()
    assert loss_of(TREE, objective="direct-advantage", beta=0.1) == pytest.approx(float(expected), rel=1e-6)


def test_nft_weighs_problems_by_their_rate_and_reads_wrong_steps_through_the_negative_policy() -> None:
    rate = 1 / 4  # one right trace of weight 1, wrong ones of weights 1 and 2
    right = RATIOS[1] + RATIOS[3]
    wrong = [(1 - rate * RATIOS[node].exp()) / (1 - rate) for node in (1, 4, 2, 5)]
    logs = [one.clamp_min(1.0).log() for one in wrong]
    whole = right + logs[0] + logs[1] + 2 * (logs[2] + logs[3])
    tokens = lengths(TREE, 1, 3) + lengths(TREE, 1, 4) + 2 * lengths(TREE, 2, 5)
    expected = -(1 - rate) * whole / tokens
    assert loss_of(TREE, objective="nft") == pytest.approx(float(expected), rel=1e-5)
    spread = math.sqrt((1 - rate) / rate)
    by_deviation = loss_of(TREE, objective="nft", nft_by_deviation=True)
    assert by_deviation == pytest.approx(float(-spread * whole / tokens), rel=1e-5)


def test_a_shared_step_of_right_and_wrong_traces_is_not_pushed_at_the_old_policy() -> None:
    traces = (Trace(node=3, right=True), Trace(node=4, right=False))
    tree = replace(TREE, traces=traces, pairs=(), advantages=())
    config, sums = TrainConfig(objective="nft"), REFERENCES.clone().requires_grad_()
    index = EdgeIndex([tree.tree])
    batch_loss(sums, index, [tree], REFERENCES, config, divisors([tree], config)).backward()
    assert sums.grad is not None
    assert sums.grad[1].abs() < 1e-7
    assert sums.grad[3] < 0 < sums.grad[4]


@pytest.mark.parametrize("name", ["dpo", "spin", "cream", "simpo"])
def test_a_likelihood_may_be_added_to_every_pair_loss(name: str) -> None:
    alone = loss_of(TREE, objective=name)
    chosen = -(2 * SUMS[1] + SUMS[3] + SUMS[1] + SUMS[3])
    tokens = 2 * lengths(TREE, 1) + lengths(TREE, 3) + lengths(TREE, 1, 3)
    mixed = loss_of(TREE, objective=name, sft_weight=0.3)
    assert mixed - alone == pytest.approx(0.3 * float(chosen) / tokens, rel=1e-5)
    traced = replace(TREE, traces=(Trace(node=4),))
    mixed = loss_of(traced, objective=name, sft_weight=0.3, sft_on="traces")
    expected = -0.3 * float(SUMS[1] + SUMS[4]) / lengths(TREE, 1, 4)
    assert mixed - alone == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_unread_edges_may_be_nan_and_get_no_gradient(name: str) -> None:
    config = TrainConfig(objective=name)  # pyright: ignore[reportArgumentType]
    other = tree_of("other", [(0, "a\n"), (0, "b\n"), (0, "c\n")])
    tree = select([TREE], config, context=160, vocabulary=400).trees[0]
    spare = replace(other, pairs=(), traces=(), advantages=())
    index = EdgeIndex([tree.tree, spare.tree])
    named = named_nodes(tree)
    sums = torch.cat((SUMS, torch.full((4,), torch.nan)))
    for node in range(1, 6):
        if node not in named:
            sums[node] = torch.nan
    sums.requires_grad_()
    references = torch.cat((REFERENCES, torch.full((4,), torch.nan)))
    loss = batch_loss(sums, index, [tree, spare], references, config, divisors([tree, spare], config))
    loss.backward()
    assert loss.isfinite()
    assert sums.grad is not None
    assert sums.grad.isfinite().all()
    assert set(sums.grad.nonzero().flatten().tolist()) <= named


def test_the_figures_are_margins_accuracy_and_log_probs_per_token() -> None:
    config = TrainConfig(objective="dpo", beta=0.5)
    item = replace(make_item(replace(TREE, traces=(), advantages=())), reference=REFERENCES)
    (unit,) = units([item], config)
    found = as_json(figures(SUMS, unit, config))
    margins = 0.5 * GAPS
    chosen = SUMS[1] + SUMS[3] + SUMS[1] + SUMS[3]
    rejected = SUMS[2] + SUMS[4] + SUMS[2] + SUMS[5]
    assert found == pytest.approx(
        {
            "accuracy": float((margins > 0).float().mean()),
            "margin": float(margins.mean()),
            "chosen_log_prob": float(chosen) / lengths(TREE, 1, 3, 1, 3),
            "rejected_log_prob": float(rejected) / lengths(TREE, 2, 4, 2, 5),
        },
        rel=1e-5,
    )


def test_figures_of_traces_and_of_steps_are_by_grade_and_by_sign_and_ties_count_one_half() -> None:
    for name, chosen, rejected in (("nft", (1, 3), (1, 4, 2, 5)), ("direct-advantage", (1, 3), (2, 4))):
        config = TrainConfig(objective=name)  # pyright: ignore[reportArgumentType]
        (unit,) = units([replace(make_item(TREE), reference=REFERENCES)], config)
        shown = as_json(figures(SUMS, unit, config))
        assert set(shown) == {"chosen_log_prob", "rejected_log_prob"}
        wanted = float(SUMS[list(chosen)].sum()) / lengths(TREE, *chosen)
        assert shown["chosen_log_prob"] == pytest.approx(wanted)
        wanted = float(SUMS[list(rejected)].sum()) / lengths(TREE, *rejected)
        assert shown["rejected_log_prob"] == pytest.approx(wanted)
    config = TrainConfig(objective="dpo")
    (unit,) = units([replace(make_item(TREE), reference=SUMS)], config)
    assert as_json(figures(SUMS, unit, config))["accuracy"] == 0.5
