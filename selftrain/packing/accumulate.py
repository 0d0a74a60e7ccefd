"""The gradient of a loss over the edges of several forward passes.

Contract: `backward(scorer, batches, loss)` adds to the parameters' gradients exactly what one pass over all
rows would, and returns the loss. The loss may tie any edges together, also those of different passes (a
pair whose sides were cut into different rows). With one pass this is an ordinary forward and backward. With
several, every pass runs twice: once without gradients for the sums s, then, with ``dL/ds`` known, once more
each for its share

    dL/dw = sum over passes of (dL/ds) . (ds/dw)

so that the activations of one pass are in memory at a time. The random state is put back before the second
run, so that dropout draws the same. Source: gradient caching (Gao et al., arXiv 2101.06983).

The model's weights must not change in between, and `batches` must be on the scorer's device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from selftrain.packing.batch import Batch
from selftrain.packing.scorer import EdgeLogProbs
from tasks.errors import UsageError

Scorer = Callable[[Batch], EdgeLogProbs]
"""An `EdgeScorer`, or what wraps one for data parallelism."""
Loss = Callable[[Tensor], Tensor]
"""From edge sums [N] (NaN where no pass reads the edge) to a scalar."""


def backward(scorer: Scorer, batches: Sequence[Batch], loss: Loss) -> Tensor:
    """Add the gradient of ``loss(sums)`` to the parameters; returns the loss, detached. See the module."""
    if not batches:
        raise UsageError("there is no pass to train on")
    if len(batches) == 1:
        value = loss(scorer(batches[0]).sums)
        value.backward()
        return value.detach()
    states: list[list[Tensor]] = []
    sums: Tensor | None = None
    for batch in batches:
        states.append(_random_state(batch.ids.device))
        with torch.no_grad():
            found = scorer(batch).sums
        sums = found if sums is None else torch.where(batch.known, found, sums)
    assert sums is not None
    sums.requires_grad_()
    value = loss(sums)
    (slope,) = torch.autograd.grad(value, sums)
    for batch, state in zip(batches, states, strict=True):
        _set_random_state(batch.ids.device, state)
        share = torch.where(batch.known, slope, torch.zeros_like(slope))
        found = scorer(batch).sums
        torch.dot(share, torch.where(batch.known, found, torch.zeros_like(found))).backward()
    return value.detach()


def _random_state(device: torch.device) -> list[Tensor]:
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    return states


def _set_random_state(device: torch.device, states: Sequence[Tensor]) -> None:
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)
