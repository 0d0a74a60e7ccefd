"""Pairs of solutions with a measure of doubt: consistency of two rankings, or a model's uncertainty.

`Consistent` (CREAM): of a problem's solutions, the best by the current reward over the worst. How well the
rankings by this and by the previous iterate's reward agree is ``C = (tau + 1) / 2`` in [0, 1] with Kendall's
tau, and the pair's smoothing is ``1 - C``: the mean over all problems that give a pair (`consistency` = set,
the default of the paper's code), or each problem's own. With `measure` = spearman tau is Spearman's rho, with
top-order C is 1 where best and worst of one ranking are those of the other, else 0. The current reward is a
value rule, the previous one another (by default the mean stored log-prob, as for a base model), or numbers
from outside by problem id and solution text. C below 1/2 turns the pair round, as the paper's loss does.
Source: CREAM (Wang et al., arXiv 2410.12735), section 4.

`Uncertain` (UPO): of N >= 4 solutions ranked by value, those of the upper half over those of the lower half,
drawn by weights ``P ~ 1 - B`` without replacement, where B in [0, log 2] is an estimator's uncertainty of the
pair (`selftrain.losses.bald`). The pair's smoothing is ``0.5 B / log 2``. Source: UPO (Wang et al., arXiv
2409.11212).

Deviations: tau counts a tie in either ranking as neither agreeing nor disagreeing; the repository ranks ties
in the order of the samples. Its top-order compares the ranks of the first and the last sample; here those of
the best and the worst, as they are what the pair is made of. UPO prints the smoothing 1 / (P + 1), which is
never below 1/2 and so never favours the chosen side (see `selftrain.losses.preference`); its factor mu of P
is 1.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import ClassVar, Literal

from selftrain.builders.base import Tally, optional_input, require, required_input
from selftrain.builders.pairing import Candidate, PairBuilder, whole
from selftrain.builders.solutions import Solution, distinct, solutions, valued
from selftrain.builders.values import Rule, node_value
from selftrain.data.record import TrainingTree
from selftrain.data.searched import Searched
from tasks.errors import UsageError
from treesearch.seeds import derive

Measure = Literal["kendall", "spearman", "top-order"]


def consistency(one: Sequence[float], other: Sequence[float], measure: Measure = "kendall") -> float:
    """How well two lists of rewards of the same solutions agree, in [0, 1]; see the module.

    `UsageError` for lists of different lengths or of fewer than two numbers.
    """
    if len(one) != len(other) or len(one) < 2:
        raise UsageError(f"two rankings of at least two solutions, got {len(one)} and {len(other)} rewards")
    if measure == "top-order":
        best, worst = (pick(range(len(one)), key=one.__getitem__) for pick in (max, min))
        return float(other[best] == max(other) and other[worst] == min(other) and max(other) > min(other))
    correlation = _kendall(one, other) if measure == "kendall" else _spearman(one, other)
    return (correlation + 1) / 2


def _kendall(one: Sequence[float], other: Sequence[float]) -> float:
    agreement = 0
    for i, j in combinations(range(len(one)), 2):
        product = (one[i] - one[j]) * (other[i] - other[j])
        agreement += (product > 0) - (product < 0)
    return agreement / math.comb(len(one), 2)


def _spearman(one: Sequence[float], other: Sequence[float]) -> float:
    """The correlation of ranks, those of equal rewards being their mean; 0 where either has one rank."""
    ranks = [
        [sum(x < y for x in each) + sum(x == y for x in each) / 2 for y in each] for each in (one, other)
    ]
    if any(len(set(each)) == 1 for each in ranks):
        return 0.0
    return min(1.0, max(-1.0, statistics.correlation(*ranks)))


@dataclass(frozen=True, kw_only=True)
class Consistent(PairBuilder):
    """Best over worst, smoothed by the consistency of two rankings (CREAM, arXiv 2410.12735)."""

    name: ClassVar[str] = "cream"
    unused = frozenset({"visit_smoothing"})

    value: Rule = "value"
    previous: Rule = "logprob"
    consistency: Literal["set", "problem"] = "set"
    measure: Measure = "kendall"
    previous_rewards: Mapping[str, Mapping[str, float]] | None = field(
        default=None,
        repr=False,
        hash=False,
        metadata=optional_input("the previous iterate's rewards by problem id and solution"),
    )

    def build(self, searched: Searched, tally: Tally) -> TrainingTree | None:
        """See the module."""
        if not searched.solutions:
            tally.drop("no_solution")
            return None
        found = distinct(valued(solutions(searched, self.value), tally), tally)
        before = [self._before(searched, one) for one in found]
        known = [(one, old) for one, old in zip(found, before, strict=True) if old is not None]
        tally.drop("no_value", len(found) - len(known))
        if len(known) < 2:
            tally.drop("too_few")
            return None
        rewards = [one.value or 0.0 for one, _ in known]
        if rewards[0] == rewards[-1]:
            tally.drop("tie")
            return None
        agreed = consistency(rewards, [old for _, old in known], self.measure)
        pair = whole(searched, known[0][0], known[-1][0], smoothing=1 - agreed)
        return self.tree(searched, pairs=self.pairs(searched, [pair], tally))

    def _before(self, searched: Searched, one: Solution) -> float | None:
        if self.previous_rewards is None:
            return node_value(searched, one.node, self.previous)
        return self.previous_rewards.get(searched.problem.id, {}).get(one.text)

    def finish(self, trees: list[TrainingTree]) -> list[TrainingTree]:
        """The mean consistency of all problems for every pair, unless each has its own."""
        if self.consistency == "problem" or not trees:
            return trees
        found = [pair.smoothing for tree in trees for pair in tree.pairs]
        mean = math.fsum(found) / len(found)
        return [
            replace(tree, pairs=tuple(replace(pair, smoothing=mean) for pair in tree.pairs)) for tree in trees
        ]


@dataclass(frozen=True, kw_only=True)
class Uncertain(PairBuilder):
    """Upper over lower half of a ranking, drawn and smoothed by uncertainty (UPO, arXiv 2409.11212)."""

    name: ClassVar[str] = "upo"
    unused = frozenset({"visit_smoothing"})

    max_pairs: int | None = 1
    value: Rule = "value"
    least: int = 4
    seed: int = 0
    uncertainty: Callable[[str, str, str], float] | None = field(
        default=None,
        repr=False,
        hash=False,
        metadata=required_input("B in [0, log 2] of a problem's id, a chosen and a rejected text"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require("least", self.least, self.least >= 2, "at least 2")

    def build(self, searched: Searched, tally: Tally) -> TrainingTree | None:
        """See the module."""
        if not searched.solutions:
            tally.drop("no_solution")
            return None
        found = distinct(valued(solutions(searched, self.value), tally), tally)
        if len(found) < self.least:
            tally.drop("too_few")
            return None
        upper, lower = found[: len(found) // 2], found[-(len(found) // 2) :]
        pairs: list[tuple[float, Candidate]] = []
        for chosen in upper:
            for rejected in lower:
                if chosen.value == rejected.value:
                    tally.drop("tie")
                    continue
                doubt = self._doubt(searched.problem.id, chosen, rejected)
                smoothing = 0.5 * doubt / math.log(2)
                pairs.append((1 - doubt, whole(searched, chosen, rejected, smoothing)))
        drawn = _drawn(pairs, derive(self.seed, self.name, searched.problem.id))
        return self.tree(searched, pairs=self.pairs(searched, drawn, tally, ordered=True))

    def _doubt(self, problem: str, chosen: Solution, rejected: Solution) -> float:
        doubt = 0.0 if self.uncertainty is None else self.uncertainty(problem, chosen.text, rejected.text)
        require("uncertainty", doubt, 0 <= doubt <= math.log(2) + 1e-6, "in [0, log 2]")
        return doubt


def _drawn(pairs: Sequence[tuple[float, Candidate]], seed: int) -> list[Candidate]:
    """All candidates in a random order in which larger weights tend to come first.

    Keys ``log(u) / w`` sort a weighted draw without replacement (Efraimidis and Spirakis 2006).
    """
    generator = random.Random(seed)
    keys = [(math.log(1 - generator.random()) / weight, one) for weight, one in pairs]
    return [one for _, one in sorted(keys, key=lambda entry: -entry[0])]
