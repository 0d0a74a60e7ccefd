"""`self-reward`: what the model itself thinks of its solution, read at one token behind its end.

    value = beta * ( log pi(z_c | x, y, <eos>) - c_ref )

z_c is a token that the model never writes; `c_ref` stands for the reference model's log-probability of it,
which is nearly the same for all solutions. For a model trained so that this is its reward (LaSeR), the value
is about 1 for right and 0 for wrong solutions, a verdict "right" is a value above 0.5, and it is not cut to
[0, 1]. For any other model it is a number without a meaning.

Contract: that of `treesearch.values.base`. Finished paths only. One `engine.logprobs` request a path: one
value token, one call, the question and the solution as prompt tokens. `load` refuses a token that is not
exactly one token, and engines that cannot score a given text (it asks one such request to see).

It does not train: the auxiliary loss of the paper is the trainer's part. It does not measure `c_ref`.

Source: LaSeR (arXiv 2510.14943), section 3; beta 0.1, c_ref -23 for Qwen2.5 models and -25 for OctoThinker,
from the paper's code. The default token is one that text models of the Qwen family have and do not write;
give the one that the model at hand was trained with.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from tasks.base import Problem
from tasks.errors import UsageError
from treesearch.budget import Cost, Usage
from treesearch.engines.base import Engine, EngineError, Tokenizer
from treesearch.events import Step, rounded
from treesearch.policy import Policy
from treesearch.together import together
from treesearch.values.base import Path, Score, Scores, Value, is_finished


@dataclass(frozen=True, kw_only=True)
class SelfReward(Value):
    """beta (log pi(z_c | solution) - c_ref): the reward that a LaSeR model gives itself (arXiv 2510.14943).

    `token` is z_c: its text, or its id as a whole number.
    """

    name: ClassVar[str] = "self-reward"
    token: str = "<|vision_start|>"
    beta: float = 0.1
    c_ref: float = -23.0

    def __post_init__(self) -> None:
        if not self.token:
            raise UsageError("value.token must be the text or the id of one token, got ''")
        if not 0 < self.beta < math.inf:
            raise UsageError(f"value.beta must be above 0, got {self.beta}")
        if not -math.inf < self.c_ref <= 0:
            raise UsageError(f"value.c_ref is a log-probability, at most 0, got {self.c_ref}")

    def oracle(self, policy: Policy) -> bool:
        """No: the model reads question and solution."""
        del policy
        return False

    def cost(self, policy: Policy, path: Sequence[Step], n: int, *, finished: bool = False) -> Cost:
        """One value token and one call a path."""
        del policy, path, finished
        return Cost(tokens=n, calls=n)

    async def load(self, policy: Policy) -> Value:
        """Itself, once token and engine are found to do; see the module."""
        await check_logprobs(policy.engine, self.token_id(policy.engine.tokenizer), self.name)
        return self

    async def score(
        self, policy: Policy, problem: Problem, paths: Sequence[Path], *, grant: Cost, seed: int, known: int
    ) -> Scores:
        """The reward of every finished path, the first ones that the grant covers."""
        del seed, known
        covered = min(grant.tokens, grant.calls)
        chosen = [index for index, path in enumerate(paths) if is_finished(path)][: max(0, covered)]
        if not chosen:
            return Scores((Score(None),) * len(paths), Usage())
        token = self.token_id(policy.engine.tokenizer)
        prompts = [ended_ids(policy, problem, paths[index]) for index in chosen]
        replies = await together([policy.engine.logprobs(prompt, [token]) for prompt in prompts])
        found = dict(zip(chosen, [reward(logprobs[0], self) for logprobs in replies], strict=True))
        usage = Usage(value_tokens=len(chosen), prompt_tokens=sum(map(len, prompts)), calls=len(chosen))
        return Scores(tuple(Score(found.get(index)) for index in range(len(paths))), usage)

    def token_id(self, tokenizer: Tokenizer) -> int:
        """The id of z_c; `UsageError` where the tokenizer makes none or several tokens of its text."""
        if self.token.isdecimal():
            return int(self.token)
        ids = tokenizer.encode(self.token)
        if len(ids) != 1:
            raise UsageError(
                f"value.token must be one token, but the model's tokenizer makes {len(ids)} of "
                f"{self.token!r}; give the token that the model was trained with, or its id"
            )
        return ids[0]


def reward(logprob: float, settings: SelfReward) -> float | None:
    """``beta * (log p - c_ref)``; None where the engine gives the token no probability at all."""
    return rounded(settings.beta * (logprob - settings.c_ref)) if math.isfinite(logprob) else None


def ended_ids(policy: Policy, problem: Problem, path: Path) -> list[int]:
    """Ids of question, solution and end-of-text token; the latter is added where the path lacks it."""
    ids, tokenizer = policy.prompt_ids(problem, path), policy.engine.tokenizer
    written = path[-1].token_ids
    ended = bool(written) and not tokenizer.decode(written[-1:])
    return ids if ended or tokenizer.eos_token_id is None else [*ids, tokenizer.eos_token_id]


async def check_logprobs(engine: Engine, token: int, value: str) -> None:
    """Raise `UsageError` unless the engine gives the log-probability of a token that the caller names."""
    tokenizer = engine.tokenizer
    prompt = tokenizer.encode("1", special=True)
    try:
        await engine.logprobs(prompt, [token])
    except EngineError as error:
        raise UsageError(
            f"value {value} needs the log-probability of a given token, which the engine {engine.name!r} "
            f"does not give here ({error}); use an engine in process (transformers, vllm), or another value"
        ) from error
