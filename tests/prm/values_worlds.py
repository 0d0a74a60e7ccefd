"""Engines and paths for the tests of values that ask a model: every request is counted, replies are known."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from toy_worlds import WALK, UnrulyEngine

from tasks.base import Problem, Task
from tasks.math import MathTask
from treesearch.budget import Cost
from treesearch.engines.base import EngineError, FinishReason
from treesearch.events import Step
from treesearch.policy import Policy, PolicyConfig
from treesearch.values.base import Path, Scores, Value

PLENTY = Cost(tokens=10**6, calls=10**6, nodes=10**6)


@dataclass(kw_only=True)
class ReadingEngine(UnrulyEngine):
    """`logprob` gives that of a completion's every token from the texts of prompt and completion.

    `read` are the (prompt, completion) texts that were asked for; `fails` makes every such request fail.
    """

    logprob: Callable[[str, str], float] = lambda prompt, completion: -0.5
    read: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    fails: str = ""

    async def logprobs(self, prompt_ids: Sequence[int], completion_ids: Sequence[int]) -> list[float]:
        prompt, completion = self.tokenizer.decode(prompt_ids), self.tokenizer.decode(completion_ids)
        self.read.append((prompt, completion))
        self.active += 1
        try:
            if self.disorder is not None:
                for _ in range(random.Random(f"{self.disorder}:{len(self.read)}").randint(1, 6)):
                    await asyncio.sleep(0)
            if self.fails:
                raise EngineError(self.fails)
            return [self.logprob(prompt, completion)] * len(completion_ids)
        finally:
            self.active -= 1


def policy_for(engine: Any = None, task: Task | None = None, **config: Any) -> Policy:
    settings = {"step_tokens": 40, "solution_tokens": 110} | config
    return Policy(engine=engine or ReadingEngine(), task=task or MathTask(), config=PolicyConfig(**settings))


def step(
    text: str, finish: FinishReason = FinishReason.STOP, *, answer: str | None = None, logprob: float = -0.1
) -> Step:
    """A step in characters as tokens; a finished one ends with the end-of-text token."""
    ids = tuple(ord(char) + 8 for char in text) + ((1,) if finish is FinishReason.END else ())
    return Step(text, ids, (logprob,) * len(ids), finish, None, answer, answer)


def done(answer: str, before: str = "so\n") -> Path:
    """A finished path of two steps that gives `answer`."""
    return (step(before), step(f"#### {answer}", FinishReason.END, answer=answer))


def score(
    value: Value,
    paths: Sequence[Path],
    policy: Policy | None = None,
    *,
    grant: Cost = PLENTY,
    seed: int = 0,
    problem: Problem = WALK,
    known: int = 0,
) -> Scores:
    policy = policy or policy_for()
    return asyncio.run(value.score(policy, problem, paths, grant=grant, seed=seed, known=known))


def values(scores: Scores) -> list[float | None]:
    return [each.value for each in scores.scores]
