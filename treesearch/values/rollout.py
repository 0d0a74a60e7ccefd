"""Roll-out value: complete a path several times and see how often it ends well.

Monte-Carlo estimate of the policy's own success from a path (Math-Shepherd, arXiv 2312.08935). What "well"
means is decided by `judge`:

- `grade`: the completion's answer is graded. Without the gold where the task can do that (countdown);
  otherwise it reads the gold and is an oracle, for building training data.
- `vote`: the share of all answers found in the tree so far that agree with the completion's (the reward of
  rStar, arXiv 2408.06195). Legitimate at test time for every task.
- `auto`: `grade` where the task verifies without the gold, else `vote`.

The completions are kept in the tree: they are finished solutions and take part in the answer's vote.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from tasks.base import Problem, Verdict
from tasks.errors import UsageError
from treesearch.budget import Cost, Usage
from treesearch.events import Step, rounded
from treesearch.policy import Policy
from treesearch.seeds import derive
from treesearch.together import together
from treesearch.tree import Tree
from treesearch.values.base import Path, RollOut, Score, Scores, Value, is_finished


@dataclass(frozen=True, kw_only=True)
class RollOutValue(Value):
    """Mean reward of `n` completions sampled at `temperature` (None: the policy's own)."""

    name: ClassVar[str] = "rollout"
    n: int = 2
    temperature: float | None = None
    judge: Literal["auto", "grade", "vote"] = "auto"

    def __post_init__(self) -> None:
        if self.n < 1:
            raise UsageError(f"value.n must be at least 1, got {self.n}")
        if self.judge not in ("auto", "grade", "vote"):
            raise UsageError(f"value.judge must be auto, grade or vote, got {self.judge!r}")

    def _grades(self, policy: Policy) -> bool:
        return self.judge == "grade" or (self.judge == "auto" and policy.task.verifies_without_gold)

    def oracle(self, policy: Policy) -> bool:
        """Where completions are graded against the gold."""
        return self._grades(policy) and not policy.task.verifies_without_gold

    def gate(self, policy: Policy) -> float | None:
        """1 where completions are graded."""
        return 1.0 if self._grades(policy) else None

    def cost(self, policy: Policy, path: Sequence[Step], n: int, *, finished: bool = False) -> Cost:
        """`self.n` completions a path, one request each, every one as long as the solution may become."""
        if finished:
            return Cost()
        return Cost(tokens=n * self.n * policy.room(path, whole=True) * policy.price, calls=n)

    async def score(
        self, policy: Policy, problem: Problem, paths: Sequence[Path], *, grant: Cost, seed: int, known: int
    ) -> Scores:
        """Complete every path that is not finished; the grant is shared out evenly among these."""
        del known
        open_paths = [i for i, path in enumerate(paths) if not is_finished(path)][: grant.calls]
        share = grant.tokens // len(open_paths) if open_paths else 0
        jobs = [self._complete(policy, problem, paths[i], share, derive(seed, i)) for i in open_paths]
        replies = dict(zip(open_paths, await together(jobs), strict=True))
        usage, scores = Usage(), list[Score]()
        for i, path in enumerate(paths):
            if is_finished(path):
                step = path[-1]
                end = RollOut("", 0, step.answer, step.vote, await self._reward(policy, problem, step.answer))
                scores.append(Score(end.reward, () if end.reward is not None else (end,)))
                continue
            rollouts, used = replies.get(i, ((), Usage()))
            usage = usage + used
            scores.append(_score(rollouts))
        return Scores(tuple(scores), usage)

    async def _complete(
        self, policy: Policy, problem: Problem, path: Path, tokens: int, seed: int
    ) -> tuple[tuple[RollOut, ...], Usage]:
        room = policy.room(path, whole=True)
        n = min(self.n, tokens // policy.price)
        if n < 1 or room < 1:
            return (), Usage()
        most = min(room, tokens // (n * policy.price))
        reply = await policy.complete(
            problem, path, n, max_tokens=most, seed=seed, temperature=self.temperature
        )
        rollouts = tuple([await self._rollout(policy, problem, chain) for chain in reply.chains])
        return rollouts, Usage(
            value_tokens=reply.generated_tokens, prompt_tokens=reply.prompt_tokens, calls=1
        )

    async def _rollout(self, policy: Policy, problem: Problem, chain: Path) -> RollOut:
        last = chain[-1]
        reward = await self._reward(policy, problem, last.answer)
        tokens = sum(len(step.token_ids) for step in chain)
        return RollOut("".join(step.text for step in chain), tokens, last.answer, last.vote, reward)

    async def _reward(self, policy: Policy, problem: Problem, answer: str | None) -> float | None:
        if not self._grades(policy):
            return None
        return float((await policy.task.agrade(problem, answer)).verdict is Verdict.CORRECT)

    def settle(self, tree: Tree, score: Score) -> float | None:
        """In `vote`, the mean share of the tree's answers that agree with the path's completions.

        Two imagined answers that agree with nobody are counted in, so that the first answer found does not
        look certain.
        """
        if score.value is not None or not score.rollouts:
            return score.value
        own = Counter(done.vote for done in score.rollouts if done.vote is not None)
        total = sum(tree.votes.values()) + own.total() + 2
        shares = [
            (tree.votes.get(done.vote, 0) + own[done.vote]) / total if done.vote else 0.0
            for done in score.rollouts
        ]
        return rounded(sum(shares) / len(shares))


def _score(rollouts: tuple[RollOut, ...]) -> Score:
    rewards = [done.reward for done in rollouts if done.reward is not None]
    value = rounded(sum(rewards) / len(rewards)) if rewards and len(rewards) == len(rollouts) else None
    return Score(value, rollouts)
