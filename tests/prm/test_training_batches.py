"""Batches: every row once an epoch, and the same outputs and gradients however rows are packed or cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from training_worlds import base_model, separable_pairs, separable_rows

from prm.training import TrainConfig
from prm.training.batches import Order, passes
from prm.training.heads import HEADS, pair_examples, step_examples
from prm.training.layout import Example, Layout
from prm.training.model import TrainedModel
from prm.training.objectives import batch_loss, member_totals, member_weights
from treesearch.engines.hf_load import load


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return base_model(tmp_path_factory.mktemp("base"))


def _model(base: Path, **settings: Any) -> tuple[TrainedModel, list[Example]]:
    language_model, tokenizer = load(str(base), device="cpu", dtype="float32")
    model = TrainedModel(language_model, tokenizer, TrainConfig(**settings), torch.device("cpu"))
    head = HEADS[model.config.head]
    layout = Layout(tokenizer, keep_ends=head.reads == "ratio")
    if head.data == "steps":
        return model, step_examples(separable_rows(12, problems=2), model.config, layout)
    return model, pair_examples(separable_pairs(12, problems=2), model.config, layout)


def _loss_and_gradients(
    model: TrainedModel, examples: list[Example], **how: Any
) -> tuple[float, torch.Tensor]:
    config = TrainConfig(**(vars(model.config) | how)) if how else model.config
    members = member_weights([example.problem for example in examples], config)
    totals = member_totals(examples, members, config)
    for parameter in model.trainable().values():
        parameter.grad = None
    total = 0.0
    for batch in passes(examples, config):
        loss = batch_loss(model.outputs(batch), batch, members, totals, config)
        loss.backward()
        total += float(loss.detach())
    found = [p.grad.flatten() for p in model.trainable().values() if p.grad is not None]
    return total, torch.cat(found)


@pytest.mark.parametrize("name", HEADS)
def test_a_packed_tree_gives_the_loss_and_gradients_of_rows_of_their_own(base: Path, name: str):
    model, examples = _model(base, head=name)
    loss, gradients = _loss_and_gradients(model, examples)
    packed_loss, packed_gradients = _loss_and_gradients(model, examples, pack=True)
    assert packed_loss == pytest.approx(loss, abs=1e-5)
    assert torch.allclose(packed_gradients, gradients, atol=1e-5, rtol=1e-4)
    assert gradients.abs().max() > 1e-4


def test_packing_stores_shared_beginnings_once(base: Path):
    model, examples = _model(base)
    plain = sum(batch.tokens for batch in passes(examples, model.config))
    packed = passes(examples, model.config, pack=True)
    assert sum(batch.tokens for batch in packed) < 0.7 * plain
    assert sum(len(batch.targets) for batch in packed) == 36


@pytest.mark.parametrize("name", ["value-bce", "ranking", "pairwise", "implicit-ce"])
def test_the_gradient_does_not_depend_on_how_a_batch_is_cut_into_passes(base: Path, name: str):
    model, examples = _model(base, head=name)
    loss, gradients = _loss_and_gradients(model, examples)
    for tokens in (1, 70):
        cut = passes(examples, TrainConfig(head=name, microbatch_tokens=tokens))  # type: ignore[arg-type]
        assert len(cut) > 2
        other_loss, other = _loss_and_gradients(model, examples, microbatch_tokens=tokens)
        assert other_loss == pytest.approx(loss, abs=1e-5)
        assert torch.allclose(other, gradients, atol=1e-5, rtol=1e-4)


def test_a_pass_holds_rows_of_like_length_and_no_more_than_its_tokens(base: Path):
    _, examples = _model(base)
    config = TrainConfig(microbatch_tokens=100)
    for batch in passes(examples, config):
        assert batch.packed.ids.numel() <= 100
    assert sorted(index for batch in passes(examples, config) for index in batch.examples) == list(range(12))


@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize("batch_size", [1, 3, 5, 7, 12, 50])
def test_an_epoch_deals_every_row_once_in_full_batches(base: Path, pack: bool, batch_size: int):
    _, examples = _model(base)
    order = Order(examples, TrainConfig(pack=pack, batch_size=batch_size, epochs=3))
    epochs = [
        [order.batch(epoch * order.steps_an_epoch + step) for step in range(order.steps_an_epoch)]
        for epoch in range(3)
    ]
    for epoch in epochs:
        assert all(epoch)
        assert sorted(index for batch in epoch for index in batch) == list(range(12))
    assert epochs[0] != epochs[1]
    assert order.batch(0) == epochs[0][0]


def test_with_packing_the_rows_of_a_prompt_are_trained_on_together(base: Path):
    _, examples = _model(base)
    order = Order(examples, TrainConfig(pack=True, batch_size=6))
    for step in range(order.steps_an_epoch):
        assert len({examples[index].problem for index in order.batch(step)}) == 1


def test_log_probs_are_those_of_the_whole_text(base: Path):
    model, examples = _model(base, head="step-dpo")
    (batch,) = passes(examples[:1], model.config)
    sums = model.outputs(batch)[:, 0]
    for number, path in enumerate(examples[0].paths):
        ids = torch.tensor([[token for segment in path for token in segment]])
        log_p = torch.log_softmax(model.language_model(ids).logits[0].float(), dim=-1)
        step = len(path[-1])
        wanted = log_p[-step - 1 : -1].gather(1, ids[0, -step:, None]).sum()
        assert sums[number].item() == pytest.approx(wanted.item(), abs=1e-4)


def test_scores_are_the_head_on_the_last_hidden_state_of_each_step(base: Path):
    model, examples = _model(base, members=2)
    (batch,) = passes(examples[:1], model.config)
    found = model.outputs(batch)
    path = examples[0].paths[0]
    ids = torch.tensor([[token for segment in path for token in segment]])
    hidden = model.language_model(ids, output_hidden_states=True).hidden_states[-1][0]
    ends = torch.tensor([len(segment) for segment in path]).cumsum(0) - 1
    assert torch.allclose(found, model.heads[0](hidden[ends[1:]]), atol=1e-5)


def test_bootstrap_weights_are_poisson_draws_of_a_problem_and_a_member():
    names = [str(index) for index in range(4000)]
    config = TrainConfig(members=3)
    weights = member_weights(names, config)
    assert weights.shape == (4000, 3)
    assert weights.mean(0).tolist() == pytest.approx([1, 1, 1], abs=0.05)
    assert weights.var(0).tolist() == pytest.approx([1, 1, 1], abs=0.1)
    assert abs(float(torch.corrcoef(weights.T)[0, 1])) < 0.05
    assert torch.equal(member_weights(names[::-1], config).flip(0), weights)
    assert member_weights(names[:2], TrainConfig()).tolist() == [[1], [1]]


def test_recomputed_activations_give_the_same_gradients(base: Path):
    settings = {"head": "value-bce", "batch_size": 12}
    model, examples = _model(base, **settings)
    loss, gradients = _loss_and_gradients(model, examples)
    saving, _ = _model(base, gradient_checkpointing=True, **settings)
    saving.train_mode(True)
    other_loss, other = _loss_and_gradients(saving, examples)
    assert other_loss == pytest.approx(loss, abs=1e-6)
    assert torch.allclose(other, gradients, atol=1e-6)
