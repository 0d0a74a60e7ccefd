"""Statistical rejection sampling: pairs among solutions that look as if the optimal policy had written them.

Contract: `accepted` goes over the candidates again and again; each time it knows the largest reward r_max
among those that are left, and accepts a candidate with probability ``exp((r - r_max) / beta)``, until `count`
are accepted or none is left. What one pass accepts is distributed as the policy times ``exp(r / beta)``. A
large beta accepts the first `count`, a small one goes by the rewards.

`RejectionSampled` takes the accepted solutions of a problem, in the order of acceptance, and pairs them two
by two, the larger reward chosen (`ranking` = first-round), or lets the winners meet again until one is left
(tournament). Equal rewards give no pair; the first of them goes on. Randomness is derived from `seed` and
the problem's id alone.

Source: RSO (Liu et al., arXiv 2309.06657), section 3.1 and algorithm 1; 8 of 64 candidates, beta 0.5.
Deviation: rewards are the search's values, where the paper has a pairwise ranker turn them into rewards.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from selftrain.builders.base import Tally, require
from selftrain.builders.pairing import Candidate, PairBuilder, whole
from selftrain.builders.solutions import Solution, distinct, solutions, valued
from selftrain.builders.values import Rule
from selftrain.data.record import TrainingTree
from selftrain.data.searched import Searched
from treesearch.seeds import derive


def accepted(rewards: Sequence[float], *, count: int, beta: float, seed: int) -> list[int]:
    """Indices of at most `count` accepted candidates, in the order of acceptance; see the module."""
    generator = random.Random(seed)
    left, found = list(range(len(rewards))), list[int]()
    while left and len(found) < count:
        best = max(rewards[index] for index in left)
        passed: list[int] = []
        for index in left:
            if generator.random() < math.exp((rewards[index] - best) / beta):
                passed.append(index)
            if len(found) + len(passed) == count:
                break
        found += passed
        gone = set(passed)
        left = [index for index in left if index not in gone]
    return found


@dataclass(frozen=True, kw_only=True)
class RejectionSampled(PairBuilder):
    """Pairs among solutions accepted by ``exp((r - r_max) / beta)`` (RSO, arXiv 2309.06657)."""

    name: ClassVar[str] = "rso"

    count: int = 8
    beta: float = 0.5
    ranking: Literal["first-round", "tournament"] = "first-round"
    value: Rule = "value"
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require("count", self.count, self.count >= 2, "at least 2")
        require("beta", self.beta, self.beta > 0, "above 0")

    def build(self, searched: Searched, tally: Tally) -> TrainingTree | None:
        """See the module."""
        if not searched.solutions:
            tally.drop("no_solution")
            return None
        found = distinct(valued(solutions(searched, self.value), tally), tally)
        seed = derive(self.seed, self.name, searched.problem.id)
        random.Random(seed).shuffle(found)
        rewards = [one.value or 0.0 for one in found]
        taken = accepted(rewards, count=self.count, beta=self.beta, seed=derive(seed, "accept"))
        tally.drop("rejected", len(found) - len(taken))
        pairs = list(self._rounds(searched, [found[index] for index in taken], tally))
        return self.tree(searched, pairs=self.pairs(searched, pairs, tally, ordered=True))

    def _rounds(self, searched: Searched, players: list[Solution], tally: Tally) -> Iterator[Candidate]:
        while len(players) > 1:
            winners: list[Solution] = []
            for one, other in zip(players[::2], players[1::2], strict=False):
                better, worse = (one, other) if (one.value or 0.0) >= (other.value or 0.0) else (other, one)
                winners.append(better)
                if better.value == worse.value:
                    tally.drop("tie")
                else:
                    yield whole(searched, better, worse)
            if self.ranking == "first-round":
                return
            players = winners + (players[-1:] if len(players) % 2 else [])
