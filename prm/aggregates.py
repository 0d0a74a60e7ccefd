"""Aggregates: from the scores of a solution's steps to one number for the solution.

Contract: `aggregate` is a pure function of the scores, in their order; a higher number is a better solution.
`min`, `mean`, `last` and `max` take any finite scores. `product` and `geometric_mean` take scores of at least
0, `mean_logit` scores in [0, 1]; `applicable` says which fit a set of scores, so that scores outside of
[0, 1] (implicit rewards) are reported under the others. No scores is an error, never a number.

At the edges: with a score of 0, product and geometric mean are exactly 0, and the mean logit is -inf, also
beside a score of 1; with a score of 1 and none of 0 the mean logit is +inf. A product of many small scores
can underflow to 0 (below 1e-308); the geometric mean, which is calculated by logarithms, does not.

Nothing here chooses an aggregate: which one ranks best differs by model, so reports show all of them, and
one is picked on held-out data only (`prm.evaluation`). The set is that of RewardMATH (arXiv 2410.01729,
section 4) without the mean odds.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from tasks.errors import UsageError, unknown_name


class Aggregate(enum.StrEnum):
    """How the scores of a solution's steps become one number."""

    MIN = "min"
    """The smallest: one bad step spoils the solution (Math-Shepherd, arXiv 2312.08935)."""
    PRODUCT = "product"
    """The probability that every step is right, if they were independent (arXiv 2305.20050)."""
    GEOMETRIC_MEAN = "geometric_mean"
    """The product's n-th root: the product without its preference for short solutions."""
    MEAN = "mean"
    MEAN_LOGIT = "mean_logit"
    """The mean of log(p / (1 - p)); unbounded."""
    LAST = "last"
    """The last step's: the value of the whole solution, for models trained on Monte-Carlo labels."""
    MAX = "max"


def aggregate(scores: Sequence[float], how: Aggregate | str) -> float:
    """The number for a solution whose steps have `scores` (at least one).

    Raises `UsageError` for no scores, for a score that is not finite or outside of the aggregate's domain,
    and for an unknown name.
    """
    if how not in _FUNCTIONS:  # names of the members are equal to them
        raise unknown_name("aggregate", how, [each.value for each in Aggregate])
    if not scores:
        raise UsageError(f"no step scores to take the {how} of: a solution needs at least one step")
    low, high = _DOMAINS.get(Aggregate(how), (-math.inf, math.inf))
    for score in scores:
        if not (math.isfinite(score) and low <= score <= high):
            raise UsageError(
                f"the {how} takes finite scores in [{low:g}, {high:g}], got {score!r}; "
                "use min, mean, last or max for other scores"
            )
    return _FUNCTIONS[Aggregate(how)](scores)


def applicable(solutions: Iterable[Sequence[float]]) -> tuple[Aggregate, ...]:
    """The aggregates in whose domain every score of every solution is, in the order of `Aggregate`."""
    low, high = math.inf, -math.inf
    for scores in solutions:
        if scores:
            low, high = min(low, min(scores)), max(high, max(scores))
    return tuple(
        how
        for how in Aggregate
        if how not in _DOMAINS or (_DOMAINS[how][0] <= low and high <= _DOMAINS[how][1])
    )


def _mean(scores: Sequence[float]) -> float:
    return math.fsum(scores) / len(scores)


def _geometric_mean(scores: Sequence[float]) -> float:
    if min(scores) == 0:
        return 0.0
    return math.exp(math.fsum(math.log(score) for score in scores) / len(scores))


def _mean_logit(scores: Sequence[float]) -> float:
    if min(scores) == 0:
        return -math.inf
    if max(scores) == 1:
        return math.inf
    return math.fsum(math.log(score) - math.log1p(-score) for score in scores) / len(scores)


_DOMAINS: Mapping[Aggregate, tuple[float, float]] = {
    Aggregate.PRODUCT: (0.0, math.inf),
    Aggregate.GEOMETRIC_MEAN: (0.0, math.inf),
    Aggregate.MEAN_LOGIT: (0.0, 1.0),
}
_FUNCTIONS: Mapping[Aggregate, Callable[[Sequence[float]], float]] = {
    Aggregate.MIN: min,
    Aggregate.PRODUCT: math.prod,
    Aggregate.GEOMETRIC_MEAN: _geometric_mean,
    Aggregate.MEAN: _mean,
    Aggregate.MEAN_LOGIT: _mean_logit,
    Aggregate.LAST: lambda scores: scores[-1],
    Aggregate.MAX: max,
}
