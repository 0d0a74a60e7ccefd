"""A batch of trees through the model: its gradient, its loss without one, and the base's log-probs.

Contract: `add_gradients` adds to the parameters exactly the gradient of the batch's mean loss, summed over
all processes and however the batch was cut, and `evaluate` gives the same loss without one. Both return what
is seen of the batch, a tensor ``[9]`` in float64: the loss, the tokens, and the sums of `figures`. Dropout
draws from a seed of the step, the process and the unit.

With sharded weights every process runs the same number of passes: a process with less work repeats a pass
whose edges do not count, which adds nothing to any gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from prm.training.processes import Processes
from selftrain.packing import Batch, EdgeLogProbs, backward
from selftrain.training.config import TrainConfig
from selftrain.training.figures import COUNT, figures
from selftrain.training.mixture import Divisors, batch_loss, divisors
from selftrain.training.policy import PackedPolicy
from selftrain.training.sharding import let_go, lockstep, silent
from selftrain.training.units import Item, Unit, shares, units
from treesearch.seeds import derive

LOSS, TOKENS = 0, 1
"""Places of the loss and of the tokens in what is seen of a batch; the sums of `figures` follow."""


def add_gradients(
    policy: PackedPolicy,
    parameters: Mapping[str, nn.Parameter],
    items: Sequence[Item],
    processes: Processes,
    *,
    step: int,
) -> Tensor:
    """Add the gradient of the batch `items` to `parameters`; returns what is seen of it. See the module."""
    config, sharded = policy.config, policy.config.shard == "fsdp"
    totals = divisors((item.tree for item in items), config)
    seen = torch.zeros(2 + COUNT, dtype=torch.float64)
    policy.train_mode(True)
    for number, (unit, batches) in enumerate(_work(items, config, processes)):
        torch.manual_seed(derive(config.seed, "noise", step, processes.rank, number))
        on_device = [batch.to(policy.device) for batch in batches]
        if unit is None:
            backward(policy, on_device, _nothing)
            continue
        # gradients of sharded weights come as means over the processes, not as sums
        loss = _seeing(unit, config, totals, seen, scale=processes.count if sharded else 1)
        backward(policy, on_device, loss)
    if not sharded:
        processes.add_up_gradients(parameters.values())
    return processes.total(seen)


def evaluate(policy: PackedPolicy, items: Sequence[Item], processes: Processes) -> Tensor:
    """What is seen of `items` as one batch, without gradient and dropout; all processes get it."""
    totals = divisors((item.tree for item in items), policy.config)
    seen = torch.zeros(2 + COUNT, dtype=torch.float64)
    policy.train_mode(False)
    with torch.no_grad():
        for unit, batches in _work(items, policy.config, processes):
            sums = _sums(policy, batches, policy.device)
            if unit is not None:
                _seeing(unit, policy.config, totals, seen)(sums)
    let_go(policy)
    return processes.total(seen)


def base_sums(policy: PackedPolicy, items: Sequence[Item], processes: Processes) -> list[Tensor]:
    """For every item the base's log-prob sums by edge ``[nodes]``; 0 where none are needed."""
    places = {id(item): number for number, item in enumerate(items)}
    found = [torch.zeros(len(item.tree.tree)) for item in items]
    for unit, batches in _work(items, policy.config, processes):
        sums = _sums(policy.reference, batches, policy.device)
        if unit is not None:
            parts = sums.cpu().nan_to_num(nan=0.0).split([len(item.tree.tree) for item in unit.items])
            for item, part in zip(unit.items, parts, strict=True):
                found[places[id(item)]] = part
    let_go(policy)
    return list(processes.total(torch.cat(found)).split([len(one) for one in found]))


def _work(
    items: Sequence[Item], config: TrainConfig, processes: Processes
) -> list[tuple[Unit | None, list[Batch]]]:
    """This process's units with their passes; in lockstep with the other processes where weights are sharded.

    An entry without a unit is a turn of others in which this process only takes part.
    """
    mine = units(shares(items, processes.count)[processes.rank], config)
    if config.shard == "none":
        return [(unit, unit.batches) for unit in mine]
    everyone = processes.gather([[len(unit.batches) for unit in mine]])
    idle = (mine or units(items[:1], config))[0]
    work: list[tuple[Unit | None, list[Batch]]] = []
    for turn in range(max(map(len, everyone))):
        most = max(counts[turn] for counts in everyone if turn < len(counts))
        unit = mine[turn] if turn < len(mine) else None
        filler = silent((unit or idle).batches[0])
        work.append((unit, lockstep(unit.batches if unit else [], most, filler)))
    return work


def _seeing(
    unit: Unit, config: TrainConfig, totals: Divisors, seen: Tensor, *, scale: int = 1
) -> Callable[[Tensor], Tensor]:
    """The unit's part of the batch's loss as a function of its edges' sums, which also notes what is seen."""

    def loss(sums: Tensor) -> Tensor:
        found = batch_loss(sums, unit.index, unit.trees, unit.references(sums.device), config, totals)
        seen[LOSS] += float(found.detach())
        seen[TOKENS] += unit.tokens
        seen[2:] += figures(sums, unit, config)
        return scale * found

    return loss


def _nothing(sums: Tensor) -> Tensor:
    """A loss of 0 whose gradient is 0, so that the pass runs backwards too."""
    return 0 * sums.nan_to_num(nan=0.0).sum()


def _sums(scorer: Callable[[Batch], EdgeLogProbs], batches: Sequence[Batch], device: torch.device) -> Tensor:
    """Log-prob sums by edge ``[N]`` of one or several passes; NaN where none of them reads the edge."""
    found: Tensor | None = None
    for batch in batches:
        moved = batch.to(device)
        sums = scorer(moved).sums
        found = sums if found is None else torch.where(moved.known, sums, found)
    assert found is not None
    return found
