"""Random trees and tiny models for the tests of packing, and the same log-probs computed the plain way."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from selftrain.packing import TokenTree

VOCABULARY = 53
_SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
    "initializer_range": 0.1,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}


def tiny_llama(seed: int = 0, **more: Any) -> LlamaForCausalLM:
    """A Llama of two layers with grouped key/value heads, in float32, in evaluation mode."""
    torch.manual_seed(seed)
    return LlamaForCausalLM(LlamaConfig(**(_SHAPE | {"num_key_value_heads": 2} | more))).eval()


def tiny_qwen2(seed: int = 0, **more: Any) -> Qwen2ForCausalLM:
    """A Qwen2 with biases and tied embeddings, in float32, in evaluation mode."""
    torch.manual_seed(seed)
    shape = _SHAPE | {"num_key_value_heads": 1, "tie_word_embeddings": True, "use_sliding_window": False}
    return Qwen2ForCausalLM(Qwen2Config(**(shape | more))).eval()


MODELS = {"llama": tiny_llama, "qwen2": tiny_qwen2}


def with_lora(model: Any, seed: int = 0) -> Any:
    """`model` with LoRA adapters that are not the identity."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    config = LoraConfig(
        r=3, lora_alpha=6, target_modules="all-linear", task_type="CAUSAL_LM", lora_dropout=0.0
    )
    wrapped = get_peft_model(model, config)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    return wrapped.eval()


def ids(low: int, high: int) -> st.SearchStrategy[tuple[int, ...]]:
    """`low` to `high` token ids."""
    return st.lists(st.integers(3, VOCABULARY - 1), min_size=low, max_size=high).map(tuple)


@st.composite
def token_trees(draw: st.DrawFn, max_nodes: int = 10) -> TokenTree:
    """A tree of 2 to `max_nodes` steps of any shape; a step may be empty."""
    count = draw(st.integers(2, max_nodes))
    segments = [draw(ids(1, 6)), *(draw(ids(0, 5)) for _ in range(count))]
    parents = [-1, *(draw(st.integers(0, node)) for node in range(count))]
    return TokenTree(segments=tuple(segments), parents=tuple(parents))


def plain_sum(model: Any, tree: TokenTree, above: int, node: int) -> Tensor:
    """Log-prob sum of the tokens below `above` down to `node`, in a row of their own, shifted by one."""
    path = tree.path(node)
    before = sum(len(tree.segments[one]) for one in path[: path.index(above) + 1])
    row = torch.tensor([[token for one in path for token in tree.segments[one]]])
    logits = model(input_ids=row, use_cache=False).logits[0]
    found = torch.log_softmax(logits[:-1], dim=-1).gather(-1, row[0, 1:, None])[:, 0]
    return found[before - 1 :].sum()


def gradients(model: Any) -> Tensor:
    """All gradients of the trained parameters in one vector; they are cleared."""
    parts: list[Tensor] = []
    for parameter in model.parameters():
        if parameter.requires_grad:
            given = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            parts.append(given.flatten().clone())
            parameter.grad = None
    return torch.cat(parts)


def apart(one: Tensor, other: Tensor) -> float:
    """Norm of the difference, relative to the norm of `other`."""
    return float((one - other).norm() / other.norm())
