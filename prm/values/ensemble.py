"""`ensemble`: several value sources as one, by their mean, worst case, mean less spread, or product.

    mean       (1/K) sum_k R_k
    worst      min_k R_k                              (worst-case optimisation, WCO)
    uncertain  mean_k R_k - uncertainty * Var_k R_k    (uncertainty-weighted optimisation, UWO)
    product    prod_k R_k                              (each in [0, 1] and about something else)

Var is the population variance (divided by K, ddof 0) everywhere; public code of the paper mixes it with the
sample variance. With members that agree the first three are equal.

`members` names the values and their settings: ``prm:prm=FOLDER_A;prm:prm=FOLDER_B,aggregate=min``. Members
are parted by ``;``, settings by ``,``, and a backslash before one of these characters makes it part of a
value.

Contract: that of `treesearch.values.base`. Costs add up. Members run side by side where the grant covers all
of them, else one after another in their order with what is left. A member without an opinion of a path
(None) is left out of it with `missing=skip`, and makes the whole None with `missing=none`; without any
opinion the value is None. Members are settled one by one when the score enters the tree, so that votes among
roll-outs keep their meaning. An oracle if any member is. It has no gate: a combined value proves nothing.

It does not bring members to one scale: use members of one range. `uncertain` may fall below 0. With
`missing=skip` a member that has an opinion of some paths only, such as `last-step`, takes part in the product
of these alone.

Source: Coste et al., Reward Model Ensembles Help Mitigate Overoptimization (arXiv 2310.02743), section 3;
their lambda is 0.5 for best-of-n. The product is not theirs.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from prm.values.members import open_members
from tasks.base import Problem
from tasks.errors import UsageError, unknown_name
from treesearch.budget import Cost, Usage
from treesearch.events import Step, rounded
from treesearch.policy import Policy
from treesearch.seeds import derive
from treesearch.together import together
from treesearch.tree import Tree
from treesearch.values.base import Path, Score, Scores, Value, is_finished

Combine = Literal["mean", "worst", "uncertain", "product"]
Missing = Literal["skip", "none"]


@dataclass(frozen=True, slots=True)
class MemberScore(Score):
    """An ensemble's score; `members` are those that it is made of."""

    members: tuple[Score, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Ensemble(Value):
    """What settings by name and open members have in common."""

    name: ClassVar[str] = "ensemble"
    combine: Combine = "mean"
    uncertainty: float = 0.5
    missing: Missing = "skip"

    def __post_init__(self) -> None:
        for key, choice in (("combine", Combine), ("missing", Missing)):
            if getattr(self, key) not in get_args(choice):
                raise unknown_name(f"value of value.{key}", getattr(self, key), get_args(choice))
        if not self.uncertainty >= 0:
            raise UsageError(f"value.uncertainty must be at least 0, got {self.uncertainty}")

    @property
    @abstractmethod
    def sources(self) -> tuple[Value, ...]:
        """The members."""

    @property
    def model_hash(self) -> str:
        """Those of the members, joined; empty where none has one."""
        hashes = [source.model_hash for source in self.sources]
        return "+".join(hashes) if any(hashes) else ""

    @property
    def needs_certainty(self) -> bool:
        """Whether any member does."""
        return any(source.needs_certainty for source in self.sources)

    def oracle(self, policy: Policy) -> bool:
        """Whether any member is."""
        return any(source.oracle(policy) for source in self.sources)

    def cost(self, policy: Policy, path: Sequence[Step], n: int, *, finished: bool = False) -> Cost:
        """The sum of the members' costs."""
        costs = [source.cost(policy, path, n, finished=finished) for source in self.sources]
        return Cost(tokens=sum(cost.tokens for cost in costs), calls=sum(cost.calls for cost in costs))

    async def load(self, policy: Policy) -> Value:
        """The ensemble of the loaded members; where one fails, those before it are closed again."""
        ready: list[Value] = []
        try:
            for source in self.sources:
                ready.append(await source.load(policy))
        except BaseException:
            await _close(ready)
            raise
        return OpenEnsemble(
            open_members=tuple(ready),
            combine=self.combine,
            uncertainty=self.uncertainty,
            missing=self.missing,
        )

    async def close(self) -> None:
        """Close every member, also where closing another one fails."""
        await _close(self.sources)

    async def score(
        self, policy: Policy, problem: Problem, paths: Sequence[Path], *, grant: Cost, seed: int, known: int
    ) -> Scores:
        """Score by every member; see the module for how they share the grant."""

        async def ask(index: int, source: Value, part: Cost) -> Scores:
            own = derive(seed, "member", index)
            return await source.score(policy, problem, paths, grant=part, seed=own, known=known)

        parts = self._parts(policy, paths, grant)
        if parts is not None:
            pairs = enumerate(zip(self.sources, parts, strict=True))
            replies = await together([ask(index, source, part) for index, (source, part) in pairs])
        else:
            replies, left = list[Scores](), grant
            for index, source in enumerate(self.sources):
                reply = await ask(index, source, left)
                left = Cost(tokens=left.tokens - reply.usage.tokens, calls=left.calls - reply.usage.calls)
                replies.append(reply)
        by_path = zip(*(reply.scores for reply in replies), strict=True)
        scores = tuple(self._joined(members) for members in by_path)
        return Scores(scores, sum((reply.usage for reply in replies), Usage()))

    def settle(self, tree: Tree, score: Score) -> float | None:
        """The members settled, then combined."""
        if not isinstance(score, MemberScore):
            return score.value
        pairs = zip(self.sources, score.members, strict=True)
        return self.combined([source.settle(tree, member) for source, member in pairs])

    def combined(self, values: Sequence[float | None]) -> float | None:
        """One value of the members' values; see the module."""
        known = [value for value in values if value is not None]
        if not known or (self.missing == "none" and len(known) < len(values)):
            return None
        if self.combine == "worst":
            return rounded(min(known))
        if self.combine == "product":
            return rounded(math.prod(known))
        mean = sum(known) / len(known)
        if self.combine == "mean":
            return rounded(mean)
        variance = sum((value - mean) ** 2 for value in known) / len(known)
        return rounded(mean - self.uncertainty * variance)

    def _joined(self, members: tuple[Score, ...]) -> Score:
        value = self.combined([member.value for member in members])
        rollouts = tuple(rollout for member in members for rollout in member.rollouts)
        return MemberScore(value, rollouts, members)

    def _parts(self, policy: Policy, paths: Sequence[Path], grant: Cost) -> list[Cost] | None:
        """Each member's cost as its own grant, if that can be told and the grant covers all; else None."""
        parent = _parent(paths)
        if parent is None:
            return None
        whole = any(len(path) != len(parent) + 1 for path in paths)
        costs = [source.cost(policy, parent, len(paths), finished=whole) for source in self.sources]
        tokens, calls = sum(cost.tokens for cost in costs), sum(cost.calls for cost in costs)
        return costs if tokens <= grant.tokens and calls <= grant.calls else None


@dataclass(frozen=True, kw_only=True)
class EnsembleValue(_Ensemble):
    """Several value sources as one: mean, worst (WCO), mean less spread (UWO) (arXiv 2310.02743) or product.

    `members` names them (``prm:prm=A;prm:prm=B``); `uncertainty` is lambda of `uncertain`.
    """

    members: str = "logprob;answer-confidence"

    def __post_init__(self) -> None:
        super().__post_init__()
        open_members(self.members)

    @property
    def sources(self) -> tuple[Value, ...]:
        """The members, not loaded."""
        return open_members(self.members)


@dataclass(frozen=True, kw_only=True)
class OpenEnsemble(_Ensemble):
    """An ensemble of the values `open_members`, as they are; what `load` returns, and the way from Python."""

    open_members: tuple[Value, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.open_members:
            raise UsageError("an ensemble needs members, got none")

    @property
    def sources(self) -> tuple[Value, ...]:
        """The members."""
        return self.open_members


def _parent(paths: Sequence[Path]) -> Path | None:
    """What the paths go on from: their longest common beginning that is shorter than each.

    None where some go on by several steps without being finished: the most they cost is not known then.
    """
    if not paths:
        return None
    depth = 0
    shortest = min(len(path) for path in paths) - 1
    while depth < shortest and all(path[depth] == paths[0][depth] for path in paths):
        depth += 1
    several = any(len(path) > depth + 1 for path in paths)
    if shortest < 0 or (several and not all(is_finished(path) for path in paths)):
        return None
    return paths[0][:depth]


async def _close(values: Sequence[Value]) -> None:
    """Close all of them; the first failure is raised at the end."""
    failures: list[Exception] = []
    for value in values:
        try:
            await value.close()
        except Exception as error:  # noqa: BLE001 - the others have to be closed all the same
            failures.append(error)
    if failures:
        raise failures[0]
