"""Rewards that two iterates of a model give to solutions: how much likelier it finds them than the base does.

With sums of log-probs over all tokens of a solution y of n tokens:

    r(y) = log pi(y) - log pi_0(y)        for a trained model pi
    r(y) = log pi_0(y) / n                for the base itself

Contract: `rewards_of` asks the engine for the log-probs of every solution under one model, all in flight at
once; `reward` puts the sums together. Source: CREAM (arXiv 2410.12735, section 4.1 and its code).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass

from selftrain.data.searched import Searched
from selftrain.loop.manifest import Costs
from selftrain.loop.sections import EnginePart
from selftrain.packing.tree import Ids
from treesearch.api import open_task
from treesearch.policies import open_policy
from treesearch.tree import ROOT

_AT_ONCE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A solution: its problem and text, the ids before it and its own, and what was stored at generation."""

    problem: str
    text: str
    prompt: Ids
    ids: Ids
    logprob: float | None


def written(searched: Sequence[Searched]) -> list[Written]:
    """The solutions of graded trees; of equal texts of a problem the first."""
    found: dict[tuple[str, str], Written] = {}
    for one in searched:
        for node in one.solutions:
            path = one.tree.path(node)[1:]
            stored = [one.tree.logprobs[each] if one.tree.logprobs else None for each in path]
            known = all(each is not None for each in stored)
            made = Written(
                problem=one.problem.id,
                text="".join(one.texts[each] for each in path),
                prompt=one.tree.segments[ROOT],
                ids=tuple(token for each in path for token in one.tree.segments[each]),
                logprob=math.fsum(v for each in stored for v in each or ()) if known else None,
            )
            found.setdefault((made.problem, made.text), made)
    return list(found.values())


def reward(logprob: float, base_logprob: float, tokens: int, *, is_base: bool) -> float:
    """r(y) of the module from sums of log-probs; 0 for a solution without tokens."""
    if is_base:
        return base_logprob / tokens if tokens else 0.0
    return logprob - base_logprob


async def logprobs_under(
    model: str, engine: EnginePart, solutions: Sequence[Written]
) -> tuple[list[float], Costs]:
    """The sum of log-probs of every solution under a model, and what asking took."""
    opened = await open_policy(
        model,
        open_task("math"),  # no prompt is made and nothing is graded here
        model=engine.model,
        engine=engine.name,
        engine_args=engine.args,
        engine_settings=engine.settings,
    )
    places = asyncio.Semaphore(_AT_ONCE)

    async def one(solution: Written) -> float:
        async with places:
            return math.fsum(await opened.policy.engine.logprobs(solution.prompt, solution.ids))

    try:
        found = await asyncio.gather(*(one(solution) for solution in solutions))
    finally:
        await opened.policy.engine.close()
    read = sum(len(solution.prompt) + len(solution.ids) for solution in solutions)
    return list(found), Costs(prompt_tokens=read, calls=len(solutions))
