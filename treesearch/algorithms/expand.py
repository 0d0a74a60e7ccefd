"""Expansion, shared by the algorithms that grow a tree step by step: propose children, score them.

`expansion_cost` is the most that expanding a node may take; `expand` does it inside what was granted. Both
are the whole of how step-wise algorithms spend tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from treesearch.algorithms.base import distinct
from treesearch.budget import Cost, Usage
from treesearch.events import Issued, Step
from treesearch.policy import Policy
from treesearch.seeds import derive
from treesearch.tree import Tree
from treesearch.values.base import Path, Score, Value


@dataclass(frozen=True, slots=True)
class Children:
    """Distinct proposed steps, their scores, what it took, and what of the grant is left."""

    steps: tuple[Step, ...]
    scores: tuple[Score, ...]
    usage: Usage
    rest: Cost


def expansion_cost(policy: Policy, value: Value, path: Sequence[Step], width: int) -> Cost:
    """The most that asking for `width` next steps of `path` and scoring them takes."""
    scoring = value.cost(policy, path, width)
    return Cost(
        tokens=width * policy.room(path, whole=False) * policy.price + scoring.tokens,
        calls=1 + scoring.calls,
        nodes=width,
        least=policy.price,
    )


async def expand(tree: Tree, policy: Policy, value: Value, issued: Issued, width: int) -> Children:
    """Propose up to `width` steps from the issued node in one request, drop repeats, score what is left."""
    path = tree.path(issued.node)
    seed = derive(tree.seed, issued.node, tree.nodes[issued.node].expansions)
    return await propose_and_score(tree, policy, value, path, width, issued.cost, seed)


async def propose_and_score(
    tree: Tree, policy: Policy, value: Value, path: Path, width: int, grant: Cost, seed: int
) -> Children:
    """`width` next steps of any path within `grant`; none where the grant or the path has no room."""
    room = policy.room(path, whole=False)
    n = min(width, grant.nodes, grant.tokens // policy.price)
    if n < 1 or room < 1 or grant.calls < 1:
        return Children((), (), Usage(), grant)
    most = min(room, grant.tokens // (n * policy.price))
    reply = await policy.propose(tree.problem, path, n, max_tokens=most, seed=seed)
    steps = distinct([chain[0] for chain in reply.chains])
    rest = Cost(tokens=grant.tokens - reply.generated_tokens, calls=grant.calls - 1)
    scores = await value.score(
        policy,
        tree.problem,
        [(*path, step) for step in steps],
        grant=rest,
        seed=derive(seed, "value"),
        known=len(path),
    )
    usage = Usage(generated_tokens=reply.generated_tokens, prompt_tokens=reply.prompt_tokens, calls=1)
    return Children(tuple(steps), scores.scores, usage + scores.usage, _less(rest, scores.usage))


def _less(grant: Cost, used: Usage) -> Cost:
    return Cost(tokens=grant.tokens - used.tokens, calls=grant.calls - used.calls, nodes=grant.nodes)
