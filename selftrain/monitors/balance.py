"""B-STaR's balance score, and the temperature and threshold that make it largest.

Of query i, n_i samples are selected, those whose reward is above the threshold; n'_i of them are right and
different from each other; n* is how many are enough (Zeng et al., arXiv 2412.17256, equation 3):

    bs_i = min(n'_i / n*, 1) * n'_i / n_i          (0 where n_i is 0)

Its mean over queries is in [0, 1], and 1 where every query has at least n* selected samples, all right and
different. Duplicates lower it. `wanted_samples` is the paper's n* = ceil(N / M) for N samples to be learned
from M queries; their code has 8.

`choose_configuration` goes through the whole grid, as the paper's Algorithm 1 does on 600 queries.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from selftrain.monitors.samples import Query, RewardRule, reward
from tasks.errors import UsageError

TEMPERATURES = tuple(round(0.5 + 0.05 * step, 2) for step in range(15))
"""0.5 to 1.2 by 0.05, the grid of B-STaR's code."""
THRESHOLDS = tuple(round(-1 + 0.01 * step, 2) for step in range(201))
"""-1 to 1 by 0.01, the grid of B-STaR's code."""


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """The choice, its balance score, and the score of every temperature under every threshold."""

    temperature: float
    threshold: float
    score: float
    scores: Mapping[float, Mapping[float, float]]


def balance(selected: int, unique_right: int, wanted: int) -> float:
    """bs_i of one query; see the module. `UsageError` for counts that cannot be."""
    if wanted < 1:
        raise UsageError(f"wanted must be at least 1, got {wanted}")
    if not 0 <= unique_right <= selected:
        raise UsageError(f"{unique_right} different right samples among {selected} selected cannot be")
    return min(unique_right / wanted, 1.0) * unique_right / selected if selected else 0.0


def wanted_samples(samples: int, queries: int) -> int:
    """n* = ceil(samples / queries): how many samples of a query are to be learned from."""
    if samples < 1 or queries < 1:
        raise UsageError(f"samples and queries must be at least 1, got {samples} and {queries}")
    return -(-samples // queries)


def balance_score(
    queries: Sequence[Query],
    thresholds: Sequence[float],
    *,
    wanted: int = 8,
    rule: RewardRule = "answer+score",
    weight: float = 1.0,
) -> dict[float, float]:
    """The mean balance score under every threshold. Samples without a reward are never selected.

    `UsageError` without a query or a threshold: there is nothing to be said then.
    """
    if not queries or not thresholds:
        raise UsageError("a balance score needs at least one query and one threshold")
    falling = sorted(set(thresholds), reverse=True)
    scores: dict[float, list[float]] = {threshold: [] for threshold in falling}
    for query in queries:
        ranked = [(worth, one) for one in query if (worth := reward(one, rule, weight=weight)) is not None]
        ranked.sort(key=lambda entry: -entry[0])
        taken, different = 0, set[str]()
        for threshold in falling:
            while taken < len(ranked) and ranked[taken][0] > threshold:
                different.update([ranked[taken][1].text] if ranked[taken][1].right else [])
                taken += 1
            scores[threshold].append(balance(taken, len(different), wanted))
    return {threshold: math.fsum(scores[threshold]) / len(queries) for threshold in sorted(falling)}


def choose_configuration(
    sampled: Mapping[float, Sequence[Query]],
    thresholds: Sequence[float] = THRESHOLDS,
    *,
    wanted: int = 8,
    rule: RewardRule = "answer+score",
    weight: float = 1.0,
) -> Configuration:
    """The temperature and threshold of the highest balance score; of equals the lowest, temperature first.

    `sampled` holds the queries by the temperature they were sampled at. `UsageError` where it is empty.
    """
    if not sampled:
        raise UsageError("no temperature was sampled; give the queries of at least one")
    scores = {
        temperature: balance_score(sampled[temperature], thresholds, wanted=wanted, rule=rule, weight=weight)
        for temperature in sorted(sampled)
    }
    score, temperature, threshold = max(
        ((score, heat, limit) for heat, row in scores.items() for limit, score in row.items()),
        key=lambda entry: entry[0],
    )
    return Configuration(temperature=temperature, threshold=threshold, score=score, scores=scores)
