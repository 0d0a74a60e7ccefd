"""`judge`: a language model, the policy's own or another one, says what it thinks of a path.

`mode` says how it is asked and read:

- ``verdict``: one question, one word; the value is p(yes) / (p(yes) + p(no)), read by log-probs.
- ``critique``: it first checks the steps in writing, `k` times; the probability is read at its last verdict
  line, the value is the mean.
- ``grades``: it sees the sibling paths together, in a shuffled order, and grades them from 1 to 10, `k`
  times; the value is the sum of the grades, brought to [0, 1]. A scalar model may choose whose judgements
  count.

Contract: that of `treesearch.values.base`, with one deviation: in ``grades`` a path's value depends on the
paths that are scored with it. Values are in [0, 1]; what cannot be read is None and counted in `tally`,
never 0. The problem's gold answer is in no prompt, and text that a model wrote is escaped in its slot
(`judge_prompt`). What the judge writes, and the words that are read, are value tokens; its prompts are
prompt tokens.

It runs no tools and no code, and is not trained. A judge can be talked into a verdict: measure yours with
the canaries of `prm.evaluation` before you trust it.

Sources: judging one's own samples, Self-PRM (arXiv 2505.11227) and self-check (arXiv 2310.04815); verdict
probabilities of generative verifiers; grades with voting and a scalar model, SPCT (arXiv 2504.02495).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from prm.registry import ScorerSettings, open_scorer, scorer_hash
from prm.scoring.base import StepScorer
from prm.values.judge_bench import Bench
from prm.values.judge_grades import grades_cost, judge_by_grades
from prm.values.judge_settings import JudgeSettings, JudgeTally
from prm.values.judge_verdict import critique_cost, judge_by_critique, judge_by_verdict, verdict_cost
from prm.values.members import parse_settings
from prm.values.self_reward import check_logprobs
from tasks.base import Problem
from tasks.errors import UsageError
from treesearch.budget import Cost
from treesearch.engines.base import Engine
from treesearch.events import Step
from treesearch.policies import open_policy
from treesearch.policy import Policy
from treesearch.settings import build
from treesearch.values.base import Path, Scores, Value

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Judge(JudgeSettings, Value):
    """A language model judges: probability of its verdict, or grades of siblings (arXiv 2504.02495)."""

    name: ClassVar[str] = "judge"

    def oracle(self, policy: Policy) -> bool:
        """No: the judge reads question and steps."""
        del policy
        return False

    def cost(self, policy: Policy, path: Sequence[Step], n: int, *, finished: bool = False) -> Cost:
        """See `OpenJudge.cost`; with the policy's tokenizer until the judge is open."""
        return self._with(policy.engine).cost(policy, path, n, finished=finished)

    async def load(self, policy: Policy) -> OpenJudge:
        """Open what judges and what ranks judgements; `UsageError` where the judge cannot be read."""
        engine, meta = policy.engine, None
        if self.model:
            given = parse_settings(self.engine_settings)
            engine = (
                await open_policy(self.model, policy.task, engine=self.engine, engine_settings=given)
            ).policy.engine
        try:
            if self.mode != "grades":
                bench = Bench(engine=engine, settings=self)
                await check_logprobs(engine, bench.words[0][0], f"{self.name}, mode {self.mode},")
            if self.meta:
                meta = await asyncio.to_thread(open_scorer, self.meta, parse_settings(self.meta_settings))
        except BaseException:
            if self.model:
                await engine.close()
            raise
        return OpenJudge(settings=self, engine=engine, meta=meta)

    async def score(
        self, policy: Policy, problem: Problem, paths: Sequence[Path], *, grant: Cost, seed: int, known: int
    ) -> Scores:
        """Judge with the policy's own model; `UsageError` where another one was asked for and is not open."""
        if self.model or self.meta:
            raise UsageError(
                f"the value {self.name!r} holds no model yet: use what `await value.load(policy)` gives"
            )
        own = self._with(policy.engine)
        return await own.score(policy, problem, paths, grant=grant, seed=seed, known=known)

    def _with(self, engine: Engine) -> OpenJudge:
        return OpenJudge(settings=self, engine=engine, meta=None)


class OpenJudge(Value):
    """A judge with its models; made by `Judge.load`. `tally` counts what it wrote and could not use."""

    name = Judge.name

    def __init__(self, *, settings: Judge, engine: Engine, meta: StepScorer | None) -> None:
        self.settings = settings
        self.bench = Bench(engine=engine, settings=settings, meta=meta)

    @property
    def tally(self) -> JudgeTally:
        """What the judge wrote so far, and what of it could not be used."""
        return self.bench.tally

    @property
    def model_hash(self) -> str:
        """Hashes of the judge's weights, where it is a model of its own, and of the scalar model, joined."""
        own = str(getattr(self.bench.engine, "model_hash", "")) if self.settings.model else ""
        if not self.settings.meta:
            return own
        given = build(ScorerSettings, parse_settings(self.settings.meta_settings), what="meta")
        return f"{own}+{scorer_hash(self.settings.meta, given)}"

    def oracle(self, policy: Policy) -> bool:
        """No: the judge reads question and steps."""
        return self.settings.oracle(policy)

    def cost(self, policy: Policy, path: Sequence[Step], n: int, *, finished: bool = False) -> Cost:
        """The words that are read and the most that is written, for `n` paths; the same for any path."""
        del policy, path, finished
        how = {"verdict": verdict_cost, "critique": critique_cost, "grades": grades_cost}
        return how[self.settings.mode](self.bench, n)

    async def score(
        self, policy: Policy, problem: Problem, paths: Sequence[Path], *, grant: Cost, seed: int, known: int
    ) -> Scores:
        """Judge the paths that `grant` covers, with fewer or shorter judgements at its end."""
        del policy, known
        if self.settings.mode == "verdict":
            return await judge_by_verdict(self.bench, problem, paths, grant)
        if self.settings.mode == "critique":
            return await judge_by_critique(self.bench, problem, paths, grant, seed)
        return await judge_by_grades(self.bench, problem, paths, grant, seed)

    async def close(self) -> None:
        """Close the models that `load` opened, the policy's own stays open; say what could not be used."""
        tally = self.tally
        if tally.too_long or tally.unparsed:
            _log.warning(
                "judge: %s of %s judgements held no readable verdict, %s prompts were beyond its context",
                tally.unparsed,
                tally.judgements,
                tally.too_long,
            )
        try:
            if self.bench.meta is not None:
                await self.bench.meta.close()
        finally:
            if self.settings.model:
                await self.bench.engine.close()
