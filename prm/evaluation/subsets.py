"""Exact expectations over the subsets of size n of m samples: what n samples would have given, without luck.

Contract: all functions are exact averages over the C(m, n) subsets, or for `weighted_majority`, where there
are more than `MAX_SUBSETS`, over the m windows of n neighbouring samples (cyclic); every window is n
independent samples, so that this too is unbiased. Ties are broken at random, and the average over that is
exact as well. Nothing draws a random number. `n` outside of [1, m] is `UsageError`.

- `weights(m, n)[i]`: the chance that the (i + 1)-th smallest of m distinct scores is the largest of the
  subset, C(i, n - 1) / C(m, n) (Coste et al. 2023, arXiv 2310.02743, section 3; Nakano et al. 2021).
- `best_of_n`: the mean gold of the sample of largest score.
- `pass_at_n`: 1 - C(m - c, n) / C(m, n) (Chen et al. 2021, arXiv 2107.03374).
- `majority`: the chance that a right answer wins a plurality vote.
- `weighted_majority`: the same with each sample's vote weighing its score.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from itertools import combinations

from tasks.errors import UsageError

MAX_SUBSETS = 500
_MOST = 1_000


def weights(m: int, n: int) -> list[float]:
    """For each rank, smallest first, the chance to be the largest of n out of m; they sum to 1."""
    _check(m, n)
    whole = math.comb(m, n)
    return [math.comb(index, n - 1) / whole for index in range(m)]


def best_of_n(scores: Sequence[float], gold: Sequence[float], n: int) -> float:
    """Mean `gold` of the sample of largest score among n; samples with equal scores are equally likely."""
    _same_length(scores, gold)
    chances = weights(len(scores), n)
    order = sorted(range(len(scores)), key=lambda index: scores[index])
    total, start = 0.0, 0
    while start < len(order):
        end = start
        while end < len(order) and scores[order[end]] == scores[order[start]]:
            end += 1
        mean = sum(gold[index] for index in order[start:end]) / (end - start)
        total += mean * sum(chances[start:end])
        start = end
    return total


def pass_at_n(right: Sequence[bool], n: int) -> float:
    """The chance that n samples hold a right one."""
    _check(len(right), n)
    return 1 - math.comb(len(right) - sum(right), n) / math.comb(len(right), n)


def majority(answers: Sequence[Hashable | None], right: Sequence[bool], n: int) -> float:
    """The chance that a right answer has the most votes of n samples.

    Samples with equal `answers` vote together; None does not vote, and without any vote nothing is right.
    Where the samples of one answer are not all right or all wrong, it counts by its share of right ones.
    """
    _same_length(answers, right)
    _check(len(answers), n)
    sizes = Counter(answer for answer in answers if answer is not None)
    silent = len(answers) - sizes.total()
    total = 0.0
    for answer, share in _shares(answers, right).items():
        if share > 0:
            total += share * _wins(sizes[answer], [sizes[o] for o in sizes if o != answer], silent, n)
    return total


def weighted_majority(
    answers: Sequence[Hashable | None], right: Sequence[bool], scores: Sequence[float], n: int
) -> float:
    """The chance that a right answer has the largest sum of scores among n samples; see `majority`.

    Scores below 0 weigh 0; where all weigh 0 the votes are counted instead.
    """
    _same_length(answers, right)
    _same_length(answers, scores)
    _check(len(answers), n)
    shares = _shares(answers, right)
    total, count = 0.0, 0
    for subset in _subsets(len(answers), n):
        total += _vote(subset, answers, scores, shares)
        count += 1
    return total / count


def is_exact(m: int, n: int) -> bool:
    """Whether `weighted_majority` goes through all subsets of n out of m."""
    return math.comb(m, n) <= MAX_SUBSETS


def _subsets(m: int, n: int) -> Iterator[Sequence[int]]:
    if is_exact(m, n):
        yield from combinations(range(m), n)
    else:
        yield from ([(start + step) % m for step in range(n)] for start in range(m))


def _vote(
    subset: Sequence[int],
    answers: Sequence[Hashable | None],
    scores: Sequence[float],
    shares: dict[Hashable, float],
) -> float:
    sums: dict[Hashable, float] = {}
    votes: Counter[Hashable] = Counter()
    for index in subset:
        answer = answers[index]
        if answer is not None:
            sums[answer] = sums.get(answer, 0.0) + max(0.0, scores[index])
            votes[answer] += 1
    if not votes:
        return 0.0
    found = sums if max(sums.values()) > 0 else {answer: float(count) for answer, count in votes.items()}
    most = max(found.values())
    winners = [answer for answer, weight in found.items() if weight == most]
    return sum(shares[answer] for answer in winners) / len(winners)


def _shares(answers: Sequence[Hashable | None], right: Sequence[bool]) -> dict[Hashable, float]:
    count: Counter[Hashable] = Counter()
    good: Counter[Hashable] = Counter()
    for answer, is_right in zip(answers, right, strict=True):
        if answer is not None:
            count[answer] += 1
            good[answer] += is_right
    return {answer: good[answer] / count[answer] for answer in count}


def _wins(own: int, others: Sequence[int], silent: int, n: int) -> float:
    """The chance that an answer with `own` samples wins, or is drawn among those that share first place.

    For k votes of its own: the others have fewer than k votes each, or k with a tie. Their counts are
    coefficients of a polynomial in x, the ties of one in y; answers that can not reach k are one factor.
    """
    whole = math.comb(own + sum(others) + silent, n)
    total = 0.0
    for k in range(1, min(own, n) + 1):
        rivals = [size for size in others if size >= k]
        rest = sum(size for size in others if size < k) + silent
        left = n - k
        ways = [[math.comb(rest, used) for used in range(left + 1)]]
        for size in rivals:
            ways = _add_rival(ways, size, k, left)
        favourable = sum(row[left] / (ties + 1) for ties, row in enumerate(ways))
        total += math.comb(own, k) * favourable / whole
    return total


def _add_rival(ways: list[list[int]], size: int, k: int, left: int) -> list[list[int]]:
    """`ways[ties][used]` with one more rival that has fewer than k votes, or k and is one more tie."""
    grown = [[0] * (left + 1) for _ in range(len(ways) + (len(ways) * k <= left))]
    fewer = [math.comb(size, votes) for votes in range(min(k, left + 1))]
    equal = math.comb(size, k)
    for ties, row in enumerate(ways):
        for used, count in enumerate(row):
            if not count:
                continue
            for votes, choices in enumerate(fewer[: left + 1 - used]):
                grown[ties][used + votes] += count * choices
            if used + k <= left:
                grown[ties + 1][used + k] += count * equal
    return grown


def _check(m: int, n: int) -> None:
    if not 1 <= n <= m:
        raise UsageError(f"n must be from 1 to the number of samples, {m}, got {n}")
    if m > _MOST:
        raise UsageError(f"at most {_MOST} samples a problem, got {m}; use the first {_MOST}")


def _same_length(first: Sequence[object], second: Sequence[object]) -> None:
    if len(first) != len(second):
        raise UsageError(f"lists of {len(first)} and {len(second)} samples; they must be of the same length")
