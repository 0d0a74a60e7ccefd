"""The loop itself: decontaminate, measure the base, and then iteration after iteration.

    search -> grade -> build -> train -> (prm) -> evaluate -> gate -> monitors

Contract: `conduct` runs the stages of a run in their order and returns the system that is current at the end.
Every stage that is done is taken over (`Context.stage`), so starting a run, resuming it and adding iterations
are one. An iteration is written down as a whole, in its `manifest.json`, when its last stage is done.
"""

from __future__ import annotations

from dataclasses import asdict

from selftrain.loop.context import Context
from selftrain.loop.hashing import data_hash
from selftrain.loop.layout import STAGES, iteration_folder
from selftrain.loop.manifest import FILE, SCHEMA, Costs, Manifest, read_manifest
from selftrain.loop.stages.build import build
from selftrain.loop.stages.decontaminate import decontaminate
from selftrain.loop.stages.evaluate import evaluate
from selftrain.loop.stages.gate import gate
from selftrain.loop.stages.grade import grade
from selftrain.loop.stages.monitors import monitors
from selftrain.loop.stages.prm import prm
from selftrain.loop.stages.score import score
from selftrain.loop.stages.search import search
from selftrain.loop.stages.train import train
from selftrain.loop.stages.tune import Tuned, tune
from selftrain.loop.state import System, after, base_system, candidate
from treesearch.atomic import write_json


async def conduct(run: Context) -> System:
    """Run, or go on with, all iterations of a configuration; returns the current system."""
    await decontaminate(run)
    base = base_system(run.config.policy)
    await evaluate(run, 0, base)
    system = base
    for iteration in range(1, run.config.iterations + 1):
        system = await _iteration(run, iteration, system, base)
    return system


async def _iteration(run: Context, iteration: int, system: System, base: System) -> System:
    config = run.config
    tuned: Tuned = {"search": {}, "builder": {}}
    if config.tune is not None:
        tuned = await tune(run, iteration, system, config.tune)
    anchor = base.policy if _compares(run) else None
    searched = await search(run, iteration, system, tuned=tuned["search"], anchor=anchor)
    graded = {"grade": await grade(run, iteration, searched)}
    if config.train is not None:
        await _learn(run, iteration, system, base, graded, tuned)
    if config.prm is not None:
        await prm(run, iteration, config.prm, searched)
    measured = await evaluate(run, iteration, candidate(run.folder, iteration, system, config.prm))
    await gate(run, iteration, system, measured)
    await monitors(run, iteration)
    new = after(run.folder, iteration, system, config.prm)
    _write_iteration(run, iteration, new)
    return new


async def _learn(
    run: Context,
    iteration: int,
    system: System,
    base: System,
    graded: dict[str, Manifest],
    tuned: Tuned,
) -> None:
    """Build data and train the policy, in one phase or two."""
    config = run.config
    start = base.policy if config.policy_from == "base" else system.policy
    if config.builder.rewards == "log-ratio":
        graded["score"] = await score(run, iteration, system, base, graded["grade"])
    data = await build(run, iteration, system, graded, tuned=tuned["builder"])
    await train(run, iteration, start, data)
    if config.builder.phases == 2:
        later = candidate(run.folder, iteration, system, None, phase=1)
        again = await search(run, iteration, later, tuned=tuned["search"], anchor=None, phase=2)
        graded["grade-2"] = await grade(run, iteration, again, phase=2)
        data = await build(run, iteration, system, graded, tuned=tuned["builder"], phase=2)
        await train(run, iteration, start, data, phase=2)


def _compares(run: Context) -> bool:
    """Whether the builder asks for the base model's trees."""
    if run.config.train is None or run.parts.open_builder is not None:
        return False
    from selftrain.builders import builder_inputs

    return "earlier" in builder_inputs(run.config.builder.name)


def _write_iteration(run: Context, iteration: int, system: System) -> None:
    """Write the manifest of a finished iteration: what its stages came to, what was decided, what it cost."""
    found = {stage: read_manifest(run.path(iteration, stage)) for stage in STAGES}
    stages = {stage: manifest for stage, manifest in found.items() if manifest is not None}
    decided = stages["gate"].results
    content = {
        "schema": SCHEMA,
        "iteration": iteration,
        "stages": {stage: manifest.hash for stage, manifest in stages.items()},
        "action": decided["action"],
        "reason": decided["reason"],
        "policy": system.policy.hash,
    }
    costs = sum((manifest.costs for manifest in stages.values()), Costs())
    whole = content | {"hash": data_hash(content), "costs": asdict(costs), "versions": dict(run.versions)}
    write_json(iteration_folder(run.folder, iteration) / FILE, whole)
