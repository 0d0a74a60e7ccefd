"""Sampling of one token for every row of a batch, without a generator per row.

Contract: the uniform number of a token is a hash of (seed, sample index, token index), by splitmix64 (Steele,
Lea, Flood 2014), so that it depends neither on the batch nor on the order of rows. A token is drawn by
inverting the cumulative distribution; with top-k or top-p, that of the kept tokens in order of falling
probability (top-k first, then the smallest set whose share of the rest reaches top-p). Each row takes one of
the two ways by its own parameters alone. Log-probabilities and certainty are those of the unmodified
distribution at temperature 1, in float32.

Certainty is the mean over the vocabulary of KL(uniform || p) = -log V - mean_j log p_j, in nats, with p_j not
below the smallest normal float32 (Kang et al. 2025, arXiv 2502.18581). V is the width of the model's output,
which may be padded beyond the tokenizer's vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_HEAD = 128
_LOG_TINY = math.log(torch.finfo(torch.float32).tiny)


def stream_key(seed: int, index: int) -> int:
    """64-bit key of the random stream of sample `index` of a request with `seed`."""
    return _mix_int(_mix_int(seed & _MASK) + (index + 1) * _GOLDEN)


def uniforms(keys: npt.NDArray[np.uint64], counters: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """One float in [0, 1) per (key, token index), with 23 bits, so that u * total < total in float32."""
    with np.errstate(over="ignore"):
        bits = keys + (counters.astype(np.uint64) + np.uint64(1)) * np.uint64(_GOLDEN)
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        bits = bits ^ (bits >> np.uint64(31))
    return (bits >> np.uint64(41)).astype(np.float32) * np.float32(2.0**-23)


def _mix_int(value: int) -> int:
    """splitmix64's finaliser on a Python int."""
    value = (value + _GOLDEN) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


@dataclass(frozen=True, kw_only=True)
class SamplingPlan:
    """Parameters of a batch's rows as tensors; made anew when the batch changes.

    `greedy` [rows] bool or None where no row is; `temperature` [rows, 1], 1 in greedy rows; `filtered` are
    the numbers of the rows with top-k or top-p, with `top_k` and `top_p` [filtered rows, 1].
    """

    all_greedy: bool
    greedy: torch.Tensor | None
    temperature: torch.Tensor
    filtered: torch.Tensor | None
    top_k: torch.Tensor
    top_p: torch.Tensor
    certainty: bool

    @classmethod
    def of(
        cls,
        *,
        temperature: npt.NDArray[np.float32],
        top_k: npt.NDArray[np.int64],
        top_p: npt.NDArray[np.float32],
        certainty: bool,
        vocabulary: int,
        device: torch.device,
    ) -> SamplingPlan:
        """Plan for rows with these parameters (a temperature of 0 is greedy, a top-k of 0 is off)."""
        greedy = temperature == 0
        filtered = np.flatnonzero(~greedy & ((top_k > 0) | (top_p < 1)))
        ranks = np.where(top_k > 0, top_k, vocabulary)[filtered, None]

        def tensor(array: npt.NDArray[np.generic]) -> torch.Tensor:
            return torch.from_numpy(array.copy()).to(device)

        return cls(
            all_greedy=bool(greedy.all()),
            greedy=tensor(greedy) if greedy.any() else None,
            temperature=tensor(np.where(greedy, np.float32(1), temperature)[:, None]),
            filtered=tensor(filtered) if len(filtered) else None,
            top_k=tensor(ranks),
            top_p=tensor(top_p[filtered, None]),
            certainty=certainty,
        )


def sample_tokens(
    logits: torch.Tensor, plan: SamplingPlan, uniform: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Tokens [rows], their log-probabilities [rows], and certainties [rows] if the plan asks for them.

    `logits` [rows, vocabulary], `uniform` [rows] in [0, 1).
    """
    logp = torch.log_softmax(logits.float(), dim=-1)
    if plan.all_greedy:
        tokens = logp.argmax(dim=-1)
    else:
        probs = torch.softmax(logp / plan.temperature, dim=-1)
        tokens = _draw(probs, uniform)
        if plan.filtered is not None:
            rows = plan.filtered
            tokens[rows] = _draw_filtered(probs[rows], uniform[rows], plan.top_k, plan.top_p)
        if plan.greedy is not None:
            tokens = torch.where(plan.greedy, logp.argmax(dim=-1), tokens)
    chosen = logp.gather(-1, tokens[:, None])[:, 0]
    return tokens, chosen, certainties(logp) if plan.certainty else None


def certainties(logp: torch.Tensor) -> torch.Tensor:
    """Mean over the vocabulary of KL(uniform || p) for log-probabilities [..., vocabulary]; see above."""
    return (-math.log(logp.shape[-1]) - logp.clamp_min(_LOG_TINY).mean(dim=-1)).clamp_min(0.0)


def kept(logits: torch.Tensor, top_k: int, top_p: float) -> torch.Tensor:
    """Logits [rows, vocabulary] with -inf for the tokens outside top-k and top-p (0 and 1 are off)."""
    if 0 < top_k < logits.shape[-1]:
        least = logits.topk(top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < least, float("-inf"))
    if top_p < 1:
        ranked, order = torch.softmax(logits, dim=-1).sort(dim=-1, descending=True)
        beyond = ranked.cumsum(dim=-1) - ranked >= top_p
        logits = logits.masked_fill(beyond.scatter(-1, order, beyond), float("-inf"))
    return logits


def _draw(probs: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """Index per row by inverse cumulative distribution; `probs` need not sum to 1."""
    cumulated = probs.cumsum(dim=-1)
    target = uniform[:, None] * cumulated[:, -1:]
    return torch.searchsorted(cumulated, target, right=True)[:, 0]


def _draw_filtered(
    probs: torch.Tensor, uniform: torch.Tensor, top_k: torch.Tensor, top_p: torch.Tensor
) -> torch.Tensor:
    """Index per row among the top-k tokens that make up the share top-p of their mass.

    The kept tokens nearly always are among the `_HEAD` most probable ones; only rows where they are not are
    sorted in full, which costs ten times as much.
    """
    mass = probs.sum(dim=-1, keepdim=True)
    head, order = probs.topk(min(_HEAD, probs.shape[-1]), dim=-1)
    tokens = _draw_ranked(head, order, uniform, top_k, top_p, mass)
    reaches = (top_k >= probs.shape[-1]) & (head.sum(dim=-1, keepdim=True) >= top_p * mass)
    short = (~(reaches | (top_k <= head.shape[-1]))[:, 0]).nonzero()[:, 0]
    if len(short):
        ranked, order = probs[short].sort(dim=-1, descending=True)
        tokens[short] = _draw_ranked(ranked, order, uniform[short], top_k[short], top_p[short], mass[short])
    return tokens


def _draw_ranked(
    ranked: torch.Tensor,
    order: torch.Tensor,
    uniform: torch.Tensor,
    top_k: torch.Tensor,
    top_p: torch.Tensor,
    mass: torch.Tensor,
) -> torch.Tensor:
    """Draw from the most probable tokens, in falling order; `mass` [rows, 1] is that of the vocabulary."""
    ranked = ranked * (torch.arange(ranked.shape[-1], device=ranked.device) < top_k)
    cumulated = ranked.cumsum(dim=-1)
    total = torch.where(top_k <= ranked.shape[-1], cumulated[:, -1:], mass)
    ranked = ranked * (cumulated - ranked < top_p * total)
    return order.gather(-1, _draw(ranked, uniform)[:, None])[:, 0]
