"""Heads on the last hidden state: one linear layer, or several with a ReLU between them.

Contract: every read-out of a known family is such a head. A softmax over two tokens is the sigmoid of the
difference of two rows of lm_head; the mean of the vocabulary's logits is the mean row; a linear layer over
the logits (ReST-MCTS*) is that layer times lm_head. So `build_head` makes a small matrix of any of them, and
no logits of a whole vocabulary are ever calculated. Heads calculate in float32, whatever the backbone's type:
a probability of exactly 0 or 1 in bfloat16 has lost what ranks steps.

Sources: Qwen2.5-Math-PRM (arXiv 2501.07301) Linear-ReLU-Linear; Skywork-o1-Open-PRM a linear layer; PURE
(arXiv 2504.15275) a token classifier; ReasonEval (arXiv 2404.05692) three classes; llemma-7b-prm (arXiv
2403.09472) the mean logit; ReST-MCTS* (arXiv 2406.03816) a linear layer over the logits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from prm.conventions.base import (
    Classes,
    LinearValue,
    ReadOut,
    TwoTokens,
    VocabularyMean,
    VocabularyValue,
)
from prm.heads.weights import Weights
from tasks.errors import UsageError

Layer = tuple[torch.Tensor, torch.Tensor | None]


class Head:
    """Linear layers [rows, columns] with biases [rows] or None, a ReLU between two of them."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = [(weight.float(), None if bias is None else bias.float()) for weight, bias in layers]

    @property
    def hidden(self) -> int:
        """Size of the hidden state that it takes."""
        return int(self.layers[0][0].shape[1])

    @property
    def outputs(self) -> int:
        """Numbers that it gives."""
        return int(self.layers[-1][0].shape[0])

    def to(self, device: torch.device) -> Head:
        """The head on a device."""
        return Head([(w.to(device), None if b is None else b.to(device)) for w, b in self.layers])

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        """Numbers [positions, outputs] in float32 of hidden states [positions, size]."""
        values = hidden.float()
        for number, (weight, bias) in enumerate(self.layers):
            if number:
                values = torch.relu(values)
            values = torch.nn.functional.linear(values, weight, bias)
        return values


def build_head(readout: ReadOut, weights: Weights, ids: Mapping[str, int]) -> Head:
    """The head that a read-out means for a checkpoint; `ids` are those of the convention's tokens.

    Raises `UsageError` for tensors that are missing or of another shape, and for read-outs without a head.
    """
    if isinstance(readout, TwoTokens):
        name = weights.output_embeddings()
        rows = [ids[readout.positive.text], ids[readout.negative.text]]
        positive, negative = weights.rows(name, rows)
        return Head([((positive - negative)[None], _bias_difference(weights, rows))])
    if isinstance(readout, VocabularyMean):
        matrix = weights.get(weights.output_embeddings())
        return Head([(matrix.mean(dim=0, keepdim=True), None)])
    if isinstance(readout, VocabularyValue):
        matrix = weights.get(weights.output_embeddings())
        layer = weights.get(f"{readout.layer}.weight")
        if layer.shape[1] > matrix.shape[0]:
            raise UsageError(
                f"{readout.layer} takes {layer.shape[1]} logits, lm_head gives {matrix.shape[0]}"
            )
        return Head([(layer @ matrix[: layer.shape[1]], weights.get(f"{readout.layer}.bias"))])
    if isinstance(readout, Classes):
        head = Head([_layer(weights, name) for name in readout.layers])
        if head.outputs % readout.count:
            raise UsageError(f"the head gives {head.outputs} numbers, the family has {readout.count} classes")
        return head
    if isinstance(readout, LinearValue):
        return Head([_layer(weights, readout.layer)])
    raise UsageError(f"{type(readout).__name__} is not read by a head on the hidden state")


def _layer(weights: Weights, name: str) -> Layer:
    bias = f"{name}.bias"
    return weights.get(f"{name}.weight"), weights.get(bias) if bias in weights else None


def _bias_difference(weights: Weights, rows: Sequence[int]) -> torch.Tensor | None:
    if "lm_head.bias" not in weights:
        return None
    bias = weights.get("lm_head.bias")
    return (bias[rows[0]] - bias[rows[1]])[None]
