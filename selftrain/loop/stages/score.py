"""Stage `score`: rewards of the solutions under the current and the previous model, for builders of the kind
of CREAM that ask how far two iterates agree.

``rewards.json`` holds, by problem and text, the current model's reward and the previous one's
(`selftrain.loop.rewards`). The stage exists only where the configuration has `builder.rewards: log-ratio`.
The current model's log-probs are those stored at generation; solutions without them are asked for again.
While no model was promoted, current and previous model are the base, and both rewards are the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from selftrain.data.searched import Searched
from selftrain.loop.context import Context
from selftrain.loop.graded import read_searched
from selftrain.loop.manifest import Costs, Done, Manifest, file_output
from selftrain.loop.rewards import Written, logprobs_under, reward, written
from selftrain.loop.stages.grade import graded_path
from selftrain.loop.state import Model, System
from treesearch.atomic import write_json

NAME = "score"
REWARDS = "rewards.json"
_DIGITS = 6
Rewards = Mapping[str, Mapping[str, tuple[float, float]]]
"""By problem id and text: the current model's reward and the previous one's."""


async def score(run: Context, iteration: int, system: System, base: System, graded: Manifest) -> Manifest:
    """Score the solutions that the stage `grade` found."""
    previous = system.previous or base.policy
    inputs = {name: graded.outputs[name].hash for name in run.config.trained if name in graded.outputs}
    inputs |= {"policy": system.policy.hash, "previous": previous.hash, "base": base.policy.hash}

    async def work(folder: Path) -> Done:
        trees = [
            each
            for name in run.config.trained
            if name in graded.outputs
            for each in read_searched(graded_path(run, iteration, name))
        ]
        found, costs = await _rewards(run, written(trees), system.policy, previous, base.policy)
        write_json(folder / REWARDS, found)
        return Done(outputs={"rewards": file_output(folder, REWARDS)}, costs=costs)

    settings = {"engine": asdict(run.config.engine)}
    return await run.stage(NAME, iteration, work, inputs=inputs, settings=settings)


async def _rewards(
    run: Context, solutions: list[Written], current: Model, previous: Model, base: Model
) -> tuple[dict[str, dict[str, tuple[float, float]]], Costs]:
    sums: dict[str, list[float]] = {}
    costs = Costs()
    for model in (base, previous, current):
        stored = [one.logprob for one in solutions]
        if model.hash in sums:
            continue
        if model.hash == current.hash and all(one is not None for one in stored):
            sums[model.hash] = [one or 0.0 for one in stored]
            continue
        sums[model.hash], spent = await logprobs_under(model.place, run.config.engine, solutions)
        costs += spent
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for index, one in enumerate(solutions):
        now, before = (
            reward(
                sums[model.hash][index],
                sums[base.hash][index],
                len(one.ids),
                is_base=model.hash == base.hash,
            )
            for model in (current, previous)
        )
        found.setdefault(one.problem, {})[one.text] = (round(now, _DIGITS), round(before, _DIGITS))
    return found, costs


def read_rewards(run: Context, iteration: int) -> Rewards:
    """The rewards of a finished stage."""
    content = json.loads((run.path(iteration, NAME) / REWARDS).read_text(encoding="utf-8"))
    return {key: {text: (pair[0], pair[1]) for text, pair in each.items()} for key, each in content.items()}


def with_rewards(trees: list[Searched], rewards: Rewards) -> list[Searched]:
    """The trees with the current model's rewards as the values of their solutions."""
    from dataclasses import replace

    found: list[Searched] = []
    for one in trees:
        values = list(one.values)
        for node in one.solutions:
            text = "".join(one.texts[each] for each in one.tree.path(node)[1:])
            values[node] = rewards.get(one.problem.id, {}).get(text, (None, None))[0]
        found.append(replace(one, values=tuple(values)))
    return found
