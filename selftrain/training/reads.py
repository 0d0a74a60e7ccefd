"""What the records on trees say, as tensors: log-prob sums by pair, trace or step, and what goes with them.

Contract: a reader takes the edges' log-prob sums ``[N]`` and the reference's ``[N]``, both in the numbers of
`EdgeIndex`, and gives all records of its kind of the index's trees, in the order of trees and records, with
gradients. Edges that no record names may be NaN. Weights are the records' to the power `weight_power`.
`named_nodes` are the nodes whose log-probs a tree's records need, and no others.

It does not decide which records are learned from (`selection`) and computes no losses (`objectives`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from selftrain.data.record import Pair, Trace, TrainingTree
from selftrain.packing import Chains, EdgeIndex
from selftrain.training.config import TrainConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class PairSums:
    """P pairs, every field ``[P]``: log-prob sums of both sides, the reference's, tokens, terms of the loss.

    Tokens are at least 1, so that a mean over an empty side is 0. References are NaN where there are none.
    """

    chosen: Tensor
    rejected: Tensor
    chosen_reference: Tensor
    rejected_reference: Tensor
    chosen_tokens: Tensor
    rejected_tokens: Tensor
    weights: Tensor
    offsets: Tensor
    smoothing: Tensor

    @property
    def ratios(self) -> tuple[Tensor, Tensor]:
        """``log pi - log pi_ref`` of the chosen and of the rejected sides."""
        return self.chosen - self.chosen_reference, self.rejected - self.rejected_reference


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceSums:
    """C traces with K trained steps.

    ``[C]``: `log_probs` and `references` summed over the trained steps, `tokens` of these, `weights`, `right`
    (1, 0 or NaN) and `rates`, the weighted share of right ones among the graded traces of the trace's tree.
    ``[K]``: `step_log_probs`, `step_references`, and `owner`, the trace of each step.
    """

    log_probs: Tensor
    references: Tensor
    tokens: Tensor
    weights: Tensor
    right: Tensor
    rates: Tensor
    step_log_probs: Tensor
    step_references: Tensor
    owner: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSums:
    """S steps with advantages, every field ``[S]``."""

    log_probs: Tensor
    references: Tensor
    tokens: Tensor
    advantages: Tensor


def named_nodes(tree: TrainingTree) -> frozenset[int]:
    """The nodes whose log-probs the tree's pairs, traces and advantages need."""
    found = {node for trace in tree.traces for node in tree.learned(trace)}
    for pair in tree.pairs:
        found.update(tree.tree.below(pair.above, pair.chosen), tree.tree.below(pair.above, pair.rejected))
    for state in tree.advantages:
        found.update(state.nodes)
    return frozenset(found)


def tokens_of(tree: TrainingTree, nodes: Iterable[int]) -> int:
    """Tokens of some of the tree's steps together."""
    return sum(len(tree.tree.segments[node]) for node in nodes)


def weight_of(record: Pair | Trace, config: TrainConfig) -> float:
    """The record's weight in the loss; a weight of 0 stays 0 under every power."""
    return record.weight**config.weight_power if record.weight else 0.0


def right_rate(tree: TrainingTree, config: TrainConfig) -> float:
    """Weighted share of right traces among the tree's graded ones; NaN without any."""
    graded = [(weight_of(trace, config), trace.right) for trace in tree.traces if trace.right is not None]
    whole = sum(weight for weight, _ in graded)
    return sum(weight for weight, right in graded if right) / whole if whole else math.nan


def read_pairs(
    sums: Tensor, references: Tensor, index: EdgeIndex, trees: Sequence[TrainingTree], config: TrainConfig
) -> PairSums:
    """All pairs; see the module."""
    pairs = [(number, pair) for number, tree in enumerate(trees) for pair in tree.pairs]
    chosen = index.chains((number, pair.above, pair.chosen) for number, pair in pairs)
    rejected = index.chains((number, pair.above, pair.rejected) for number, pair in pairs)
    lengths = index.lengths().to(sums)
    return PairSums(
        chosen=chosen.sums(sums),
        rejected=rejected.sums(sums),
        chosen_reference=chosen.sums(references),
        rejected_reference=rejected.sums(references),
        chosen_tokens=chosen.sums(lengths).clamp_min(1),
        rejected_tokens=rejected.sums(lengths).clamp_min(1),
        weights=sums.new_tensor([weight_of(pair, config) for _, pair in pairs]),
        offsets=sums.new_tensor([config.offset_scale * pair.offset for _, pair in pairs]),
        smoothing=sums.new_tensor([config.smoothing_scale * pair.smoothing for _, pair in pairs]),
    )


def read_traces(
    sums: Tensor, references: Tensor, index: EdgeIndex, trees: Sequence[TrainingTree], config: TrainConfig
) -> TraceSums:
    """All traces; see the module."""
    traces = [(number, tree, trace) for number, tree in enumerate(trees) for trace in tree.traces]
    nodes = [tree.learned(trace) for _, tree, trace in traces]
    edges = index.edges(
        (number, node) for (number, _, _), of in zip(traces, nodes, strict=True) for node in of
    )
    owner = torch.tensor([number for number, of in enumerate(nodes) for _ in of], dtype=torch.long)
    chains = Chains(edges=edges, owner=owner, count=len(traces))
    rates = [right_rate(tree, config) for tree in trees]
    grades = [math.nan if trace.right is None else float(trace.right) for _, _, trace in traces]
    return TraceSums(
        log_probs=chains.sums(sums),
        references=chains.sums(references),
        tokens=chains.sums(index.lengths().to(sums)),
        weights=sums.new_tensor([weight_of(trace, config) for _, _, trace in traces]),
        right=sums.new_tensor(grades),
        rates=sums.new_tensor([rates[number] for number, _, _ in traces]),
        step_log_probs=sums[edges.to(sums.device)],
        step_references=references[edges.to(sums.device)],
        owner=owner.to(sums.device),
    )


def read_advantages(
    sums: Tensor,
    references: Tensor,
    index: EdgeIndex,
    trees: Sequence[TrainingTree],
    config: TrainConfig,  # noqa: ARG001 - the readers are called alike
) -> StepSums:
    """All steps of the states with advantages; see the module."""
    states = [(number, state) for number, tree in enumerate(trees) for state in tree.advantages]
    edges = index.edges((number, node) for number, state in states for node in state.nodes).to(sums.device)
    return StepSums(
        log_probs=sums[edges],
        references=references[edges],
        tokens=index.lengths().to(sums)[edges],
        advantages=sums.new_tensor([value for _, state in states for value in state.advantages]),
    )
