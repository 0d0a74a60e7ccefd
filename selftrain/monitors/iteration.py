"""All monitors of one iteration in one flat dict, for a run's log.

Contract: pure; the figures depend on the trees alone, in any order, and decide nothing. Names are
``GROUP.NAME``: ``samples`` (diversity), ``explore``, ``balance``, ``shape``, ``drift``, ``depth``,
``logprob``; a figure that nothing can be said about is absent. All are finite, so that JSON holds them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from selftrain.data.record import TrainingTree
from selftrain.data.searched import Searched
from selftrain.monitors.balance import balance_score
from selftrain.monitors.depth import value_by_depth
from selftrain.monitors.drift import drift, shape
from selftrain.monitors.exploration import diversity, exploration
from selftrain.monitors.logprobs import chosen_logprobs
from selftrain.monitors.samples import RewardRule, samples_of
from tasks.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class MonitorSettings:
    """How an iteration is watched; see `docs/selftrain-monitors.md`."""

    ks: tuple[int, ...] = (1, 4, 16)
    """K of pass@K and best-of-K."""
    s: int = 4
    """S of Pass@K-S and Reward@K-S, taken where K > S > 1."""
    rule: RewardRule = "answer+score"
    """The reward that selects samples for the balance score; exploitation ranks by the score alone."""
    weight: float = 1.0
    """How much the score counts in `answer+score`."""
    threshold: float = 0.0
    """Samples whose reward is above it are selected."""
    wanted: int = 8
    """n*: different right samples of a problem that are enough."""
    deepest: int = 8
    """The depth that stands for all deeper ones."""
    logprob_tokens: int = 32768
    """Tokens of training trees that a run reads again under the trained model; 0 for none."""

    def __post_init__(self) -> None:
        if not self.ks or min(self.ks) < 1:
            raise UsageError(f"ks must be one or more numbers of at least 1, got {self.ks}")
        for name in ("s", "wanted", "deepest"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.logprob_tokens < 0:
            raise UsageError(f"logprob_tokens must be at least 0, got {self.logprob_tokens}")
        if self.rule not in ("answer", "answer+score", "score"):
            raise UsageError(f"rule must be answer, answer+score or score, got {self.rule!r}")


def iteration_monitors(
    searched: Sequence[Searched],
    first: Sequence[Searched] = (),
    *,
    trees: Sequence[TrainingTree] = (),
    after: Sequence[Sequence[float]] | None = None,
    settings: MonitorSettings | None = None,
) -> dict[str, float]:
    """The monitors of an iteration.

    `searched` are its graded trees, `first` those of the first iteration (empty in it: no drift), `trees` its
    training data, `after` the log-probs of their nodes under the trained model.
    """
    chosen = settings or MonitorSettings()
    queries = samples_of(searched)
    groups: dict[str, dict[str, float]] = {
        "samples": diversity(queries),
        "explore": exploration(queries, ks=chosen.ks, s=chosen.s),
        "shape": shape(searched),
        "depth": value_by_depth(searched, deepest=chosen.deepest),
        "logprob": chosen_logprobs(trees, after),
    }
    if first:
        groups["drift"] = drift(searched, first)
    if queries:
        scores = balance_score(
            queries, [chosen.threshold], wanted=chosen.wanted, rule=chosen.rule, weight=chosen.weight
        )
        groups["balance"] = {"score": scores[chosen.threshold]}
    return {f"{group}.{name}": figure for group, found in groups.items() for name, figure in found.items()}
