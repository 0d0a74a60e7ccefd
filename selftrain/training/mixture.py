"""The loss of a batch: the objective's own, and the likelihood that may be added to it.

Contract: `batch_loss` is a function of the edges' log-prob sums ``[N]``, their numbers (`EdgeIndex`), the
trees, the reference's sums ``[N]`` and the config. It is divided by `Divisors`, which add up over trees: with
those of a whole batch, the losses of its parts, in whatever passes and processes, sum to the loss of the
batch, and so do their gradients.

`sft_weight` w adds to any pair loss

    - w sum_i w_i log pi(y_i) / sum_i w_i n_i

over the chosen sides y_i of n_i tokens, or over the traces. Source: iterative reasoning preference
optimisation (arXiv 2404.19733), where w is 1 on the chosen sides. Deviation: the paper divides each side by
its own length; here every token weighs alike, as in supervised training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from selftrain import losses
from selftrain.data.record import TrainingTree
from selftrain.packing import EdgeIndex
from selftrain.training.config import TrainConfig
from selftrain.training.objectives import Records, find_objective, sft_weight_of
from selftrain.training.reads import (
    read_advantages,
    read_pairs,
    read_traces,
    tokens_of,
    weight_of,
)

READERS: Mapping[Records, Callable[..., Any]] = {
    "pairs": read_pairs,
    "traces": read_traces,
    "advantages": read_advantages,
}
"""The reader of each kind of record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Divisors:
    """What the objective's loss and the added likelihood are divided by; 0 where there is nothing of it."""

    main: float
    added: float


def added_likelihood(config: TrainConfig) -> Literal["chosen", "traces"] | None:
    """What a likelihood is added of; None without one (in `upo` it is part of the loss)."""
    return config.sft_on if sft_weight_of(config) and config.objective != "upo" else None


def divisors(trees: Iterable[TrainingTree], config: TrainConfig) -> Divisors:
    """The divisors of all records of `trees`: their weights, in likelihoods weights times tokens."""
    trees = list(trees)
    row = find_objective(config.objective)
    if row.records == "pairs":
        main = sum(weight_of(pair, config) for tree in trees for pair in tree.pairs)
    elif row.records == "advantages":
        main = float(sum(len(state.nodes) for tree in trees for state in tree.advantages))
    elif row.divides_by == "records":
        main = sum(weight_of(trace, config) for tree in trees for trace in tree.traces)
    else:
        main = _trace_tokens(trees, config)
    of = added_likelihood(config)
    if of is None:
        return Divisors(main=main, added=0.0)
    return Divisors(main=main, added=(_chosen_tokens if of == "chosen" else _trace_tokens)(trees, config))


def _trace_tokens(trees: Sequence[TrainingTree], config: TrainConfig) -> float:
    return sum(
        weight_of(trace, config) * tokens_of(tree, tree.learned(trace))
        for tree in trees
        for trace in tree.traces
    )


def _chosen_tokens(trees: Sequence[TrainingTree], config: TrainConfig) -> float:
    return sum(
        weight_of(pair, config) * tokens_of(tree, tree.tree.below(pair.above, pair.chosen))
        for tree in trees
        for pair in tree.pairs
    )


def batch_loss(
    sums: Tensor,
    index: EdgeIndex,
    trees: Sequence[TrainingTree],
    references: Tensor,
    config: TrainConfig,
    totals: Divisors,
) -> Tensor:
    """The part of a batch's loss that `trees` contribute, a scalar; see the module.

    `index` numbers the edges of `trees`. Edges that no record names may be NaN in `sums` and `references`.
    """
    row = find_objective(config.objective)
    loss = sums.new_zeros(())
    if totals.main > 0:
        read = READERS[row.records](sums, references, index, trees, config)
        loss = loss + row.loss(read, config, totals.main)
    if totals.added > 0:
        if added_likelihood(config) == "chosen":
            pairs = read_pairs(sums, references, index, trees, config)
            sides, weights = pairs.chosen, pairs.weights
        else:
            traces = read_traces(sums, references, index, trees, config)
            sides, weights = traces.log_probs, traces.weights
        loss = loss + sft_weight_of(config) * losses.sft(sides, weights, total=totals.added)
    return loss
