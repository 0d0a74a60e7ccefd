"""Stage `monitors`: what an iteration shows besides accuracy (exploration, exploitation, drift).

``monitors.json`` holds the figures of `selftrain.monitors.iteration_monitors` on the graded trees and on the
training data. Drift is against the first iteration. Nothing depends on them but those who read them.
"""

from __future__ import annotations

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
from selftrain.loop.state import require_manifest
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

    async def work(folder: Path) -> Done:
        found = iteration_monitors(
            _graded(run, iteration),
            _graded(run, 1) if iteration > 1 else [],
            trees=_trees(run, data),
            settings=read(MonitorSettings, settings, "monitors.settings"),
        )
        write_json(folder / FILE, found)
        return Done(outputs={"monitors": file_output(folder, FILE)})

    return await run.stage(NAME, iteration, work, inputs=inputs, settings=settings)


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
