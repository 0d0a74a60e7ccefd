"""What a batch's log-probs say besides the loss: margins, accuracy, and log-probs per token of both sides.

Contract: `figures` gives sums ``[7]`` in float64 that add up over units, processes and batches, and `as_json`
turns such a sum into the figures of a metrics line:

- ``accuracy``: share of the pairs whose chosen side has the greater reward, ties counting one half;
  ``margin``: mean of its reward less the other's. The reward is ``beta log(pi / pi_ref)``, or without a
  reference ``beta log pi`` per token, as SimPO has it; offsets and margins of the loss are left out;
- ``chosen_log_prob`` and ``rejected_log_prob``: mean log-prob a token of the chosen and the rejected sides;
  of traces that are right or ungraded and of wrong ones; of steps with advantages above and below 0. A
  falling log-prob of chosen sides is a known failure of DPO.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from selftrain.training.config import TrainConfig
from selftrain.training.mixture import READERS
from selftrain.training.objectives import beta_of, find_objective, reference_of
from selftrain.training.reads import PairSums, StepSums, TraceSums
from selftrain.training.units import Unit

COUNT = 7
"""Entries of the sums."""


def figures(sums: Tensor, unit: Unit, config: TrainConfig) -> Tensor:
    """The sums ``[7]`` of a unit, from its edges' log-prob sums ``[N]``."""
    records = find_objective(config.objective).records
    references = unit.references(sums.device)
    read: Any = READERS[records](sums.detach(), references, unit.index, unit.trees, config)
    if records == "pairs":
        return _of_pairs(read, config)
    return _of_traces(read) if records == "traces" else _of_steps(read)


def as_json(found: Tensor) -> dict[str, float]:
    """The figures of a sum of `figures`; those that nothing was seen of are left out."""
    pairs, ordered, margin, chosen, chosen_tokens, rejected, rejected_tokens = found.tolist()
    shown: dict[str, float] = {}
    if pairs:
        shown |= {"accuracy": ordered / pairs, "margin": margin / pairs}
    if chosen_tokens:
        shown["chosen_log_prob"] = chosen / chosen_tokens
    if rejected_tokens:
        shown["rejected_log_prob"] = rejected / rejected_tokens
    return shown


def _of_pairs(pairs: PairSums, config: TrainConfig) -> Tensor:
    if reference_of(config) == "none":
        chosen, rejected = pairs.chosen / pairs.chosen_tokens, pairs.rejected / pairs.rejected_tokens
    else:
        chosen, rejected = pairs.ratios
    margins = beta_of(config) * (chosen - rejected)
    ordered = (margins > 0).sum() + 0.5 * (margins == 0).sum()
    counts = torch.stack((margins.new_tensor(len(margins)), ordered, margins.sum()))
    sides = (pairs.chosen, pairs.chosen_tokens, pairs.rejected, pairs.rejected_tokens)
    return torch.cat((counts, torch.stack([side.sum() for side in sides]))).double().cpu()


def _of_traces(traces: TraceSums) -> Tensor:
    return _of_sides(traces.log_probs, traces.tokens, traces.right != 0, traces.right == 0)


def _of_steps(steps: StepSums) -> Tensor:
    return _of_sides(steps.log_probs, steps.tokens, steps.advantages > 0, steps.advantages < 0)


def _of_sides(log_probs: Tensor, tokens: Tensor, chosen: Tensor, rejected: Tensor) -> Tensor:
    sides = [some[which].sum() for which in (chosen, rejected) for some in (log_probs, tokens)]
    return torch.cat((log_probs.new_zeros(3), torch.stack(sides))).double().cpu()
