"""Values that cost nothing: none, log-probability of path or last step, self-certainty, the verifier."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from tasks.base import Problem, Verdict
from tasks.errors import UsageError
from treesearch.budget import Cost, Usage
from treesearch.events import Step, rounded
from treesearch.policy import Policy, normalised_logprob
from treesearch.values.base import Path, Score, Scores, Value, is_finished


class _StepsValue(Value):
    """Reads what the steps already carry, and costs nothing."""

    def oracle(self, policy: Policy) -> bool:
        """No: only the steps are read."""
        del policy
        return False

    def cost(self, policy: Policy, path: Sequence[Step], n: int, *, finished: bool = False) -> Cost:
        """Nothing."""
        del policy, path, n, finished
        return Cost()


class _FreeValue(_StepsValue):
    """Scores each path by itself, at once."""

    async def score(
        self, policy: Policy, problem: Problem, paths: Sequence[Path], *, grant: Cost, seed: int, known: int
    ) -> Scores:
        """Score every path from its steps."""
        del grant, seed, known
        return Scores(tuple(Score(self.value_of(policy, problem, path)) for path in paths), Usage())

    def value_of(self, policy: Policy, problem: Problem, path: Path) -> float | None:
        """The value of one path."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class NoValue(_FreeValue):
    """No opinion about any path: algorithms fall back to priors and votes."""

    name: ClassVar[str] = "none"

    def value_of(self, policy: Policy, problem: Problem, path: Path) -> float | None:
        """None."""
        del policy, problem, path


@dataclass(frozen=True, kw_only=True)
class LogProb(_FreeValue):
    """exp of the mean log-probability of the path's tokens, in (0, 1]: the geometric mean probability."""

    name: ClassVar[str] = "logprob"

    def value_of(self, policy: Policy, problem: Problem, path: Path) -> float | None:
        """exp((1/n) sum of log p)."""
        del policy, problem
        return rounded(math.exp(normalised_logprob(path)))


@dataclass(frozen=True, kw_only=True)
class LastStep(_FreeValue):
    """Probability of the last step of a finished path given the steps before it, in (0, 1].

    exp of the summed log-probabilities of the tokens from the last step with text on, at temperature 1. Only
    finished paths have a value, and only where the engine reports log-probabilities.
    """

    name: ClassVar[str] = "last-step"

    def value_of(self, policy: Policy, problem: Problem, path: Path) -> float | None:
        """exp(sum of log p) over the last step."""
        del problem
        if not is_finished(path):
            return None
        written = [index for index, step in enumerate(path) if step.text.strip()]
        last = path[written[-1] if written else -1 :]
        if any((step.text or step.token_ids) and not step.logprobs for step in last):
            raise UsageError(
                f"value {self.name} needs the log-probabilities of the steps, which the engine "
                f"{policy.engine.name!r} does not give for this model; use another value, or another engine"
            )
        return rounded(math.exp(sum(sum(step.logprobs) for step in last)))


@dataclass(frozen=True, kw_only=True)
class SelfCertainty(_FreeValue):
    """Mean over the path's tokens of KL(uniform || p), in nats, at least 0 (arXiv 2502.18581, equation 7).

    Equal to ``-(1/(nV)) sum_i sum_j log(V p_ij)``. Needs `policy.certainty`, which the command line switches
    on by itself. Larger is more certain; not bounded by 1.
    """

    name: ClassVar[str] = "self-certainty"

    @property
    def needs_certainty(self) -> bool:
        """Yes."""
        return True

    def value_of(self, policy: Policy, problem: Problem, path: Path) -> float | None:
        """Token-weighted mean of the steps' certainty."""
        del problem
        if not policy.config.certainty:
            raise UsageError("value self-certainty needs policy.certainty=true")
        known = [(s.certainty, len(s.token_ids)) for s in path if s.certainty is not None]
        tokens = sum(count for _, count in known)
        return rounded(sum(mean * count for mean, count in known) / tokens) if tokens else None


@dataclass(frozen=True, kw_only=True)
class Verifier(_StepsValue):
    """The task's own check: 1 for a right solution, 0 for a wrong one or a provably wrong step, else `open`.

    Legitimate at test time where the task checks an answer from the question alone (countdown); elsewhere it
    reads the gold and is an oracle. `open` is the value of an unfinished path that is not known to be wrong.
    """

    name: ClassVar[str] = "verifier"
    open: float = 0.5

    def oracle(self, policy: Policy) -> bool:
        """Where the task cannot verify without the gold."""
        return not policy.task.verifies_without_gold

    def gate(self, policy: Policy) -> float | None:
        """1: a verified solution is right."""
        del policy
        return 1.0

    async def score(
        self, policy: Policy, problem: Problem, paths: Sequence[Path], *, grant: Cost, seed: int, known: int
    ) -> Scores:
        """1, 0 or `open` for every path."""
        del grant, seed, known
        return Scores(tuple([Score(await self._check(policy, problem, path)) for path in paths]), Usage())

    async def _check(self, policy: Policy, problem: Problem, path: Path) -> float:
        if is_finished(path):
            grade = await policy.task.agrade(problem, path[-1].answer)
            return float(grade.verdict is Verdict.CORRECT)
        wrong = policy.task.check_steps(problem, [step.text.rstrip("\n") for step in path])
        return self.open if wrong is None else 0.0
