"""Pairs of sibling steps by a mixture of what the search backed up and what a critic thinks.

``Q(h, a) = alpha Q_search(h, a) + (1 - alpha) Q_critic(h, a)``

Every two children of a state with ``|Q_w - Q_l| > theta`` are a pair. `Q_search` is the backed-up value; a
child without visits has ``Q = Q_critic``. `Q_critic` is the value source's score (`critic` = value) or the
score of its rank among its siblings, ``1 / (1 + r)`` with r = 0 for the best and equal scores sharing the
better rank (`critic` = rank). With alpha 1 only the search counts, with alpha 0 only the critic.

Contract: the pairs of a larger theta are among those of a smaller one. A child for which a part is missing
(no critic's score with alpha < 1, no visit with alpha 1) takes part in nothing.

Source: Agent Q (Putta et al., arXiv 2408.07199, section 4 and algorithm 1); alpha 0.5. The scores of ranks
are those of its open re-implementation. Its loss takes the log-probs stored when the steps were written,
which stay in the tree (`selftrain.losses.off_policy_dpo`).

Deviation: the paper's critic ranks by picking the best of the remaining candidates again and again; here it
is any value source, and what it says of all children at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar, Literal

from selftrain.builders.base import Tally, require
from selftrain.builders.pairing import ROUNDING, Candidate, PairBuilder, best_children
from selftrain.data.record import TrainingTree
from selftrain.data.searched import Searched


@dataclass(frozen=True, kw_only=True)
class AgentQ(PairBuilder):
    """Siblings whose mixed values differ by more than `theta` (Agent Q, arXiv 2408.07199)."""

    name: ClassVar[str] = "agent-q"

    alpha: float = 0.5
    theta: float = 0.1
    critic: Literal["value", "rank"] = "value"

    def __post_init__(self) -> None:
        super().__post_init__()
        require("alpha", self.alpha, 0 <= self.alpha <= 1, "in [0, 1]")
        require("theta", self.theta, self.theta >= 0, "at least 0")

    def build(self, searched: Searched, tally: Tally) -> TrainingTree | None:
        """See the module."""
        found = list(self._candidates(searched, tally))
        return self.tree(searched, pairs=self.pairs(searched, found, tally))

    def mixed(self, searched: Searched, children: Sequence[int]) -> dict[int, float | None]:
        """Q of the children of one state; None where a part that counts is missing."""
        critic = self._critic(searched, children)
        found: dict[int, float | None] = {}
        for node in children:
            said, seen = critic[node], searched.visits[node] > 0
            if self.alpha == 1:
                found[node] = searched.q[node] if seen else None
            elif said is None or not seen:
                found[node] = said
            else:
                found[node] = self.alpha * searched.q[node] + (1 - self.alpha) * said
        return found

    def _critic(self, searched: Searched, children: Sequence[int]) -> dict[int, float | None]:
        scores = {node: searched.values[node] for node in children}
        if self.critic == "value":
            return scores
        ranked = sorted((score for score in scores.values() if score is not None), reverse=True)
        return {
            node: None if score is None else 1 / (1 + ranked.index(score)) for node, score in scores.items()
        }

    def _candidates(self, searched: Searched, tally: Tally) -> Iterator[Candidate]:
        for state, children in enumerate(searched.tree.children()):
            mixed = self.mixed(searched, children)
            known = [(node, value) for node, value in mixed.items() if value is not None]
            tally.drop("no_value", len(mixed) - len(known))
            for (better, high), (worse, low) in combinations(
                best_children(searched, known, "worth", tally), 2
            ):
                if searched.texts[better] == searched.texts[worse]:
                    tally.drop("duplicate")
                elif high == low:
                    tally.drop("tie")
                elif not high - low > self.theta + ROUNDING:
                    tally.drop("gap")
                else:
                    yield Candidate(above=state, chosen=better, rejected=worse, q_chosen=high, q_rejected=low)
