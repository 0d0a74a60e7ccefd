"""The greedy roll-out of ReST-MCTS*: from the best new child go on for a few steps, always with the best.

`roll_out` asks for the steps (arXiv 2406.03816, and its code: at each step the best of `width` samples);
`reached` says what they came to. The steps are no nodes of the tree: only the solutions found on the way
are kept, as completions of the child that the roll-out started from.
"""

from __future__ import annotations

from collections.abc import Sequence

from treesearch.algorithms.base import rolled
from treesearch.algorithms.expand import Children, propose_and_score
from treesearch.budget import Cost
from treesearch.engines.base import FinishReason
from treesearch.events import Event, Rolled
from treesearch.policy import Policy
from treesearch.seeds import derive
from treesearch.tree import Tree
from treesearch.values.base import Path, Value


def best_of(made: Children) -> int | None:
    """Index of the child of highest value, the first of equals; None without children."""
    if not made.steps:
        return None
    known = [-1.0 if score.value is None else score.value for score in made.scores]
    return max(range(len(known)), key=lambda index: (known[index], -index))


async def roll_out(
    tree: Tree, policy: Policy, value: Value, path: Path, *, steps: int, width: int, grant: Cost, seed: int
) -> list[Children]:
    """At most `steps` steps on from `path`, each the best of `width` samples, within `grant`."""
    rolls: list[Children] = []
    for index in range(steps):
        if path[-1].finish is FinishReason.END:
            break
        grant = Cost(tokens=grant.tokens, calls=grant.calls, nodes=width)
        made = await propose_and_score(tree, policy, value, path, width, grant, derive(seed, index))
        best = best_of(made)
        if best is None:
            break
        rolls.append(made)
        path, grant = (*path, made.steps[best]), made.rest
    return rolls


def reached(
    tree: Tree, node: int, rolls: Sequence[Children], value: Value
) -> tuple[float | None, list[Event]]:
    """The largest value on a roll-out from `node` (None: none was scored), and its solutions as events."""
    events: list[Event] = []
    found: list[float] = []
    text, tokens = "", 0
    for made in rolls:
        best = best_of(made) or 0
        step, score = made.steps[best], made.scores[best]
        text, tokens = text + step.text, tokens + len(step.token_ids)
        settled = value.settle(tree, score)
        found += [] if settled is None else [settled]
        events += rolled(node, score, before=text, tokens_before=tokens)
        if step.finish is FinishReason.END:
            events.append(Rolled(node, text, tokens, step.answer, step.vote, settled))
    return max(found, default=None), events
