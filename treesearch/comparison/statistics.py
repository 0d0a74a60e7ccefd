"""Intervals and tests for methods that solved the same problems, with several seeds each.

Problems are the units: seeds of one problem are no independent evidence of how a method does on other
problems, so they are averaged within it first. Everything here is exact or in closed form; nothing draws a
random number. With one seed the formulas are the textbook ones for paired proportions.

It does not correct for choosing settings on the problems that are reported.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from treesearch.run.summary import wilson_interval

Z95 = 1.959963984540054


def mean_interval(means: Sequence[float], *, per_problem: int = 1) -> tuple[float, float]:
    """95 % interval of the mean of per-problem means in [0, 1], of `per_problem` trials each.

    Wilson's score interval (Wilson 1927) at the effective sample size p (1 - p) / (s^2 / n), s^2 the
    variance of the n means: the usual way to adapt it to clustered samples (Franco, Little, Louis and Slud
    2019). With one trial a problem it is Wilson's interval. The effective size is at most that of
    independent trials, and n where the variance says nothing (p is 0 or 1). (0, 1) without a problem.
    """
    n = len(means)
    if n == 0:
        return 0.0, 1.0
    p = sum(means) / n
    if p <= 0 or p >= 1:
        return wilson_interval(p * n, n)
    variance = sum((mean - p) ** 2 for mean in means) / n
    most = n * per_problem
    size = min(most, n * p * (1 - p) / variance) if variance > 0 else most
    return wilson_interval(p * size, size)


def difference_interval(differences: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the mean of paired differences in [-1, 1].

    Bonett and Price 2012 (recommended by Fagerland, Lydersen and Laake 2014): Wald's interval after one
    problem of difference +1 and one of -1 are added. So it has a width where no problem differs, and is
    within [-1, 1]. With differences of -1, 0 and 1 it is exactly theirs. (-1, 1) without a problem.
    """
    if not differences:
        return -1.0, 1.0
    n = len(differences) + 2
    mean = sum(differences) / n
    square = (sum(d * d for d in differences) + 2) / n
    half = Z95 * math.sqrt((square - mean * mean) / n)
    return max(-1.0, mean - half), min(1.0, mean + half)


def paired_p(differences: Sequence[int]) -> float:
    """Two-sided p that paired differences have no direction: the exact sign-flip test of their sum.

    Under the null every difference is as likely to have the other sign. The distribution of the sum over all
    2^n flips is computed whole, by adding one problem after another. `differences` are whole numbers: of
    right answers, over the same number of seeds for every problem. With one seed, so of -1, 0 and 1, this is
    McNemar's exact test. 1 where no problem differs.
    """
    sizes = [abs(difference) for difference in differences if difference]
    reach = sum(sizes)
    chances = np.zeros(2 * reach + 1)
    chances[reach] = 1.0
    for size in sizes:
        chances = (np.roll(chances, size) + np.roll(chances, -size)) / 2
    seen = abs(sum(differences))
    low, high = chances[: reach - seen + 1].sum(), chances[reach + seen :].sum()
    return min(1.0, float(low + high)) if seen else 1.0


def holm(ps: Sequence[float]) -> list[float]:
    """p values adjusted for testing them together (Holm 1979), in the order given.

    The smallest is multiplied by their number m, the next by m - 1, and so on; none is below a smaller one.
    """
    order = sorted(range(len(ps)), key=lambda index: ps[index])
    adjusted = [0.0] * len(ps)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[index]))
        adjusted[index] = largest
    return adjusted
