"""Stage `build`: training data out of the graded trees of the last `history` iterations.

``trees.jsonl`` are the training trees, ``counts.json`` what the builder kept and dropped. What a builder
takes besides settings is given to it by name where the run has it: `encode` and `tokenizer` of the policy,
`task` where all tasks are of one kind, `earlier` (the base model's trees) and `later` (those of the model
that phase 1 trained), `demonstrations` (the reference solutions in the problems' metadata) and
`previous_rewards` (stage `score`). A builder that keeps nothing is an error: there is nothing to train on.

Trees of iterations that were rolled back are not used again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selftrain.data.searched import Searched
from selftrain.loop.context import Context
from selftrain.loop.gate import Action
from selftrain.loop.graded import read_searched
from selftrain.loop.manifest import Done, Manifest, file_output, read_manifest
from selftrain.loop.stages.grade import GRADED, graded_path
from selftrain.loop.stages.score import read_rewards, with_rewards
from selftrain.loop.state import System
from selftrain.loop.tokenizers import tokenizer_of
from tasks.errors import DataError
from treesearch.api import open_task
from treesearch.atomic import write_json

NAME = "build"
TREES = "trees.jsonl"
COUNTS = "counts.json"
SUPPLIED = ("encode", "tokenizer", "task", "earlier", "later", "demonstrations", "previous_rewards")
"""Inputs of builders that a run can give."""


async def build(
    run: Context,
    iteration: int,
    system: System,
    graded: Mapping[str, Manifest],
    *,
    tuned: Mapping[str, Any],
    phase: int = 1,
) -> Manifest:
    """Build from the manifests `graded` (by stage name) of this iteration and from earlier ones."""
    name = NAME if phase == 1 else f"{NAME}-{phase}"
    part = run.config.builder
    inputs = {
        f"{stage}/{key}": output.hash
        for stage, manifest in graded.items()
        for key, output in manifest.outputs.items()
        if key != "solved"
    }
    before = _earlier_iterations(run, iteration)
    for number in before:
        found = read_manifest(run.path(number, "grade"))
        outputs = found.outputs if found else {}
        inputs |= {f"{number}/{key}": output.hash for key, output in outputs.items() if key != "solved"}
    settings = {
        "name": part.name,
        "settings": dict(part.settings) | dict(tuned),
        "policy": system.policy.hash,
    }

    async def work(folder: Path) -> Done:
        trees = [tree for number in (*before, iteration) for tree in _trees(run, number)]
        given = _inputs(run, iteration, system, trees, phase)
        if "score" in graded:
            rewards = read_rewards(run, iteration)
            trees = with_rewards(trees, rewards)
            given["previous_rewards"] = {
                key: {text: pair[1] for text, pair in each.items()} for key, each in rewards.items()
            }
        taken = _taken(run, part.name)
        chosen = {key: value for key, value in given.items() if key in taken}
        builder = run.parts.get("open_builder")(part.name, {**part.settings, **tuned, **chosen})
        built = builder(trees)
        if not built.trees:
            raise DataError(f"the builder {part.name!r} kept nothing: {_shown(built.counts)}")
        _write(folder, built)
        outputs = {name: file_output(folder, name) for name in (TREES, COUNTS)}
        return Done(outputs=outputs, results={"trees": len(built.trees), **built.counts})

    return await run.stage(name, iteration, work, inputs=inputs, settings=settings)


def _write(folder: Path, built: Any) -> None:
    from selftrain.data.files import write_trees

    write_trees(folder / TREES, built.trees)
    write_json(folder / COUNTS, dict(sorted(built.counts.items())))


def _earlier_iterations(run: Context, iteration: int) -> list[int]:
    """Iterations before this one whose trees are used too."""
    first = max(1, iteration - run.config.builder.history + 1)
    found: list[int] = []
    for number in range(first, iteration):
        gate = read_manifest(run.path(number, "gate"))
        if gate is not None and gate.results["action"] != Action.ROLL_BACK.value:
            found.append(number)
    return found


def _trees(run: Context, iteration: int) -> list[Searched]:
    paths = [graded_path(run, iteration, name) for name in run.config.trained]
    return [tree for path in paths if path.exists() for tree in read_searched(path)]


def _taken(run: Context, name: str) -> set[str]:
    """What the builder of a name takes besides settings."""
    if run.parts.open_builder is not None:
        return set()
    from selftrain.builders import builder_inputs

    return set(builder_inputs(name))


def _inputs(
    run: Context, iteration: int, system: System, trees: list[Searched], phase: int
) -> dict[str, Any]:
    """What a builder may take, by the names of its fields; only what it asks for is made."""
    taken = _taken(run, run.config.builder.name)
    found: dict[str, Any] = {}
    if taken & {"encode", "tokenizer"}:
        tokenizer = tokenizer_of(system.policy.place, run.config.engine)
        found |= {"tokenizer": tokenizer, "encode": tokenizer.encode}
    kinds = {part.task for part in run.config.tasks if part.train is not None}
    if len(kinds) == 1:
        found["task"] = open_task(kinds.pop())
    if "earlier" in taken:
        found["earlier"] = _read_all(run.path(iteration, "grade") / GRADED / "base", run)
    if "later" in taken and phase > 1:
        found["later"] = _read_all(run.path(iteration, f"grade-{phase}") / GRADED, run)
    if "demonstrations" in taken:
        solutions = {one.problem.id: one.problem.meta.get("solution") for one in trees}
        found["demonstrations"] = {key: str(text) for key, text in solutions.items() if text}
    return found


def _read_all(folder: Path, run: Context) -> list[Searched]:
    paths = [folder / f"{name}.jsonl" for name in run.config.trained]
    return [tree for path in paths if path.exists() for tree in read_searched(path)]


def _shown(counts: Mapping[str, int]) -> str:
    """Why a builder kept nothing, the commonest reason first."""
    from selftrain.builders import REASONS

    left_out = sorted(counts.items(), key=lambda entry: -entry[1])
    told: list[str] = []
    for name, count in left_out:
        meaning = REASONS.get(name.removeprefix("dropped."))
        told.append(f"{count:,} {name} ({meaning})" if meaning else f"{count:,} {name}")
    hint = ""
    if left_out and left_out[0][0] == "dropped.no_solution":
        hint = "; roll-outs are no solutions: if the search ends at the first right one, set its gate above 1"
    return (", ".join(told) or "no tree was given to it") + hint
