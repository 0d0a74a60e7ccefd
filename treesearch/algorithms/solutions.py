"""Whole solutions, shared by the algorithms that sample them from the root.

`solutions_cost` is the most that `n` solutions and their scores take; `sample_solutions` asks for them in one
engine request inside what was granted. Each solution enters the tree as a chain of steps below the root.
"""

from __future__ import annotations

from treesearch.algorithms.base import add_chain
from treesearch.budget import Cost, Usage
from treesearch.events import Event, Step
from treesearch.inorder import Outcome
from treesearch.policy import Policy
from treesearch.tree import ROOT, Tree
from treesearch.values.base import Path, Scores, Value


def solutions_cost(policy: Policy, value: Value, n: int) -> Cost:
    """The most that `n` solutions in one request, and their scores, take."""
    room = policy.room((), whole=True)
    scoring = value.cost(policy, (), n, finished=True)
    return Cost(
        tokens=n * room * policy.price + scoring.tokens,
        calls=1 + scoring.calls,
        nodes=n * room,
        least=policy.price,
    )


async def sample_solutions(
    tree: Tree,
    policy: Policy,
    value: Value,
    n: int,
    *,
    grant: Cost,
    seed: int,
    temperature: float | None = None,
) -> Outcome:
    """`n` solutions within `grant`, which covers writing at least one token and one node for each.

    `temperature` overrides the policy's. A chain of more steps than its share of nodes is joined at its end.
    """
    cap = min(policy.room((), whole=True), grant.tokens // (n * policy.price))
    reply = await policy.complete(tree.problem, (), n, max_tokens=cap, seed=seed, temperature=temperature)
    usage = Usage(generated_tokens=reply.generated_tokens, prompt_tokens=reply.prompt_tokens, calls=1)
    chains = [_within(chain, grant.nodes // n) for chain in reply.chains]
    rest = Cost(tokens=grant.tokens - reply.generated_tokens, calls=grant.calls - 1)
    scores = await value.score(policy, tree.problem, chains, grant=rest, seed=tree.seed, known=0)
    return Outcome(usage + scores.usage, lambda tree: _events(tree, chains, scores, value))


def _events(tree: Tree, chains: list[Path], scores: Scores, value: Value) -> list[Event]:
    made: list[Event] = []
    shift = 0
    for chain, score in zip(chains, scores.scores, strict=True):
        made += add_chain(tree, ROOT, chain, value.settle(tree, score), shift=shift)
        shift += len(chain)
    return made


def _within(chain: Path, most: int) -> Path:
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
