"""When a vote among samples is decided: the stopping rules of adaptive self-consistency, as pure functions.

A vote is the canonical form of a sample's answer, None for a sample without one: it counts for nobody.

- `beta` (Aggarwal et al. 2023, arXiv 2305.11860, section 3): with v1 votes for the leading answer and v2 for
  the runner-up, the posterior of the leader's share among these two is Beta(v1 + 1, v2 + 1); decided where
  its mass above one half reaches the threshold.
- `dirichlet` (ibid.): the shares of all m answers seen have the posterior Dirichlet(v1 + 1, ..., vm + 1);
  decided where the probability that the leader's share is the largest reaches the threshold. With fewer than
  three answers it is `beta`. The authors' code integrates over the five most frequent answers with random
  points; here it is all answers and one integral.
- `window` (early-stopping self-consistency; Li et al. 2024, arXiv 2401.10480): decided where all answers of
  one window of `window` samples, counted from the first one, are the same.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

RuleName = Literal["beta", "dirichlet", "window"]
_POINTS = 512
"""Of the integral: its error is below 1e-9 for up to some hundred votes."""


def beta_posterior(first: int, second: int) -> float:
    """P(p > 1/2) for p ~ Beta(first + 1, second + 1), exactly.

    It is P(X <= first) for X ~ Binomial(first + second + 1, 1/2).
    """
    n = first + second + 1
    return sum(math.comb(n, k) for k in range(first + 1)) / 2**n


def dirichlet_posterior(counts: Sequence[int]) -> float:
    """P(p_1 is the largest) for p ~ Dirichlet(counts + 1), the first count being the leader's.

    The shares are independent Gamma(count + 1) variables over their sum, so it is the integral of the
    leader's density times the others' distribution functions. Needs three counts or more, none below 1.
    """
    lead, *others = [count + 1 for count in counts]
    most = lead + 12 * math.sqrt(lead) + 30
    times = Counter(others)
    total = 0.0
    for point in range(1, _POINTS):
        x = most * point / _POINTS
        density = math.exp((lead - 1) * math.log(x) - x - math.lgamma(lead))
        for shape, repeats in times.items():
            density *= _gamma_below(shape, x) ** repeats
        total += density
    return min(1.0, total * most / _POINTS)


def _gamma_below(shape: int, x: float) -> float:
    """P(Gamma(shape) <= x) for a whole `shape`."""
    term = total = 1.0
    for k in range(1, shape):
        term *= x / k
        total += term
    return max(0.0, 1.0 - math.exp(-x) * total)


@dataclass(frozen=True, kw_only=True)
class VoteStop:
    """A rule by name with its settings: `threshold` in [0, 1) of the posteriors, `window` samples."""

    rule: RuleName
    threshold: float
    window: int

    def decided(self, votes: Sequence[str | None]) -> bool:
        """Whether the votes so far, in the order of sampling, decide."""
        if self.rule == "window":
            return any(_agree(votes[end - self.window : end]) for end in self._ends(votes))
        counts = [count for _, count in Counter(vote for vote in votes if vote is not None).most_common()]
        return bool(counts) and self._posterior(counts) >= self.threshold

    def could_decide(self, votes: Sequence[str | None], more: int) -> bool:
        """Whether `more` further votes, at best, would decide."""
        counts = Counter(vote for vote in votes if vote is not None)
        leader = counts.most_common(1)[0][0] if counts else ""
        last = votes[-1] if votes else None
        hoped = (last or "") if self.rule == "window" else leader
        return self.decided([*votes, *[hoped] * more])

    def _posterior(self, counts: Sequence[int]) -> float:
        if self.rule == "beta" or len(counts) < 3:
            return beta_posterior(counts[0], counts[1] if len(counts) > 1 else 0)
        return dirichlet_posterior(counts)

    def _ends(self, votes: Sequence[str | None]) -> range:
        return range(self.window, len(votes) + 1, self.window)


def _agree(votes: Sequence[str | None]) -> bool:
    """Whether all are the same answer."""
    return votes[0] is not None and all(vote == votes[0] for vote in votes)
