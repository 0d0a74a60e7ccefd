"""Stage `grade`: the searched trees with the gold's verdict on every solution and roll-out.

``graded/TASK.jsonl`` are the trees that builders read, ``graded/base/TASK.jsonl`` those of the base model
where it was searched too, and ``solved.json`` says of every problem how many of its outcomes were right. No
model is opened.
"""

from __future__ import annotations

from pathlib import Path

from selftrain.data.searched import Searched
from selftrain.loop.context import Context
from selftrain.loop.graded import write_searched
from selftrain.loop.grading import tally
from selftrain.loop.manifest import Done, Manifest, file_output
from selftrain.loop.problems import thaw
from selftrain.loop.state import SOLVED
from treesearch.atomic import write_json

NAME = "grade"
GRADED = "graded"


async def grade(run: Context, iteration: int, searched: Manifest, *, phase: int = 1) -> Manifest:
    """Grade what the stage `search` of the same phase found."""
    name = NAME if phase == 1 else f"{NAME}-{phase}"
    source = run.path(iteration, searched.identity.stage)
    inputs = {key: output.hash for key, output in searched.outputs.items()}
    names = [key.removeprefix("trees/") for key in searched.outputs if key.startswith("trees/")]

    async def work(folder: Path) -> Done:
        outputs, solved = {}, dict[str, dict[str, tuple[int, int]]]()
        right = total = 0
        for each in names:
            task = each.rpartition("/")[2]
            kind = run.config.task(task).task
            problems = thaw(source / "problems" / f"{task}.jsonl", kind)
            place = source / each
            found: list[Searched] = await run.parts.get("grade")(place.parent, task, problems, kind)
            write_searched(folder / GRADED / f"{each}.jsonl", found)
            outputs[each] = file_output(folder, f"{GRADED}/{each}.jsonl")
            if each == task:
                solved[task] = tally(found)
                right += sum(good > 0 for good, _ in solved[task].values())
                total += len(found)
        write_json(folder / SOLVED, solved)
        outputs["solved"] = file_output(folder, SOLVED)
        return Done(outputs=outputs, results={"problems": total, "solved": right})

    return await run.stage(name, iteration, work, inputs=inputs, settings={})


def graded_path(run: Context, iteration: int, name: str, *, phase: int = 1) -> Path:
    """The graded trees of a task, or of ``base/TASK``."""
    stage = NAME if phase == 1 else f"{NAME}-{phase}"
    return run.path(iteration, stage) / GRADED / f"{name}.jsonl"
