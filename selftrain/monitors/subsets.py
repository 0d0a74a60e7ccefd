"""B-STaR's Pass@K-S and Reward@K-S as exact averages over all K of N samples.

Contract: both are the mean over the C(N, K) subsets, so that they are unbiased for K independent samples and
no luck of drawing is in them. `UsageError` unless 1 <= S <= K <= N.

- Pass@K-S: at least S *different* right solutions are among K samples. S = 1 is pass@K, 1 - C(N - c, K) /
  C(N, K) (Chen et al. 2021, arXiv 2107.03374).
- Reward@K-S: the S of highest reward among K samples are all right. S = 1 is best-of-K.

Source: Zeng et al., arXiv 2412.17256, section 2.2, where both are taken from one draw of K.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from itertools import groupby

from tasks.errors import UsageError


def pass_at_k_s(right: Sequence[Hashable], samples: int, k: int, s: int) -> float:
    """The chance of at least `s` different right solutions among `k` of `samples`.

    `right` names the right solutions, equal ones by equal names; the others of `samples` are wrong.
    """
    if len(right) > samples:
        raise UsageError(f"{len(right)} right solutions are more than all {samples} samples")
    _check(samples, k, s)
    sizes: dict[Hashable, int] = {}
    for name in right:
        sizes[name] = sizes.get(name, 0) + 1
    # ways[d][t]: choices of t right samples of exactly d different solutions, s standing for s or more.
    ways = [[0] * (k + 1) for _ in range(s + 1)]
    ways[0][0] = 1
    for size in sizes.values():
        more = [list(row) for row in ways]
        for different in range(s + 1):
            for taken, count in enumerate(ways[different]):
                for drawn in range(1, min(size, k - taken) + 1 if count else 0):
                    more[min(s, different + 1)][taken + drawn] += count * math.comb(size, drawn)
        ways = more
    wrong = samples - len(right)
    good = sum(count * math.comb(wrong, k - taken) for taken, count in enumerate(ways[s]))
    return good / math.comb(samples, k)


def reward_at_k_s(rewards: Sequence[float], right: Sequence[bool], k: int, s: int) -> float:
    """The chance that the `s` of highest reward among `k` samples are all right.

    Samples of equal reward are in any order with equal chances.
    """
    if len(rewards) != len(right):
        raise UsageError(f"{len(rewards)} rewards but {len(right)} grades")
    _check(len(right), k, s)
    ranked = sorted(zip(rewards, right, strict=True), key=lambda one: -one[0])
    total, above, good_above = 0.0, 0, 0
    for _, members in groupby(ranked, key=lambda one: one[0]):
        grades = [grade for _, grade in members]
        below = len(ranked) - above - len(grades)
        total += _ending_here(grades, good_above, below, k, s)
        above, good_above = above + len(grades), good_above + sum(grades)
    return total / math.comb(len(right), k)


def _ending_here(grades: Sequence[bool], good_above: int, below: int, k: int, s: int) -> float:
    """Subsets in which the s-th best is one of a group of equals, and the s best are right.

    Of those above the group only right ones may be in the subset, and fewer than s.
    """
    good, total = sum(grades), 0.0
    for before in range(min(s - 1, good_above, k) + 1):
        wanted = s - before
        for drawn in range(wanted, min(len(grades), k - before) + 1):
            rest = math.comb(good_above, before) * math.comb(below, k - before - drawn)
            for right in range(wanted, min(good, drawn) + 1) if rest else ():
                chosen = math.comb(good, right) * math.comb(len(grades) - good, drawn - right)
                total += rest * chosen * math.comb(right, wanted) / math.comb(drawn, wanted)
    return total


def _check(samples: int, k: int, s: int) -> None:
    if not 1 <= s <= k <= samples:
        raise UsageError(f"1 <= s <= k <= samples must hold, got s={s}, k={k} and {samples} samples")
