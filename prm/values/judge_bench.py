"""A judge at work: its engine, its settings, the model that ranks its judgements, and the requests it makes.

Contract: `write` samples judgements and says what they cost; `probability` reads

    p(positive) / (p(positive) + p(negative))

of the two verdict words behind an open reply by log-probs. Prompts that leave no room in the context are not
sent: the reply is then None, at no cost, and counted. Whoever calls has checked that the grant covers it.

Accounting: what the judge writes, and the verdict words that are read, are value tokens; prompts are prompt
tokens; every engine request is a call.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from prm.checkpoint import sigmoid
from prm.scoring.base import StepScorer
from prm.values.judge_prompt import prompt_ids, word_ids
from prm.values.judge_settings import JudgeSettings, JudgeTally
from treesearch.budget import Cost, Usage
from treesearch.engines.base import Engine, Sample, SamplingParams, tokens_each
from treesearch.together import together

_log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Bench:
    """See the module. `meta` is the scorer of judgements, None without one."""

    engine: Engine
    settings: JudgeSettings
    meta: StepScorer | None = None
    tally: JudgeTally = field(default_factory=JudgeTally)

    @cached_property
    def words(self) -> tuple[list[int], list[int]]:
        """Ids of the positive and of the negative verdict word."""
        tokenizer = self.engine.tokenizer
        return word_ids(tokenizer, self.settings.positive), word_ids(tokenizer, self.settings.negative)

    @property
    def rate(self) -> int:
        """Tokens of the budget that each written one takes."""
        return tokens_each(self.engine)

    @property
    def reading(self) -> Cost:
        """What reading one verdict costs."""
        return Cost(tokens=sum(map(len, self.words)), calls=2)

    async def write(self, user: str, n: int, *, max_tokens: int, seed: int) -> tuple[Sequence[Sample], Usage]:
        """`n` judgements of one prompt in one request; none where it leaves no room."""
        ids = prompt_ids(self.engine.tokenizer, user)
        if len(ids) >= self.engine.max_context:
            return (), self._no_room(len(ids))
        params = SamplingParams(max_tokens=max_tokens, temperature=self.settings.temperature, seed=seed)
        samples = await self.engine.sample(ids, n, params)
        self.tally.judgements += len(samples)
        billed = [sample.prompt_tokens for sample in samples if sample.prompt_tokens is not None]
        return samples, Usage(
            value_tokens=self.rate * sum(len(sample.token_ids) for sample in samples),
            prompt_tokens=sum(billed) if billed else len(ids),
            calls=1,
        )

    def _no_room(self, size: int) -> Usage:
        """Count a prompt that is not sent, and warn of the first; it costs nothing."""
        if not self.tally.too_long:
            _log.warning(
                "a judge's prompt has %s tokens, its context %s: such paths get no value; give a judge with "
                "more context, or shorter steps",
                size,
                self.engine.max_context,
            )
        self.tally.too_long += 1
        return Usage()

    async def probability(self, user: str, lead: str) -> tuple[float | None, Usage]:
        """Probability of the positive verdict behind `lead`; None where both words are impossible."""
        ids = prompt_ids(self.engine.tokenizer, user, lead)
        if len(ids) + max(map(len, self.words)) > self.engine.max_context:
            return None, self._no_room(len(ids))
        positive, negative = await together([self.engine.logprobs(ids, word) for word in self.words])
        cost = self.reading
        usage = Usage(value_tokens=cost.tokens, prompt_tokens=2 * len(ids), calls=cost.calls)
        return share(sum(positive), sum(negative)), usage


def share(positive: float, negative: float) -> float | None:
    """``e^positive / (e^positive + e^negative)``; None where both are minus infinity."""
    difference = positive - negative
    return None if difference != difference else sigmoid(difference)


@dataclass(frozen=True, kw_only=True)
class Price:
    """What one judgement costs: `rate` tokens for each that it writes and `extra` ones; `calls` requests.

    `once` are the calls that come once, however many judgements there are.
    """

    rate: int = 1
    extra: int = 0
    calls: int = 1
    once: int = 0

    def most(self, count: int, length: int) -> Cost:
        """The most that `count` judgements of at most `length` tokens take."""
        tokens = count * (self.rate * length + self.extra)
        return Cost(tokens=tokens, calls=self.once + count * self.calls) if count else Cost()

    def affordable(self, left: Cost, count: int, length: int) -> tuple[int, int]:
        """How many of `count` judgements `left` covers, and their length: rather fewer than shorter ones."""
        count = min(count, (left.calls - self.once) // self.calls)
        count = min(count, max(1, left.tokens // (self.rate * length + self.extra)))
        if count < 1:
            return 0, 0
        length = min(length, (left.tokens // count - self.extra) // self.rate)
        return (count, length) if length >= 1 else (0, 0)


def rest(left: Cost, taken: Cost) -> Cost:
    """What is left of a grant."""
    return Cost(tokens=left.tokens - taken.tokens, calls=left.calls - taken.calls)
