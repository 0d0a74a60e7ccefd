"""Stage `prm`: a process-reward or Q-value model, trained on labels of this iteration's trees.

``labels/`` are records and rows, ``prm/model`` is the trained model. It starts from `prm.base`, by default
the run's base policy, in every iteration anew. Where it serves as the value, it does so from the next
iteration's search on, and in this iteration's evaluation (`prm.use`).
"""

from __future__ import annotations

from pathlib import Path

from selftrain.loop.context import Context
from selftrain.loop.hashing import model_hash
from selftrain.loop.manifest import Done, Manifest, model_output
from selftrain.loop.parts import PrmJob
from selftrain.loop.sections import PrmPart
from selftrain.loop.state import PRM
from treesearch.policies import resolve_model

NAME = "prm"


async def prm(run: Context, iteration: int, part: PrmPart, searched: Manifest) -> Manifest:
    """Label and train on what the stage `search` found."""
    base = part.base or run.config.policy
    inputs = {key: output.hash for key, output in searched.outputs.items() if _is_ours(key)}
    inputs["base"] = model_hash(resolve_model(base))
    settings = {
        "method": part.method,
        "rule": part.rule,
        "labels": dict(part.labels),
        "settings": dict(part.settings),
    }
    seed = run.seed(iteration, NAME)
    source = run.path(iteration, searched.identity.stage)
    names = [
        key.removeprefix("trees/") for key in searched.outputs if key.startswith("trees/") and _is_ours(key)
    ]

    async def work(folder: Path) -> Done:
        job = PrmJob(
            runs={name: source / name for name in names},
            base=base,
            method=part.method,
            rule=part.rule,
            labels=part.labels,
            settings=part.settings,
            seed=seed,
        )
        costs = await run.parts.get("train_prm")(job, folder, run.watch)
        return Done(outputs={"model": model_output(folder, PRM)}, costs=costs)

    return await run.stage(NAME, iteration, work, inputs=inputs, settings=settings, seed=seed)


def _is_ours(key: str) -> bool:
    """Whether an output of searching is of the current model, not of the base model beside it."""
    return "/base/" not in f"/{key}"
