"""Stage `train`: the policy, on the data of this iteration, from the base or from the current model.

The trainer keeps its own checkpoint in ``policy``, and a stage that was killed goes on from there; the
trained model is ``policy/model``. The model's weights and tokenizer are the stage's output.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from selftrain.loop.context import Context, StageError
from selftrain.loop.manifest import Costs, Done, Manifest, model_output
from selftrain.loop.stages.build import TREES
from selftrain.loop.state import MODEL, Model
from treesearch.settings import build
from treesearch.threads import Stop, in_thread

NAME = "train"


async def train(run: Context, iteration: int, base: Model, data: Manifest, *, phase: int = 1) -> Manifest:
    """Train `base` on what the stage `build` of the same phase made."""
    name = NAME if phase == 1 else f"{NAME}-{phase}"
    given = _given(run)
    config = training_config(run, iteration, name)
    source = run.path(iteration, data.identity.stage) / TREES
    inputs = {"base": base.hash, "trees": data.outputs[TREES].hash}

    async def work(folder: Path) -> Done:
        from selftrain.data.files import read_trees

        trees = read_trees(source)

        def job(stop: Stop) -> object:
            return run.parts.get("train")(
                trees,
                base=base.place,
                out=folder / MODEL.partition("/")[0],
                config=config,
                on_progress=run.watch.training,
                stop=stop,
            )

        outcome = await in_thread(job)
        if not outcome.finished:  # pyright: ignore[reportAttributeAccessIssue]
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise asyncio.CancelledError
            raise StageError(f"training stopped before its end; resume the run to go on in {folder}")
        summary = outcome.summary or {}  # pyright: ignore[reportAttributeAccessIssue]
        return Done(
            outputs={"model": model_output(folder, MODEL)},
            costs=Costs(trained_tokens=int(summary.get("tokens", 0))),
        )

    return await run.stage(name, iteration, work, inputs=inputs, settings=given)


def training_config(run: Context, iteration: int, name: str) -> Any:
    """How the policy is trained in the stage `name` of an iteration."""
    seed = {"seed": run.seed(iteration, name) % 2**31}
    return build(run.parts.get("train_config"), seed | _given(run), what="training")


def _given(run: Context) -> dict[str, Any]:
    part = run.config.train
    return {} if part is None else dict(part.settings)
