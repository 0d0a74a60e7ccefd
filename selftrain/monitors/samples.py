"""Graded solutions of one problem as monitors see them, and the reward that they are ranked and selected by.

Contract: a `Query` is the graded solutions of one problem, in the order of the search. `samples_of` reads
them off graded trees; solutions without a grade are left out, and so are problems without any.

`reward` is B-STaR's (arXiv 2412.17256, equations 1 and 2): `answer` is 1 for a right solution and else 0;
`answer+score` adds `weight` times the value source's score; `score` is the score alone. Their PRM score is
the least of a solution's steps, divided by 5 in their code (`weight` 0.2); here it is the value of the last
step, whatever the value source aggregates it from. A solution without a score has none to add, and under
`score` no reward.

Solutions of a tree share their beginnings and a search prefers some of them: what is unbiased for independent
samples (best-of-n) describes the search otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from selftrain.data.searched import Searched

RewardRule = Literal["answer", "answer+score", "score"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A graded solution; `answer` is its canonical answer, `score` what a value source gave it."""

    text: str
    right: bool
    answer: str | None = None
    score: float | None = None


Query = Sequence[Sample]


def samples_of(searched: Sequence[Searched]) -> list[list[Sample]]:
    """The graded solutions of each problem, of all its trees; problems in the order of their first tree."""
    found: dict[str, list[Sample]] = {}
    for one in searched:
        for node in one.solutions:
            right = one.correct[node]
            if right is not None:
                found.setdefault(one.problem.id, []).append(
                    Sample(
                        text="".join(one.texts[each] for each in one.tree.path(node)[1:]),
                        right=right,
                        answer=one.answers[node],
                        score=one.values[node],
                    )
                )
    return list(found.values())


def reward(sample: Sample, rule: RewardRule, *, weight: float = 1.0) -> float | None:
    """The reward of a sample under a rule; see the module."""
    if rule == "score":
        return sample.score
    bonus = weight * sample.score if rule == "answer+score" and sample.score is not None else 0.0
    return float(sample.right) + bonus
