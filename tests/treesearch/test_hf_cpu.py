"""A model fitted to the CPU computes what it computed before."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from tiny_models import write_llama, write_qwen
from torch import nn

from treesearch.engines import hf_cpu
from treesearch.engines.hf_decoder import Decoder
from treesearch.engines.hf_load import load

PROMPTS = [[3, 4, 5, 6], [7, 8, 9], [5, 4]]


def logits_of(decoder):
    """Logits [3, vocabulary] two tokens behind each prompt, by prefill and two steps over slots."""
    decoder.cache.clear()
    with torch.inference_mode():
        decoder.prefill(0, PROMPTS)
        decoder.decode(np.array([2, 3, 4]), np.array([len(prompt) for prompt in PROMPTS]))
        return decoder.decode(np.array([9, 8, 7]), np.array([len(prompt) + 1 for prompt in PROMPTS]))


@pytest.mark.parametrize("write", [write_llama, write_qwen])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 6e-2)])
@pytest.mark.parametrize("other_maker", [True, False])
def test_steps_of_a_fitted_model_give_the_same_logits(
    tmp_path, monkeypatch, write, dtype, tolerance, other_maker
):
    monkeypatch.setattr(hf_cpu, "onednn_is_faster", lambda: other_maker)
    model, _ = load(str(write(tmp_path)), device="cpu", dtype=dtype)
    decoder = Decoder(model, max_rows=4)
    before = logits_of(decoder)
    hf_cpu.fit_to_cpu(model)
    assert model.config._attn_implementation == hf_cpu.SLOTS
    packed = [module for module in model.modules() if isinstance(module, hf_cpu.PackedLinear)]
    assert bool(packed) == (other_maker and dtype == "float32")
    torch.testing.assert_close(logits_of(decoder), before, rtol=tolerance, atol=tolerance)


def test_attention_groups_heads_and_obeys_the_mask():
    query, key, value = torch.randn(2, 6, 1, 8), torch.randn(2, 3, 5, 8), torch.randn(2, 3, 5, 8)
    mask = torch.zeros(2, 1, 1, 5)
    mask[0, ..., 3:] = torch.finfo(torch.float32).min
    found, _ = hf_cpu.slot_attention(None, query, key, value, mask, scaling=0.3)
    wanted = nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, scale=0.3, enable_gqa=True
    )
    torch.testing.assert_close(found, wanted.transpose(1, 2))


def test_packed_layers_keep_their_bias_and_leave_other_modules_alone():
    class Doubled(nn.Linear):
        def forward(self, inputs):
            return 2 * super().forward(inputs)

    plain = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), Doubled(6, 4))
    packed = copy.deepcopy(plain)
    hf_cpu.pack_linear_layers(packed)
    assert isinstance(packed[0], hf_cpu.PackedLinear)
    assert type(packed[2]) is Doubled
    inputs = torch.randn(3, 2, 8)
    with torch.inference_mode():
        torch.testing.assert_close(packed(inputs), plain(inputs))
