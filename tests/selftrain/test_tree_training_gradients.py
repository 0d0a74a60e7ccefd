"""A training step has the gradient of unpacked pairs, however the batch is cut over passes and processes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from packing_worlds import apart, gradients, plain_sum, tiny_llama, token_trees
from torch import Tensor
from torch.nn.functional import logsigmoid
from tree_training_worlds import rich_trees

from prm.training.processes import Processes
from selftrain.data.record import Pair, TrainingTree
from selftrain.packing import EdgeIndex, TokenTree
from selftrain.training import TrainConfig
from selftrain.training.objectives import OBJECTIVES
from selftrain.training.passes import LOSS, TOKENS, add_gradients, evaluate
from selftrain.training.policy import PackedPolicy
from selftrain.training.units import Item, make_item, shares, units

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft's
CPU = torch.device("cpu")
ONE = Processes(CPU)


def policy_of(vocabulary: int = 53, **given_settings: Any) -> PackedPolicy:
    """A tiny policy; LoRA adapters are moved away from the identity."""
    config = TrainConfig(device="cpu", **given_settings)
    policy = PackedPolicy(tiny_llama(vocab_size=vocabulary), config, CPU)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in policy.network.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    return policy


def items_of(trees: list[TrainingTree]) -> list[Item]:
    """Items that are compared with the log-probs stored on the trees."""
    return [replace(make_item(tree), reference=EdgeIndex([tree.tree]).stored()) for tree in trees]


@st.composite
def trees_with_pairs(draw: st.DrawFn) -> list[TrainingTree]:
    """One to three trees with pairs below common ancestors, weighed and with offsets, no two sides alike."""
    found: list[TrainingTree] = []
    for number, tree in enumerate(draw(st.lists(token_trees(), min_size=1, max_size=3))):
        stored = [
            None,
            *(tuple(-1.0 - 0.1 * place for place in range(len(ids))) for ids in tree.segments[1:]),
        ]
        candidates = [
            Pair(above=above, chosen=one, rejected=other, weight=1.0 + one % 3, offset=0.1 * (other % 2))
            for one in range(1, len(tree))
            for other in range(one + 1, len(tree))
            for above in [[a for a in tree.path(one) if a in tree.path(other)][-1]]
            if above not in (one, other) and tree.segments[one] and tree.segments[other]
            if tree.segments[one] != tree.segments[other]
        ]
        pairs = draw(st.lists(st.sampled_from(candidates), max_size=4, unique=True)) if candidates else []
        if pairs:
            found.append(
                TrainingTree(
                    problem=f"p{number}",
                    tree=TokenTree(segments=tree.segments, parents=tree.parents, logprobs=tuple(stored)),
                    texts=("",) * len(tree),
                    pairs=tuple(pairs),
                )
            )
    return found


def unpacked(policy: PackedPolicy, trees: list[TrainingTree], beta: float) -> tuple[float, Tensor]:
    """Loss and gradient of weighted DPO against stored log-probs, every side in a row of its own."""
    total = sum(pair.weight for tree in trees for pair in tree.pairs)
    loss = torch.zeros(())
    for tree in trees:
        stored = EdgeIndex([tree.tree]).stored()
        for pair in tree.pairs:
            ratios: list[Tensor] = []
            for node in (pair.chosen, pair.rejected):
                path = tree.tree.path(node)
                below = path[path.index(pair.above) + 1 :]
                ratios.append(plain_sum(policy.network, tree.tree, pair.above, node) - stored[below].sum())
            gap = beta * (ratios[0] - ratios[1]) - pair.offset
            loss = loss - pair.weight * logsigmoid(gap) / total
    loss.backward()
    return float(loss.detach()), gradients(policy.network)


def _longest(tree: TrainingTree) -> int:
    return max(start + len(ids) for start, ids in zip(tree.tree.starts(), tree.tree.segments, strict=True))


POLICIES: dict[int, PackedPolicy] = {}


@pytest.mark.parametrize("lora_rank", [0, 3])
@settings(max_examples=12, deadline=None)
@given(trees=trees_with_pairs(), pass_tokens=st.sampled_from([1, 40, 4096]), cut=st.booleans())
def test_a_step_has_the_gradient_of_the_pairs_in_rows_of_their_own(
    lora_rank: int, trees: list[TrainingTree], pass_tokens: int, cut: bool
) -> None:
    assume(trees)
    if lora_rank not in POLICIES:
        POLICIES[lora_rank] = policy_of(objective="off-policy-dpo", beta=0.3, lora_rank=lora_rank)
    policy = POLICIES[lora_rank]
    expected, slope = unpacked(policy, trees, beta=0.3)
    row_tokens = max(map(_longest, trees)) if cut else 0
    policy.config = replace(policy.config, pass_tokens=pass_tokens, row_tokens=row_tokens)
    seen = add_gradients(policy, policy.trainable(), items_of(trees), ONE, step=0)
    assert abs(float(seen[LOSS]) - expected) <= 1e-5 * (1 + abs(expected))
    assert apart(gradients(policy.network), slope) <= 1e-5


def _one_pass_and_other_ways(**given_settings: Any) -> tuple[PackedPolicy, list[Item], Tensor, Tensor]:
    policy = policy_of(vocabulary=320, pass_tokens=10**6, **given_settings)
    items = items_of(rich_trees(5))
    assert len(units(items, policy.config)) == 1
    seen = add_gradients(policy, policy.trainable(), items, ONE, step=0)
    return policy, items, seen, gradients(policy.network)


MIXED = [(name, {}) for name in OBJECTIVES] + [
    ("dpo", {"sft_weight": 0.5}),
    ("dpo", {"sft_weight": 0.5, "sft_on": "traces", "kind": "ipo"}),
    ("nft", {"nft_by_deviation": True, "weight_power": 0.5}),
]


@pytest.mark.parametrize(("objective", "more"), MIXED)
def test_several_passes_and_cut_trees_have_the_gradient_of_one_big_pass(
    objective: str, more: dict[str, Any]
) -> None:
    policy, items, seen, whole = _one_pass_and_other_ways(objective=objective, **more)
    for pass_tokens, row_tokens in ((1, 0), (60, 0), (1, 16), (40, 20)):
        policy.config = replace(policy.config, pass_tokens=pass_tokens, row_tokens=row_tokens)
        assert sum(len(unit.batches) for unit in units(items, policy.config)) > 1
        other = add_gradients(policy, policy.trainable(), items, ONE, step=0)
        assert apart(gradients(policy.network), whole) <= 1e-5
        torch.testing.assert_close(other[LOSS], seen[LOSS], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(other[2:], seen[2:], rtol=1e-5, atol=1e-5)


class _OneOf(Processes):
    """A process that never hears of the others."""

    def __init__(self, rank: int, count: int) -> None:
        super().__init__(CPU)
        self.rank, self.count = rank, count


@pytest.mark.parametrize(("objective", "more"), MIXED)
def test_the_gradients_of_three_processes_sum_to_that_of_one(objective: str, more: dict[str, Any]) -> None:
    policy, items, seen, whole = _one_pass_and_other_ways(objective=objective, **more)
    parts: list[Tensor] = []
    losses: list[Tensor] = []
    for rank in range(3):
        losses.append(add_gradients(policy, policy.trainable(), items, _OneOf(rank, 3), step=0))
        parts.append(gradients(policy.network))
    assert apart(torch.stack(parts).sum(0), whole) <= 1e-5
    torch.testing.assert_close(torch.stack(losses).sum(0), seen, rtol=1e-5, atol=1e-5)


def test_a_process_without_a_tree_adds_nothing() -> None:
    policy = policy_of(vocabulary=320, objective="sft")
    seen = add_gradients(policy, policy.trainable(), items_of(rich_trees(1)), _OneOf(1, 2), step=0)
    assert not seen.any()
    assert not gradients(policy.network).any()


def test_shares_are_disjoint_whole_and_balanced_by_tokens() -> None:
    items = [
        replace(item, tokens=tokens)
        for item, tokens in zip(items_of(rich_trees(5)), (9, 1, 5, 4, 2), strict=True)
    ]
    dealt = shares(items, 2)
    assert sorted(item.tokens for share in dealt for item in share) == [1, 2, 4, 5, 9]
    assert [sum(item.tokens for item in share) for share in dealt] == [11, 10]
    assert shares(items[:1], 3)[1:] == [[], []]


def test_only_nodes_that_a_record_names_and_those_above_them_are_packed() -> None:
    (tree,) = rich_trees(1)
    (pair,) = [pair for pair in tree.pairs if pair.above == 1]
    item = make_item(replace(tree, pairs=(pair,), traces=(), advantages=()))
    assert item.wanted == {3, 4}
    assert item.tokens == sum(len(tree.tree.segments[node]) for node in (0, 1, 3, 4))
    (unit,) = units([item], TrainConfig(objective="simpo"))
    assert unit.tokens == item.tokens
    assert set(unit.batches[0].owners.tolist()) == {3, 4}


def test_passes_hold_no_more_padded_tokens_than_allowed_unless_one_tree_is_longer() -> None:
    items = items_of(rich_trees(7))
    longest = max(item.tokens for item in items)
    for limit in (1, longest, 2 * longest, 3 * longest + 1):
        found = units(items, TrainConfig(objective="dpo", pass_tokens=limit))
        assert sum(len(unit.items) for unit in found) == 7
        for unit in found:
            (batch,) = unit.batches
            assert batch.ids.numel() <= limit or len(unit.items) == 1


def test_the_loss_without_a_gradient_is_that_of_the_step() -> None:
    policy, items, seen, _ = _one_pass_and_other_ways(objective="cream")
    torch.testing.assert_close(evaluate(policy, items, ONE), seen)
    assert float(seen[TOKENS]) == sum(item.tokens for item in items)
    assert not gradients(policy.network).any()


def test_bfloat16_passes_give_nearly_the_gradient_and_keep_it_in_float32() -> None:
    policy, items, _, whole = _one_pass_and_other_ways(objective="dpo")
    policy.config = replace(policy.config, precision="bfloat16")
    add_gradients(policy, policy.trainable(), items, ONE, step=0)
    assert all(parameter.grad.dtype == torch.float32 for parameter in policy.trainable().values())
    assert 1e-6 < apart(gradients(policy.network), whole) < 0.1


def test_gradient_checkpointing_changes_no_gradient() -> None:
    _, items, _, whole = _one_pass_and_other_ways(objective="dpo")
    policy = policy_of(vocabulary=320, objective="dpo", gradient_checkpointing=True)
    assert policy.language_model.is_gradient_checkpointing
    add_gradients(policy, policy.trainable(), items, ONE, step=0)
    assert apart(gradients(policy.network), whole) <= 1e-6


def test_dropout_is_the_same_in_the_same_step_and_another_in_the_next() -> None:
    found: list[Tensor] = []
    policy = policy_of(vocabulary=320, objective="dpo", lora_rank=2, lora_dropout=0.4)
    for step in (3, 3, 4):
        add_gradients(policy, policy.trainable(), items_of(rich_trees(3)), ONE, step=step)
        found.append(gradients(policy.network))
    assert torch.equal(found[0], found[1])
    assert apart(found[2], found[0]) > 1e-3
