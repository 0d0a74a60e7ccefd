"""Stage `monitors`: what an iteration shows besides accuracy (exploration, exploitation, drift).

``monitors.json`` holds the figures of `selftrain.monitors.iteration_monitors` on the graded trees and on the
training data, some of which is read again under the trained model. Drift is against the first iteration.
Nothing depends on them but those who read them.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from selftrain.data.files import read_trees
from selftrain.data.record import TrainingTree
from selftrain.data.searched import Searched
from selftrain.loop.context import Context
from selftrain.loop.graded import read_searched
from selftrain.loop.manifest import Done, Manifest, file_output, read_manifest
from selftrain.loop.reading import read
from selftrain.loop.stages.build import TREES
from selftrain.loop.stages.grade import graded_path
from selftrain.loop.stages.train import NAME as TRAIN
from selftrain.loop.stages.train import training_config
from selftrain.loop.state import Model, require_manifest, trained_policy
from selftrain.monitors import MonitorSettings, iteration_monitors
from treesearch.atomic import write_json

NAME = "monitors"
FILE = "monitors.json"


async def monitors(run: Context, iteration: int) -> Manifest:
    """Observe this iteration."""
    inputs = {"graded": require_manifest(run.folder, iteration, "grade").hash}
    if iteration > 1:
        inputs["first"] = require_manifest(run.folder, 1, "grade").hash
    settings = run.config.monitors.settings
    data = _data(run, iteration)
    if data is not None:
        inputs["trees"] = data.outputs[TREES].hash
    trained = trained_policy(run.folder, iteration)
    if trained is not None:
        inputs["policy"] = trained.hash

    async def work(folder: Path) -> Done:
        chosen = read(MonitorSettings, settings, "monitors.settings")
        trees, after = _trees(run, data), None
        if trained is not None and trees and chosen.logprob_tokens:
            again, sums = await _read_again(run, iteration, trees, trained, chosen.logprob_tokens)
            if again:
                trees, after = again, sums
        found = iteration_monitors(
            _graded(run, iteration),
            _graded(run, 1) if iteration > 1 else [],
            trees=trees,
            after=after,
            settings=chosen,
        )
        write_json(folder / FILE, found)
        return Done(outputs={"monitors": file_output(folder, FILE)})

    return await run.stage(NAME, iteration, work, inputs=inputs, settings=settings)


async def _read_again(
    run: Context, iteration: int, trees: list[TrainingTree], trained: Model, most_tokens: int
) -> tuple[list[TrainingTree], list[list[float]]]:
    """Trees with their log-probs under the trained model.

    None where one process might not hold it (sharded training), or a trainer of one's own made it.
    """
    read_again, config = run.parts.get("log_probs"), training_config(run, iteration, TRAIN)
    own_trainer = run.parts.train is not None and run.parts.log_probs is None
    if own_trainer or getattr(config, "shard", "none") != "none":
        return [], []
    return await asyncio.to_thread(
        read_again, trees, model=trained.place, config=config, most_tokens=most_tokens
    )


def _data(run: Context, iteration: int) -> Manifest | None:
    """The manifest of the training data that counts, if the policy was trained."""
    later = read_manifest(run.path(iteration, "build-2"))
    return later or read_manifest(run.path(iteration, "build"))


def _trees(run: Context, data: Manifest | None) -> list[TrainingTree]:
    if data is None:
        return []
    return read_trees(run.path(data.identity.iteration, data.identity.stage) / TREES)


def _graded(run: Context, iteration: int) -> list[Searched]:
    paths = [graded_path(run, iteration, name) for name in run.config.trained]
    return [tree for path in paths if path.exists() for tree in read_searched(path)]
