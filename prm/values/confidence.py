"""`answer-confidence`: the mean probability of the tokens of the final answer.

    value = (1 / |A|) sum_{i in A} p(y_i | x, y_<i)

A is the set of tokens that overlap the answer in the text (`prm.values.spans`), p the probability at
temperature 1 that the policy stored when it wrote them. In (0, 1]; only finished paths have a value, and one
from which the task reads no answer has none, so that it is never ranked above one that answers.

Contract: that of `treesearch.values.base`; a pure function of the path, free of cost. Where the steps
themselves are the answer (countdown composes it of the step lines: source ``steps``) all their tokens are A.
Where the answer is not written in one place, or the steps' ids do not decode to their text, there is no
value.

It asks the engine for nothing and does not judge whether the answer is right.

Source: CRew, "Confidence as a Reward" (arXiv 2510.13501), section 2, which takes the content of the box.
Deviations: any answer that the task extracts counts, not only a boxed one; tokens that hold the answer's edge
and something else (a brace, a blank) count, because their probability is in part the answer's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from prm.values.spans import answer_span, decoder_of, token_span
from tasks.base import Problem
from tasks.errors import UsageError
from treesearch.budget import Cost, Usage
from treesearch.events import Step, rounded
from treesearch.policy import Policy
from treesearch.values.base import Path, Score, Scores, Value, is_finished


@dataclass(frozen=True, kw_only=True)
class AnswerConfidence(Value):
    """Mean probability of the final answer's tokens, in (0, 1]; finished paths only (arXiv 2510.13501)."""

    name: ClassVar[str] = "answer-confidence"

    def oracle(self, policy: Policy) -> bool:
        """No: only the steps are read."""
        del policy
        return False

    def cost(self, policy: Policy, path: Sequence[Step], n: int, *, finished: bool = False) -> Cost:
        """Nothing."""
        del policy, path, n, finished
        return Cost()

    async def score(
        self, policy: Policy, problem: Problem, paths: Sequence[Path], *, grant: Cost, seed: int, known: int
    ) -> Scores:
        """The confidence of every finished path; `UsageError` where its steps have no log-probabilities."""
        del problem, grant, seed, known
        return Scores(tuple(Score(self.value_of(policy, path)) for path in paths), Usage())

    def value_of(self, policy: Policy, path: Path) -> float | None:
        """The value of one path."""
        if not is_finished(path) or path[-1].answer is None:
            return None
        if any(step.token_ids and not step.logprobs for step in path):
            raise UsageError(
                f"value {self.name} needs the log-probabilities of the steps, which the engine "
                f"{policy.engine.name!r} does not give for this model; use another value, or another engine"
            )
        logprobs = answer_logprobs(policy, path)
        return rounded(sum(map(math.exp, logprobs)) / len(logprobs)) if logprobs else None


def answer_logprobs(policy: Policy, path: Path) -> list[float]:
    """Log-probabilities of the tokens of the answer of a finished path; empty where it cannot be located."""
    solution, answer = "".join(step.text for step in path), path[-1].answer
    found = policy.task.extract(solution)
    if answer is None or found is None:
        return []
    span = (0, len(solution)) if found.source == "steps" else answer_span(policy.task, solution, answer)
    if span is None:
        return []
    chosen, at = list[float](), 0
    for step in path:
        start, end = span[0] - at, span[1] - at
        at += len(step.text)
        if start >= len(step.text) or end <= 0:
            continue
        decode = decoder_of(policy.engine.tokenizer, step.token_ids, step.text)
        if decode is None or len(step.logprobs) != len(step.token_ids):
            return []
        inside = token_span(decode, step.token_ids, max(start, 0), min(end, len(step.text)))
        chosen.extend(step.logprobs[index] for index in inside)
    return chosen
