"""The model that is trained: a causal language model, LoRA adapters where asked for, and linear heads.

Contract: `outputs(batch, adapter)` gives a logit (or two) a read and member, or a log-prob sum a read. Scores
are read from the last hidden state, behind the final norm, at the last token of the read's last segment;
log-probs are those of the segments' tokens, each predicted by the token before it in its path. Weights are
float32; in bfloat16 (`precision`) the backbone's passes run under autocast, heads and log-softmax stay in
float32.

Members of one backbone start from different normal draws of their heads; head `two-token` starts from two
rows of the vocabulary head, which it copies, so that the backbone's own (perhaps tied) rows stay as they are.

It does not compute losses, and does not write files.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from prm.training.batches import Batch
from prm.training.config import TrainConfig
from prm.training.heads import HEADS
from prm.training.lora import add_adapters, use_adapter
from prm.training.precision import autocast
from tasks.errors import UsageError
from treesearch.engines.hf_load import context_of
from treesearch.seeds import derive

_TOKENS_A_CHUNK = 1024
"""Tokens whose vocabulary logits are in memory at once."""


class TrainedModel:
    """Backbone, adapters and heads of a run; see the module. `language_model` is changed in place."""

    def __init__(
        self, language_model: Any, tokenizer: Any, config: TrainConfig, device: torch.device
    ) -> None:
        self.config = config
        self.device = device
        self.context = context_of(language_model.config)
        self._head = HEADS[config.head]
        if config.pack:
            _check_packing(language_model.config)
        heads = _make_heads(language_model, tokenizer, config) if self._head.reads == "score" else []
        self.heads = nn.ModuleList(heads).to(device)
        if config.gradient_checkpointing:
            _recompute_activations(language_model)
        _freeze(language_model, config)
        self.network: Any = add_adapters(language_model, config) if config.lora_rank else language_model
        self.language_model: Any = language_model
        self.network.to(device)

    def trainable(self) -> dict[str, nn.Parameter]:
        """What is trained, by name, in a fixed order: the backbone's, then the heads'."""
        named = [*self.network.named_parameters(), *self.heads.named_parameters(prefix="heads")]
        return {
            name: cast("nn.Parameter", parameter)
            for name, parameter in named
            if parameter.requires_grad or ".lora_" in name
        }

    def train_mode(self, on: bool) -> None:
        """Dropout on or off."""
        self.network.train(on)

    def outputs(self, batch: Batch, adapter: int = 0) -> Tensor:
        """Logits ``[R, members]`` (two-class heads ``[R, members, 2]``), or log-prob sums ``[R, 1]``."""
        hidden = self._hidden(batch, adapter)
        if self._head.reads == "ratio":
            return self._log_probs(hidden, batch)[:, None]
        width = batch.packed.ids.shape[1]
        last = [at * width + batch.packed.rows[at].segments[chain[-1]].stop - 1 for at, chain in batch.chains]
        read = hidden.flatten(0, 1)[torch.tensor(last, device=self.device)]
        logits: Tensor = self.heads[adapter](read.float())
        if self._head.outputs == 1:
            return logits
        return logits.reshape(len(last), self.config.members, self._head.outputs)

    def _hidden(self, batch: Batch, adapter: int) -> Tensor:
        """Last hidden states ``[B, T, hidden]``, behind the final norm."""
        if self.config.lora_rank:
            use_adapter(self.network, adapter)
        packed = batch.packed
        frozen = self.config.freeze == "backbone"
        with torch.no_grad() if frozen else nullcontext(), autocast(self.config.precision, self.device):
            found = self.language_model.base_model(
                input_ids=packed.ids,
                attention_mask=packed.mask,
                position_ids=packed.positions,
                use_cache=False,
            )
        return found.last_hidden_state

    def _log_probs(self, hidden: Tensor, batch: Batch) -> Tensor:
        """Log-prob sums ``[R]`` over the segments of each read's chain."""
        width = batch.packed.ids.shape[1]
        numbers: dict[tuple[int, int], int] = {}
        before: list[int] = []
        at_token: list[int] = []
        owner: list[int] = []
        links: list[tuple[int, int]] = []
        for read, (at, chain) in enumerate(batch.chains):
            segments = batch.packed.rows[at].segments
            for index in chain:
                if (at, index) not in numbers:
                    one = segments[index]
                    parent_end = segments[one.parent].stop - 1
                    tokens = range(one.start, one.stop)
                    before.extend(at * width + p for p in (parent_end, *tokens[:-1]))
                    at_token.extend(at * width + p for p in tokens)
                    owner.extend([len(numbers)] * len(tokens))
                    numbers[at, index] = len(numbers)
                links.append((numbers[at, index], read))
        positions = torch.tensor([before, at_token, owner], device=self.device)
        token_sums = self._token_log_probs(
            hidden.flatten(0, 1), positions[0], batch.packed.ids.flatten()[positions[1]]
        )
        sums = token_sums.new_zeros(len(numbers)).index_add(0, positions[2], token_sums)
        segment, read_of = torch.tensor(links, device=self.device).T
        return token_sums.new_zeros(len(batch.chains)).index_add(0, read_of, sums[segment])

    def _token_log_probs(self, hidden: Tensor, before: Tensor, tokens: Tensor) -> Tensor:
        """Log-probs of `tokens` [M]; logits are made again in the backward pass instead of being kept."""
        unembed: Any = self.language_model.get_output_embeddings()

        def chunk(states: Tensor, wanted: Tensor) -> Tensor:
            with autocast(self.config.precision, self.device):
                logits = unembed(states)
            return torch.log_softmax(logits.float(), dim=-1).gather(-1, wanted[:, None])[:, 0]

        found = [
            cast("Tensor", checkpoint(chunk, hidden[places], wanted, use_reentrant=False))
            for places, wanted in zip(
                before.split(_TOKENS_A_CHUNK), tokens.split(_TOKENS_A_CHUNK), strict=True
            )
        ]
        return torch.cat(found)


def _make_heads(model: Any, tokenizer: Any, config: TrainConfig) -> Iterator[nn.Linear]:
    """One linear head an adapter, with an output (or two) for each member."""
    outputs = HEADS[config.head].outputs
    hidden = int(model.config.hidden_size)
    for adapter in range(config.adapters):
        generator = torch.Generator().manual_seed(derive(config.seed, "head", adapter))
        head = nn.Linear(hidden, config.members * outputs)
        weight = torch.randn(head.weight.shape, generator=generator) / hidden**0.5
        if config.head == "two-token":
            rows = model.get_output_embeddings().weight.detach().float().cpu()
            start = rows[[_token_id(tokenizer, name) for name in (config.bad_token, config.good_token)]]
            weight = start.repeat(config.members, 1) + 0.1 * start.std() * weight * (config.members > 1)
        with torch.no_grad():
            head.weight.copy_(weight)
            head.bias.zero_()
        yield head


def _token_id(tokenizer: Any, text: str) -> int:
    ids = tokenizer.encode(text, add_special_tokens=False)
    if len(ids) != 1:
        raise UsageError(
            f"token {text!r} is {len(ids)} tokens for this tokenizer; name one that is a single token"
        )
    return int(ids[0])


def _recompute_activations(model: Any) -> None:
    """Gradient checkpointing, by the name that transformers 5.24 gives it or the older one."""
    name = "activation_checkpointing_enable"
    enable = getattr(model, name if hasattr(model, name) else "gradient_checkpointing_enable")
    enable({"use_reentrant": False})


def _freeze(model: Any, config: TrainConfig) -> None:
    if config.freeze == "backbone":
        if HEADS[config.head].reads == "ratio":
            raise UsageError(f"head {config.head!r} trains the backbone itself; leave freeze=backbone out")
        model.requires_grad_(False)
    elif config.freeze == "embeddings":
        model.get_input_embeddings().requires_grad_(False)
    elif HEADS[config.head].reads == "score" and not config.lora_rank:
        unembed = model.get_output_embeddings()
        if unembed is not None and unembed.weight is not model.get_input_embeddings().weight:
            unembed.requires_grad_(False)  # nothing that is read depends on it


def _check_packing(config: Any) -> None:
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if kinds - {"full_attention"}:
        raise UsageError(
            f"pack needs full attention in every layer, this model has {', '.join(sorted(kinds))}"
        )
