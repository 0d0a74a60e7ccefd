"""Stage `monitors`: what an iteration shows besides accuracy (exploration, exploitation, drift, hacking).

``monitors.json`` holds the figures of every monitor that the configuration names. Nothing depends on them but
those who read them.
"""

from __future__ import annotations

from pathlib import Path

from selftrain.data.searched import Searched
from selftrain.loop.context import Context
from selftrain.loop.graded import read_searched
from selftrain.loop.manifest import Done, Manifest, file_output
from selftrain.loop.monitoring import Seen, observe
from selftrain.loop.stages.grade import graded_path
from selftrain.loop.state import require_manifest
from treesearch.atomic import write_json

NAME = "monitors"
FILE = "monitors.json"


async def monitors(run: Context, iteration: int) -> Manifest:
    """Observe this iteration."""
    names = run.config.monitors
    inputs = {"graded": require_manifest(run.folder, iteration, "grade").hash}
    if iteration > 1:
        inputs["before"] = require_manifest(run.folder, iteration - 1, "grade").hash

    async def work(folder: Path) -> Done:
        seen = Seen(
            searched=_trees(run, iteration), before=_trees(run, iteration - 1) if iteration > 1 else []
        )
        write_json(folder / FILE, observe(names, seen))
        return Done(outputs={"monitors": file_output(folder, FILE)})

    return await run.stage(NAME, iteration, work, inputs=inputs, settings={"monitors": list(names)})


def _trees(run: Context, iteration: int) -> list[Searched]:
    paths = [graded_path(run, iteration, name) for name in run.config.trained]
    return [tree for path in paths if path.exists() for tree in read_searched(path)]
