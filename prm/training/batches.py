"""Which examples are trained on together, and their tensors.

Contract: the examples of optimizer step n are a function of the seed, the data and n alone, so a resumed run
needs no more than n to go on exactly. An epoch is a seeded permutation cut into batches; with packing, all
examples of one prompt stay together (a prompt with many is cut), else examples are shuffled singly. Within a
batch, rows of like length share a forward pass; that grouping changes speed and memory, and not the gradient
beyond rounding, because the loss is divided by the whole batch's weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from math import nan

import numpy
import torch
from torch import Tensor

from prm.training.config import TrainConfig
from prm.training.layout import Example
from prm.training.packing import Packed, TokenRow, plain_rows, to_tensors, tree_rows
from prm.training.rows import Ids
from treesearch.seeds import derive


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One forward pass: its rows, and the R reads and P pairs on them.

    `examples` are indices into the list that the passes were made from, and `example` [R] is each read's.
    `chains` names for each read its row and the row's segments that it covers, `path` [R] its path. `targets`
    [R] are NaN where a read has none, `weights` [R], `references` [R] log-prob sums of the reference (NaN
    likewise), `pairs` [P, 2] indices of reads (better, worse), `pair_weights` [P].
    """

    packed: Packed
    examples: tuple[int, ...]
    chains: list[tuple[int, list[int]]]
    targets: Tensor
    weights: Tensor
    references: Tensor
    example: Tensor
    path: Tensor
    pairs: Tensor
    pair_weights: Tensor

    @property
    def tokens(self) -> int:
        """Tokens of the pass, without padding."""
        return sum(len(row.tokens) for row in self.packed.rows)


class Order:
    """The batches of a training set, by step."""

    def __init__(self, examples: Sequence[Example], config: TrainConfig) -> None:
        self.examples = examples
        self._config = config
        self._units = _units(examples, config)
        self._epoch = -1
        self._batches: list[list[int]] = []
        self.steps_an_epoch = _n_batches(len(examples), config)
        self.steps = max(1, math.ceil(config.epochs * self.steps_an_epoch))

    def batch(self, step: int) -> list[int]:
        """Indices of the examples of optimizer step `step`, from 0."""
        epoch, place = divmod(step, self.steps_an_epoch)
        if epoch != self._epoch:
            self._epoch, self._batches = epoch, self._cut(epoch)
        return self._batches[place]

    def _cut(self, epoch: int) -> list[list[int]]:
        """Units in the epoch's order, dealt into the same number of batches each epoch."""
        generator = numpy.random.Generator(numpy.random.PCG64(derive(self._config.seed, "order", epoch)))
        count, total, done = _n_batches(len(self.examples), self._config), len(self.examples), 0
        batches: list[list[int]] = [[] for _ in range(count)]
        for unit in generator.permutation(len(self._units)):
            batches[done * count // total].extend(self._units[int(unit)])
            done += len(self._units[int(unit)])
        return batches


def _n_batches(n_examples: int, config: TrainConfig) -> int:
    return max(1, round(n_examples / config.batch_size))


def _units(examples: Sequence[Example], config: TrainConfig) -> list[list[int]]:
    """What is shuffled: single examples, or with packing the examples of a prompt.

    A unit is no larger than a batch, so that dealing units by the examples before them leaves no batch empty.
    """
    if not config.pack:
        return [[index] for index in range(len(examples))]
    by_prompt: dict[Ids, list[int]] = {}
    for index, example in enumerate(examples):
        by_prompt.setdefault(example.paths[0][0], []).append(index)
    most = len(examples) // _n_batches(len(examples), config)
    return [group[at : at + most] for group in by_prompt.values() for at in range(0, len(group), most)]


def passes(
    examples: Sequence[Example], config: TrainConfig, *, pad_id: int = 0, pack: bool | None = None
) -> list[Batch]:
    """The forward passes of `examples`: of like length, at most `microbatch_tokens` padded tokens each.

    A single row longer than that makes a pass of its own. `pack` overrides the config's.
    """
    tree = config.pack if pack is None else pack
    groups = _groups(examples, config) if tree else [[index] for index in range(len(examples))]
    sized = sorted((_width(examples, group, tree), group) for group in groups)
    cut: list[list[int]] = []
    rows = 0
    for width, group in sized:
        more = 1 if tree else sum(len(examples[index].paths) for index in group)
        if cut and (rows + more) * width <= config.microbatch_tokens:
            cut[-1].extend(group)
            rows += more
        else:
            cut.append(list(group))
            rows = more
    return [_collate(examples, indices, tree=tree, pad_id=pad_id) for indices in cut]


def _groups(examples: Sequence[Example], config: TrainConfig) -> list[list[int]]:
    """Examples that share a tree: those of one prompt, until their tree is as long as a pass may be."""
    groups: list[list[int]] = []
    open_group: dict[Ids, tuple[TokenRow, list[int]]] = {}
    for index, example in enumerate(examples):
        prompt = example.paths[0][0]
        row, group = open_group.get(prompt, (None, None))
        if row is None or group is None or len(row.tokens) + example.tokens > config.microbatch_tokens:
            row, group = TokenRow(), []
            open_group[prompt] = row, group
            groups.append(group)
        group.append(index)
        for path in example.paths:
            row.add(len(row.paths), path)
    return groups


def _width(examples: Sequence[Example], group: Sequence[int], tree: bool) -> int:
    if not tree:
        return max(examples[index].tokens for index in group)
    return len(tree_rows([path for index in group for path in examples[index].paths])[0].tokens)


def _collate(examples: Sequence[Example], indices: Sequence[int], *, tree: bool, pad_id: int) -> Batch:
    chosen = [examples[index] for index in indices]
    first_path = list(accumulate((len(example.paths) for example in chosen), initial=0))
    first_read = list(accumulate((len(example.reads) for example in chosen), initial=0))
    paths = [path for example in chosen for path in example.paths]
    rows = tree_rows(paths) if tree else plain_rows(paths)
    place = {number: (at, row.paths[number]) for at, row in enumerate(rows) for number in row.paths}
    reads = [(number, read) for number, example in enumerate(chosen) for read in example.reads]
    chains: list[tuple[int, list[int]]] = []
    for number, read in reads:
        at, segments = place[first_path[number] + read.path]
        chains.append((at, segments[read.start + 1 : read.stop + 1]))
    pairs = [
        (first_read[number] + better, first_read[number] + worse, weight)
        for number, example in enumerate(chosen)
        for better, worse, weight in example.pairs
    ]
    return Batch(
        packed=to_tensors(rows, pad_id=pad_id),
        examples=tuple(indices),
        chains=chains,
        targets=torch.tensor([nan if read.target is None else read.target for _, read in reads]),
        weights=torch.tensor([read.weight for _, read in reads]),
        references=torch.tensor([nan if read.reference is None else read.reference for _, read in reads]),
        example=torch.tensor([indices[number] for number, _ in reads]),
        path=torch.tensor([first_path[number] + read.path for number, read in reads]),
        pairs=torch.tensor([pair[:2] for pair in pairs], dtype=torch.long).reshape(-1, 2),
        pair_weights=torch.tensor([pair[2] for pair in pairs]),
    )


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The batch with its tensors on `device`."""
    packed = batch.packed
    return replace(
        batch,
        packed=replace(
            packed,
            ids=packed.ids.to(device),
            positions=None if packed.positions is None else packed.positions.to(device),
            mask=None if packed.mask is None else packed.mask.to(device),
        ),
        targets=batch.targets.to(device),
        weights=batch.weights.to(device),
        references=batch.references.to(device),
        example=batch.example.to(device),
        path=batch.path.to(device),
        pairs=batch.pairs.to(device),
        pair_weights=batch.pair_weights.to(device),
    )
