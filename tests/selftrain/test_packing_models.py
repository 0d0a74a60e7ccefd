"""Which models read packed trees, which are refused, and the mask in each form."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from packing_worlds import apart, gradients, tiny_llama, tiny_qwen2, with_lora
from torch.nn.functional import scaled_dot_product_attention

from selftrain.losses import sft
from selftrain.packing import (
    EdgeScorer,
    TokenTree,
    backward,
    block_mask,
    dense_mask,
    pack,
    tree_mask,
    use_tree_attention,
)
from tasks.errors import UsageError

TREE = TokenTree(
    segments=((5, 6, 7), (8, 9), (10,), (11, 12, 13), (14,), (15, 16)), parents=(-1, 0, 1, 0, 3, 3)
)


def test_the_block_mask_is_the_dense_mask() -> None:
    torch.manual_seed(0)
    segments = [tuple(torch.randint(3, 50, (40,)).tolist()) for _ in range(9)]
    long = TokenTree(segments=tuple(segments), parents=(-1, 0, 0, 1, 1, 2, 2, 0, 7))
    (batch,) = pack([TREE, long, TREE], row_tokens=300)
    dense, block = dense_mask(batch), block_mask(batch)
    rows, _, width, _ = dense.shape
    index = torch.arange(width)
    rule = block.mask_mod(torch.arange(rows)[:, None, None], torch.tensor(0), index[:, None], index[None, :])
    assert torch.equal(rule, dense[:, 0])
    assert block.sparsity() > 0


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_flex_attention_under_the_block_mask_equals_attention_under_the_dense_mask() -> None:
    from torch.nn.attention.flex_attention import flex_attention

    (batch,) = pack([TREE])
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 1, 2, batch.ids.shape[1], 16)
    flexible = flex_attention(q, k, v, block_mask=block_mask(batch))
    assert isinstance(flexible, torch.Tensor)
    expected = scaled_dot_product_attention(q, k, v, attn_mask=dense_mask(batch))
    torch.testing.assert_close(flexible, expected, rtol=1e-4, atol=1e-5)


def test_the_added_mask_is_zero_where_a_token_is_seen_and_lowest_elsewhere() -> None:
    (batch,) = pack([TREE])
    added = tree_mask(batch, "eager", torch.float16)
    assert added.dtype == torch.float16
    assert torch.equal(added == 0, dense_mask(batch))
    assert (added[~dense_mask(batch)] == torch.finfo(torch.float16).min).all()


def test_attention_without_masks_is_refused_with_the_call_that_mends_it() -> None:
    model = tiny_llama()
    model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(UsageError, match=r"'flash_attention_2' takes no tree mask; call model.set_attn"):
        EdgeScorer(model)
    with pytest.raises(UsageError, match="takes no tree mask"):
        tree_mask(pack([TREE])[0], "flash_attention_3", torch.float32)


def test_on_a_cpu_the_attention_that_is_set_is_sdpa() -> None:
    model = tiny_llama()
    model.set_attn_implementation("eager")
    assert use_tree_attention(model, "cpu") == "sdpa"
    assert model.config._attn_implementation == "sdpa"


def test_a_sliding_window_is_refused_only_where_a_path_is_longer() -> None:
    model = tiny_qwen2(
        use_sliding_window=True, sliding_window=6, layer_types=["full_attention", "sliding_attention"]
    )
    scorer = EdgeScorer(model)
    assert scorer(pack([TREE], wanted=[{1, 2}])[0]).sums.isfinite().sum() == 3
    longer = TokenTree(segments=((5, 6, 7, 8), (9, 10, 11)), parents=(-1, 0))
    with pytest.raises(UsageError, match="a path has 7 tokens, but the model's attention window is 6"):
        scorer(pack([longer])[0])


def test_layers_that_are_not_attention_are_refused_by_name() -> None:
    model = tiny_llama()
    model.config.layer_types = ["full_attention", "linear_attention"]
    with pytest.raises(UsageError, match="this model has linear_attention"):
        EdgeScorer(model)


class ScaledHead(torch.nn.Module):
    """Logits that the model changes after the vocabulary head, as soft-capping ones do."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.inner, self.config, self.dtype = model, model.config, model.dtype
        self.base_model = model.base_model

    def get_output_embeddings(self) -> Any:
        return self.inner.get_output_embeddings()

    def forward(self, **given: Any) -> Any:
        found = self.inner(**given)
        found.logits = 0.5 * found.logits
        return found


class NoPositions(ScaledHead):
    """A model that counts positions itself, whatever it is told."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.inner.base_model.register_forward_pre_hook(self._drop, with_kwargs=True)

    @staticmethod
    def _drop(module: Any, args: Any, given: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, given | {"position_ids": None}

    def forward(self, **given: Any) -> Any:
        return self.inner(**given)


@pytest.mark.parametrize("wrap", [ScaledHead, NoPositions])
def test_a_model_that_would_read_a_tree_wrongly_is_refused_when_the_scorer_is_made(wrap: Any) -> None:
    with pytest.raises(UsageError, match="does not read packed trees: a step has log-prob"):
        EdgeScorer(wrap(tiny_llama()))
    EdgeScorer(wrap(tiny_llama()), check=False)


def test_the_check_leaves_mode_gradients_and_random_state_as_they_were() -> None:
    model = tiny_llama(attention_dropout=0.1).train()
    before = torch.get_rng_state()
    EdgeScorer(model)
    assert model.training
    assert torch.equal(torch.get_rng_state(), before)
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_prompt_tuning_is_refused() -> None:
    peft = pytest.importorskip("peft")
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    with pytest.raises(UsageError, match="prompt tuning"):
        EdgeScorer(peft.get_peft_model(tiny_llama(), config))


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_the_adapter_switched_off_gives_the_reference() -> None:
    scorer = EdgeScorer(with_lora(tiny_llama()))
    batch = pack([TREE])[0]
    with torch.no_grad():
        policy = scorer(batch).sums
        with scorer.model.disable_adapter():
            reference = scorer(batch).sums
        base = EdgeScorer(tiny_llama())(batch).sums
    torch.testing.assert_close(reference, base)
    assert not torch.allclose(policy, reference)


def test_wrapped_for_data_parallelism_it_gives_the_same_gradients(tmp_path: Path) -> None:
    batches = pack([TREE], row_tokens=8, rows_a_pass=1)
    found: list[torch.Tensor] = []
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1
    )
    try:
        for wrap in (lambda scorer: scorer, torch.nn.parallel.DistributedDataParallel):
            model = tiny_llama()
            backward(wrap(EdgeScorer(model)), batches, lambda sums: sft(sums[1:]))
            found.append(gradients(model))
    finally:
        torch.distributed.destroy_process_group()
    assert apart(found[1], found[0]) <= 1e-6


def test_a_model_in_sixteen_bits_gives_log_probs_in_float32() -> None:
    found = EdgeScorer(tiny_llama().to(torch.bfloat16))(pack([TREE])[0])
    assert found.sums.dtype == torch.float32
    assert found.tokens.dtype == torch.float32
    assert len(found.tokens) == len(found.owners) == TREE.tokens - 3
    assert not any(math.isnan(value) for value in found.sums.tolist())
