"""Stage `gate`: the new system against the current one on the same problems; see `selftrain.loop.gate`.

``decision.json`` holds what was decided and why, with the comparison on every task. Whether a system that is
the current one in all that is measured was made at all shows in the result: no problem differs, so it is
held.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from selftrain.loop.context import Context
from selftrain.loop.gate import decide
from selftrain.loop.manifest import Done, Manifest, file_output
from selftrain.loop.stages.evaluate import read_evaluation
from selftrain.loop.state import System, require_manifest
from treesearch.atomic import write_json

NAME = "gate"
FILE = "decision.json"


async def gate(run: Context, iteration: int, system: System, measured: Manifest) -> Manifest:
    """Decide between `system`, as it was measured before, and what this iteration `measured`."""
    before = require_manifest(run.folder, system.measured, "evaluate")
    inputs = {
        "current": before.outputs["evaluation"].hash,
        "new": measured.outputs["evaluation"].hash,
    }
    part = run.config.gate

    async def work(folder: Path) -> Done:
        current = read_evaluation(run.path(system.measured, "evaluate"))
        new = read_evaluation(run.path(iteration, "evaluate"))
        found = decide(current, new, part, seed=run.seed(iteration, NAME))
        write_json(folder / FILE, found.to_json())
        return Done(
            outputs={"decision": file_output(folder, FILE)},
            results={"action": found.action.value, "reason": found.reason, "against": system.measured},
        )

    return await run.stage(
        NAME, iteration, work, inputs=inputs, settings=asdict(part), seed=run.seed(iteration, NAME)
    )
