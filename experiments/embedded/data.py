"""Training rows of the embedded model: tokenised problems, bucketed by length, one task a microbatch.

A row is `<s> question \\n steps </s>`; the loss is on the steps only. The stream is a pure function of the
seed of its first problem, so that a resumed run goes on exactly where the checkpoint stood: the position is
the next seed of each task and the rows still waiting in buckets, which are drawn again from their seeds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerBase

from tasks import countdown, generator

Source = Literal["countdown", "math"]
LENGTHS = (40, 48, 64, 80, 96, 112, 128, 160, 192, 256, 320, 512)
"""Row lengths: few, so that each is compiled once; a countdown row is 40 tokens."""
IGNORE = -100


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Token ids `[rows, length]` and labels of the same shape; `tokens` counts what is not padding."""

    ids: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    tokens: int


@dataclass(kw_only=True)
class Stream:
    """Endless batches of one task. `next_seed` and `waiting` (seeds, by bucket) are the whole position."""

    source: Source
    hard_problems: int
    """The first so many maths problems are of the generator's harder difficulty."""
    tokenizer: PreTrainedTokenizerBase
    batch_tokens: int
    weak_from: int
    """From this maths problem on, only every third problem is kept, but for those of `weak_kinds`."""
    weak_kinds: frozenset[str]
    next_seed: int = 0
    waiting: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    _rows: dict[int, tuple[list[int], int]] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Batch]:
        while True:
            if not self.kept(self.next_seed):
                self.next_seed += 1
                continue
            ids, prompt = self.row(self.next_seed)
            length = next(length for length in LENGTHS if length >= len(ids))
            bucket = self.waiting.setdefault(length, [])
            bucket.append(self.next_seed)
            self._rows[self.next_seed] = (ids, prompt)
            self.next_seed += 1
            if len(bucket) * length >= self.batch_tokens:
                seeds, self.waiting[length] = bucket, []
                yield self._batch(seeds, length)

    def kept(self, seed: int) -> bool:
        """Whether training problem `seed` is trained on."""
        if self.source == "countdown" or seed < self.weak_from or seed % 3 == 0:
            return True
        return generator.generate(seed, split="train").kind in self.weak_kinds

    def row(self, seed: int) -> tuple[list[int], int]:
        """Token ids of training problem `seed`, and how many of them are the prompt."""
        if self.source == "countdown":
            worked = countdown.generate(seed, split="train")
        else:
            hard = seed < self.hard_problems
            difficulty = generator.HARD if hard else generator.STANDARD
            worked = generator.generate(seed, split="train", difficulty=difficulty)
        prompt = self.tokenizer(worked.question + "\n")["input_ids"]
        steps = self.tokenizer("\n".join(worked.steps), add_special_tokens=False)["input_ids"]
        return [*prompt, *steps, self.tokenizer.eos_token_id], len(prompt)

    def _batch(self, seeds: list[int], length: int) -> Batch:
        ids = np.full((len(seeds), length), self.tokenizer.pad_token_id, dtype=np.int64)
        labels = np.full((len(seeds), length), IGNORE, dtype=np.int64)
        tokens = 0
        for row, seed in enumerate(seeds):
            row_ids, prompt = self._rows.pop(seed, None) or self.row(seed)
            ids[row, : len(row_ids)] = row_ids
            labels[row, prompt : len(row_ids)] = row_ids[prompt:]
            tokens += len(row_ids)
        return Batch(ids=ids, labels=labels, tokens=tokens)
