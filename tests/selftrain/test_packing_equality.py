"""Losses and gradients of packed trees equal those of the paths in rows of their own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from packing_worlds import MODELS, apart, gradients, plain_sum, tiny_llama, token_trees, with_lora
from torch import Tensor

from selftrain.losses import dpo, sft
from selftrain.packing import EdgeIndex, EdgeScorer, TokenTree, backward, pack

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft's
CASES = [(name, lora) for name in MODELS for lora in (False, True)]
SCORERS: dict[tuple[str, bool], EdgeScorer] = {}
EXAMPLES = 10

Span = tuple[int, int, int]
Pair = tuple[Span, Span]


def scorer_of(name: str, lora: bool) -> EdgeScorer:
    if (name, lora) not in SCORERS:
        model: Any = MODELS[name]()
        SCORERS[name, lora] = EdgeScorer(with_lora(model) if lora else model)
    return SCORERS[name, lora]


@st.composite
def forests_with_pairs(draw: st.DrawFn) -> tuple[list[TokenTree], list[Pair]]:
    """One to three trees, and pairs of paths below a common ancestor that are not the same tokens."""
    trees = draw(st.lists(token_trees(), min_size=1, max_size=3))
    pairs: list[Pair] = []
    for number, tree in enumerate(trees):
        nodes = [node for node in range(1, len(tree)) if tree.segments[node]]
        for one in nodes:
            for other in range(one + 1, len(tree)):
                above = [a for a in tree.path(one) if a in tree.path(other)][-1]
                if above not in (one, other) and tree.segments[other] not in ((), tree.segments[one]):
                    pairs.append(((number, above, one), (number, above, other)))
    return trees, draw(st.lists(st.sampled_from(pairs), min_size=1, max_size=5, unique=True)) if pairs else []


def dpo_of(chosen: Tensor, rejected: Tensor) -> Tensor:
    """DPO with a weight and an offset a pair.

    Not with smoothing: near the optimum of a smoothed pair the gradient is the difference of two equal terms,
    and its relative error can be anything, packed or not.
    """
    step = torch.arange(len(chosen), dtype=chosen.dtype)
    return dpo(chosen + 0.3, rejected - 0.2, 1 + step % 3, beta=0.3, offset=0.1 * (step % 2))


def unpacked(model: Any, trees: list[TokenTree], pairs: list[Pair]) -> tuple[Tensor, Tensor]:
    """Loss and gradients from two rows a pair."""
    sides = [
        torch.stack([plain_sum(model, trees[tree], above, node) for tree, above, node in side])
        for side in zip(*pairs, strict=True)
    ]
    loss = dpo_of(*sides)
    loss.backward()
    return loss.detach(), gradients(model)


@pytest.mark.parametrize(("name", "lora"), CASES)
@settings(max_examples=EXAMPLES, deadline=None)
@given(
    world=forests_with_pairs(), limit=st.sampled_from([None, 1, 20]), rows_a_pass=st.sampled_from([None, 1])
)
def test_loss_and_gradients_equal_those_of_unpacked_pairs(
    name: str,
    lora: bool,
    world: tuple[list[TokenTree], list[Pair]],
    limit: int | None,
    rows_a_pass: int | None,
) -> None:
    trees, pairs = world
    assume(pairs)
    scorer = scorer_of(name, lora)
    expected, slope = unpacked(scorer.model, trees, pairs)
    index = EdgeIndex(trees)
    chosen, rejected = (index.chains(side) for side in zip(*pairs, strict=True))
    row_tokens = None if limit is None else max(limit, *(_longest(tree) for tree in trees), 0)
    passes = pack(trees, row_tokens=row_tokens, rows_a_pass=rows_a_pass)
    loss = backward(scorer, passes, lambda sums: dpo_of(chosen.sums(sums), rejected.sums(sums)))
    assert abs(float(loss - expected)) <= 1e-5 * abs(float(expected))
    assert apart(gradients(scorer.model), slope) <= 1e-5


def _longest(tree: TokenTree) -> int:
    return max(start + len(ids) for start, ids in zip(tree.starts(), tree.segments, strict=True))


@pytest.mark.parametrize(("name", "lora"), CASES)
def test_a_tree_cut_into_many_rows_has_the_gradients_of_the_whole(name: str, lora: bool) -> None:
    scorer = scorer_of(name, lora)
    tree = wide_tree()
    found: list[Tensor] = []
    for row_tokens in (None, 24, 13):
        batches = pack([tree], row_tokens=row_tokens)
        assert (len(batches[0].row_lengths) > 1) == (row_tokens is not None)
        backward(scorer, batches, lambda sums: sft(sums[1:] * torch.arange(1, len(sums))))
        found.append(gradients(scorer.model))
    assert apart(found[1], found[0]) <= 1e-5
    assert apart(found[2], found[0]) <= 1e-5


def wide_tree() -> TokenTree:
    generator = torch.Generator().manual_seed(3)
    steps = [tuple(torch.randint(3, 53, (3,), generator=generator).tolist()) for _ in range(12)]
    return TokenTree(segments=((5, 6, 7, 8), *steps), parents=(-1, 0, 0, 0, 1, 1, 1, 2, 2, 4, 4, 4, 3))


def test_only_the_wanted_edges_are_read_and_their_gradients_are_the_same() -> None:
    scorer, tree = scorer_of("llama", False), wide_tree()
    wanted = {5, 9, 12}

    def loss(sums: Tensor) -> Tensor:
        return sft(sums[sorted(wanted)])

    backward(scorer, pack([tree]), loss)
    whole = gradients(scorer.model)
    (batch,) = pack([tree], wanted=[wanted])
    assert batch.tokens == 4 + 3 * len({1, 4, 5, 9, 3, 12})
    assert set(batch.owners.tolist()) == wanted
    backward(scorer, [batch], loss)
    assert apart(gradients(scorer.model), whole) <= 1e-5
    sums = scorer(batch).sums
    assert sums.isnan().tolist() == [node not in wanted and node > 0 for node in range(len(tree))]


def test_the_first_token_of_every_sibling_is_predicted_from_the_last_token_of_their_parent() -> None:
    tree = TokenTree(segments=((9, 8), (20,), (21,), (22,), (30,)), parents=(-1, 0, 0, 0, 2))
    scorer = scorer_of("llama", False)
    with torch.no_grad():
        sums = scorer(pack([tree])[0]).sums
        logits = scorer.model(input_ids=torch.tensor([[9, 8]])).logits[0, -1].log_softmax(-1)
    torch.testing.assert_close(sums[1:4], logits[20:23], rtol=1e-5, atol=1e-5)
    assert abs(float(sums[4] - plain_sum(scorer.model, tree, 2, 4).detach())) < 1e-5


def test_logits_made_again_in_the_backward_pass_change_nothing() -> None:
    scorer, tree = scorer_of("llama", False), wide_tree()
    thrifty = EdgeScorer(scorer.model, kept_logits=53 * 5)
    found: list[Tensor] = []
    for one in (scorer, thrifty):
        backward(one, pack([tree]), lambda sums: sft(sums[1:]))
        found.append(gradients(one.model))
    assert apart(found[1], found[0]) <= 1e-6


@pytest.mark.parametrize("kind", ["sdpa", "eager"])
def test_every_dense_attention_reads_trees(kind: str) -> None:
    model = tiny_llama()
    tree = wide_tree()
    model.set_attn_implementation(kind)
    with torch.no_grad():
        sums = EdgeScorer(model)(pack([tree])[0]).sums
        for node in (1, 8, 11):
            plain = plain_sum(model, tree, tree.parents[node], node)
            torch.testing.assert_close(sums[node], plain, rtol=1e-5, atol=1e-5)


def test_several_passes_with_dropout_draw_the_same_in_both_runs() -> None:
    model = tiny_llama(attention_dropout=0.3)
    scorer = EdgeScorer(model)
    model.train()
    tree, batches = wide_tree(), pack([wide_tree()], row_tokens=13, rows_a_pass=1)
    assert len(batches) > 1
    torch.manual_seed(5)
    seen: list[Tensor] = []

    def loss(sums: Tensor) -> Tensor:
        seen.append(sums.detach().clone())
        return sft(sums[1 : len(tree)].square())

    backward(scorer, batches, loss)
    two_runs = gradients(model)
    torch.manual_seed(5)
    sums = torch.zeros(len(tree))
    for batch in batches:
        sums = torch.where(batch.known, scorer(batch).sums, sums)
    torch.testing.assert_close(sums.detach(), seen[0])
    sft(sums[1:].square()).backward()
    assert apart(two_runs, gradients(model)) <= 1e-5


def test_gradient_checkpointing_changes_nothing() -> None:
    tree, found = wide_tree(), list[Tensor]()
    for on in (False, True):
        model = tiny_llama()
        scorer = EdgeScorer(model)
        model.train()
        if on:
            newer = getattr(model, "activation_checkpointing_enable", None)
            (newer or model.gradient_checkpointing_enable)({"use_reentrant": False})
        backward(scorer, pack([tree]), lambda sums: sft(sums[1:]))
        found.append(gradients(model))
    assert apart(found[1], found[0]) <= 1e-6
