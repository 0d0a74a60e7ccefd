"""Seeded countdown puzzles with worked solutions: what the embedded model is trained and tested on.

A puzzle is four numbers from 1 to 13, and a target from 10 to 100 that a random play with whole,
non-negative numbers reached; in some draws the target is 24. The play is the worked solution. Train and
test never share a puzzle: a hash of numbers and target decides the side, and `generate` draws again until
the side is right.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tasks.countdown.puzzle import question_text

Split = Literal["train", "test"]
TEST_SHARE = 16
"""One puzzle in this many belongs to the test side."""
_NUMBERS = 4
_LARGEST_NUMBER = 13
_TARGETS = range(10, 101)
_SHARE_24 = 0.1
_OPERATIONS = "++--**/"


@dataclass(frozen=True, kw_only=True)
class WorkedPuzzle:
    """A puzzle and one solution: `steps` are step lines, the last leaves the target alone."""

    id: str
    numbers: tuple[int, ...]
    target: int
    steps: tuple[str, ...]

    @property
    def question(self) -> str:
        """The puzzle as a model reads it."""
        return question_text(self.numbers, self.target)


def split_of(numbers: Sequence[int], target: int) -> Split:
    """The side a puzzle belongs to, by hash; the order of the numbers does not matter."""
    key = f"{sorted(numbers)}={target}"
    return "test" if hashlib.sha256(key.encode()).digest()[0] % TEST_SHARE == 0 else "train"


def generate(seed: int, *, split: Split) -> WorkedPuzzle:
    """The puzzle number `seed` of a side; the same arguments give the same puzzle."""
    rng = random.Random(f"countdown:{split}:{seed}")
    only_24 = rng.random() < _SHARE_24
    while True:
        numbers = tuple(sorted(rng.randint(1, _LARGEST_NUMBER) for _ in range(_NUMBERS)))
        steps, reached = _play(rng, numbers)
        if (reached == 24 if only_24 else reached in _TARGETS) and split_of(numbers, reached) == split:
            return WorkedPuzzle(
                id=f"countdown-{split}-{seed}", numbers=numbers, target=reached, steps=tuple(steps)
            )


def _play(rng: random.Random, numbers: Sequence[int]) -> tuple[list[str], int]:
    """Play at random with whole, non-negative numbers; returns the step lines and what is left at the end.

    Written with plain integers, not fractions, because training draws hundreds of thousands of plays.
    """
    left, lines = list(numbers), list[str]()
    while len(left) > 1:
        i, j = rng.sample(range(len(left)), 2)
        a, b = max(left[i], left[j]), min(left[i], left[j])
        op = rng.choice(_OPERATIONS)
        if op == "/" and (b == 0 or a % b):
            continue
        value = a + b if op == "+" else a - b if op == "-" else a * b if op == "*" else a // b
        left = sorted([*(left[k] for k in range(len(left)) if k not in (i, j)), value])
        lines.append(f"{a}{op}{b}={value} (left: {' '.join(map(str, left))})")
    return lines, left[0]
