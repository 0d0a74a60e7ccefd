"""Greedy decoding, best-of-N and self-consistency: whole solutions sampled from the root.

They are trees of depth one in spirit; the solutions are still kept as chains of steps, so that the same
viewers, answer rules and training builders read them. Samples are asked for in one request of `n`; where
the budget cannot hold the longest possible n, in waves of as many as it surely holds.

Best-of-N: Cobbe et al. 2021 (arXiv 2110.14168). Self-consistency: Wang et al. 2022 (arXiv 2203.11171).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from treesearch.algorithms.base import Algorithm, add_chain, require, require_end
from treesearch.answers import RuleName
from treesearch.budget import Cost, Usage
from treesearch.events import Event, Issued, Step, StopReason
from treesearch.inorder import Outcome, Work, run_in_order
from treesearch.policy import Policy
from treesearch.seeds import derive
from treesearch.tree import ROOT, Tree
from treesearch.values.base import Path, Value


@dataclass(frozen=True, kw_only=True)
class BestOfN(Algorithm):
    """Sample `n` solutions (None: until the budget is spent), return the one of highest value."""

    name: ClassVar[str] = "best-of-n"
    default_value: ClassVar[str] = "logprob"

    n: int | None = 16
    answer: RuleName = "best"

    def __post_init__(self) -> None:
        super().__post_init__()
        require("n", self.n, self.n is None or self.n >= 1, "at least 1")

    temperature: ClassVar[float | None] = None
    """Overrides the policy's temperature."""

    async def __call__(self, tree: Tree, policy: Policy, value: Value) -> StopReason:
        """Sample until `n` solutions are in the tree."""
        require_end(tree, "n", self.n)
        room = policy.room((), whole=True)

        def cost(n: int) -> Cost:
            scoring = value.cost(policy, (), n, finished=True)
            return Cost(tokens=n * room + scoring.tokens, calls=1 + scoring.calls, nodes=n * room)

        def wave(left: int | None) -> int:
            n = self.n - len(tree.root.children) if self.n is not None else _WAVE
            if left is not None:
                n = min(n, left // room)
                while n > 1 and cost(n).tokens > left:
                    n -= 1
            return max(1, n)

        def plan(tree: Tree) -> Work | StopReason | None:
            if self.n is not None and len(tree.root.children) >= self.n:
                return StopReason.COMPLETED
            return Work(ROOT, cost(wave(tree.meter.left("tokens"))))

        async def perform(tree: Tree, issued: Issued) -> Outcome:
            n = min(wave(issued.cost.tokens), issued.cost.nodes)
            cap = min(room, issued.cost.tokens // n)
            reply = await policy.complete(
                tree.problem,
                (),
                n,
                max_tokens=cap,
                seed=derive(tree.seed, ROOT, len(tree.root.children)),
                temperature=self.temperature,
            )
            usage = Usage(generated_tokens=reply.generated_tokens, prompt_tokens=reply.prompt_tokens, calls=1)
            chains = [_within(chain, issued.cost.nodes // n) for chain in reply.chains]
            rest = Cost(tokens=issued.cost.tokens - reply.generated_tokens, calls=issued.cost.calls - 1)
            return await self._scored(tree, policy, value, chains, usage, rest)

        return await run_in_order(tree, plan, perform)

    async def _scored(
        self, tree: Tree, policy: Policy, value: Value, chains: list[Path], usage: Usage, rest: Cost
    ) -> Outcome:
        scores = await value.score(policy, tree.problem, chains, grant=rest, seed=tree.seed)

        def events(tree: Tree) -> list[Event]:
            made: list[Event] = []
            shift = 0
            for chain, score in zip(chains, scores.scores, strict=True):
                made += add_chain(tree, ROOT, chain, value.settle(tree, score), shift=shift)
                shift += len(chain)
            return made

        return Outcome(usage + scores.usage, events)


_WAVE = 64
"""Samples of one request where `n` is None and no token budget says less."""


def _within(chain: tuple[Step, ...], most: int) -> tuple[Step, ...]:
    """The chain in at most `most` nodes: what is over joins the last one."""
    if len(chain) <= most:
        return chain
    head, tail = chain[: most - 1], chain[most - 1 :]
    last = tail[-1]
    joined = Step(
        "".join(step.text for step in tail),
        tuple(token for step in tail for token in step.token_ids),
        tuple(logprob for step in tail for logprob in step.logprobs),
        last.finish,
        last.certainty,
        last.answer,
        last.vote,
    )
    return (*head, joined)


@dataclass(frozen=True, kw_only=True)
class SelfConsistency(BestOfN):
    """Sample `n` solutions and return the answer that most of them give (majority vote)."""

    name: ClassVar[str] = "self-consistency"
    default_value: ClassVar[str] = "none"
    answer: RuleName = "majority"


@dataclass(frozen=True, kw_only=True)
class Greedy(BestOfN):
    """One solution at temperature 0."""

    name: ClassVar[str] = "greedy"
    default_value: ClassVar[str] = "none"
    temperature: ClassVar[float | None] = 0.0
    n: int | None = 1
    answer: RuleName = "majority"
