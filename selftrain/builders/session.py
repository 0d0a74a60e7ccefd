"""Building from run directories: everything that builders need of a run, without loading its model.

    data = await read_runs([Path("runs/first")])
    built = build(data, {"tree-plv": {"alpha": 0.375}, "sft": {}})

Contract: `read_runs` folds the trees of one or several runs of a task out of their journals, as far as they
go, and grades them. Prompts are encoded as the policy did, by its tokenizer and the format of its card; the
end-of-text tokens are the tokenizer's, and whatever else ended a solution and stands for no text. Problems
without a readable gold stay, ungraded. A tokenizer that does not read what the policy wrote is `DataError`,
and so are runs whose tokenizers or tasks differ. Trees are not changed by anything that is read later.

`build` opens builders by name with their settings and with what the runs know: `encode`, `tokenizer` and
`task`, the policy's `delimiter`, `demonstrations` from the solutions in the problems' metadata. `inputs` that
the caller gives win. An input that none of the builders takes is `UsageError`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from prm.labels.trees import RunTrees, run_trees
from prm.values.spans import decoder_of
from selftrain.builders.base import Built, together
from selftrain.builders.table import builder_inputs, find_builder, open_builder
from selftrain.data.searched import Searched, read_tree
from selftrain.loop.sections import EnginePart
from selftrain.loop.tokenizers import tokenizer_of
from tasks.base import Task
from tasks.errors import DataError, MissingPrerequisiteError, UsageError, unknown_name
from tasks.math import shutdown
from treesearch.engines.base import Tokenizer
from treesearch.formats import Format
from treesearch.policies import card_folder, policy_config
from treesearch.policy import PolicyConfig
from treesearch.tree import Tree

_AT_ONCE = 32
_PROBE = "Step 1: 12 + 30 = 42, so x² is \\boxed{1764}.\n"
OnGraded = Callable[[int, int], None]


def _ignore(_: int, __: int) -> None:
    """The display of a reading that nobody watches."""


@dataclass(frozen=True, kw_only=True)
class RunData:
    """Graded trees of runs, and what builders may want of these runs. `delimiter` is that of the policy."""

    searched: tuple[Searched, ...]
    task: Task
    tokenizer: Tokenizer
    delimiter: str


async def read_runs(
    folders: Sequence[Path], *, tokenizer: str | None = None, on_graded: OnGraded = _ignore
) -> RunData:
    """The trees of run directories, graded; see the module.

    `tokenizer` names the folder or hub id of one, for runs whose policy does not say (a server's).
    `on_graded` gets the number of trees that are graded so far, and that of all.
    """
    if not folders:
        raise UsageError("name at least one run directory")
    runs = [_open(run_trees(folder), folder, tokenizer) for folder in folders]
    first = runs[0]
    for other in runs[1:]:
        _check_alike(first, other)
    done, total = 0, sum(len(run.trees) for run in runs)
    places = asyncio.Semaphore(_AT_ONCE)

    async def grade(run: _Run, tree: Tree) -> Searched:
        nonlocal done
        async with places:
            found = await run.read(tree)
        done += 1
        on_graded(done, total)
        return found

    try:
        searched = await asyncio.gather(*(grade(run, tree) for run in runs for tree in run.trees))
    finally:
        shutdown()
    return RunData(
        searched=tuple(searched),
        task=first.task,
        tokenizer=first.tokenizer,
        delimiter=first.config.delimiter,
    )


def build(
    data: RunData,
    builders: Mapping[str, Mapping[str, Any]],
    inputs: Mapping[str, Any] | None = None,
) -> Built:
    """The results of builders, by name with their settings, on one tree a problem; see the module."""
    given = dict(inputs or {})
    taken = {name: set(builder_inputs(name)) for name in builders}
    known = sorted(set().union(*taken.values()))
    for key in given:
        if key not in known:
            raise unknown_name(f"input of {' and '.join(builders)}", key, known)
    found = _found(data) | given
    opened = [
        open_builder(
            name,
            {
                **_of_the_policy(data, name),
                **settings,
                **{key: value for key, value in found.items() if key in taken[name]},
            },
        )
        for name, settings in builders.items()
    ]
    return together(builder(data.searched) for builder in opened)


def _found(data: RunData) -> dict[str, Any]:
    solutions = {one.problem.id: one.problem.meta.get("solution") for one in data.searched}
    found: dict[str, Any] = {
        "encode": data.tokenizer.encode,
        "tokenizer": data.tokenizer,
        "task": data.task,
    }
    if shown := {key: str(text) for key, text in solutions.items() if text}:
        found["demonstrations"] = shown
    return found


def _of_the_policy(data: RunData, name: str) -> dict[str, Any]:
    """The policy's delimiter, for builders that put words between steps."""
    takes = {entry.name for entry in fields(find_builder(name))}
    return {"delimiter": data.delimiter} if "delimiter" in takes else {}


@dataclass(frozen=True, kw_only=True)
class _Run:
    folder: Path
    task: Task
    trees: tuple[Tree, ...]
    tokenizer: Tokenizer
    config: PolicyConfig
    ends: Collection[int]

    async def read(self, tree: Tree) -> Searched:
        form = Format(
            name=self.config.format,  # pyright: ignore[reportArgumentType] - checked by PolicyConfig
            template=self.config.template,
            system=self.config.system,
        )
        ids = form.prompt_ids(tree.problem, self.task, self.tokenizer)
        return await read_tree(
            tree,
            self.task,
            prompt_ids=ids,
            prompt=self.tokenizer.decode(ids),
            end_ids=self.ends,
            require_gold=False,
        )


def _open(run: RunTrees, folder: Path, tokenizer: str | None) -> _Run:
    config, settings = run.plan.resolved.config, run.plan.settings
    engine = dict(settings["engine"]) | ({"tokenizer": tokenizer} if tokenizer is not None else {})
    opened = _tokenizer(config.policy, EnginePart(name=config.engine, settings=engine))
    _check_reads(run.trees, opened, folder)
    return _Run(
        folder=folder,
        task=run.plan.task,
        trees=run.trees,
        tokenizer=opened,
        config=policy_config(card_folder(config.policy, engine), settings["policy"])[0],
        ends=_ends(run.trees, opened),
    )


def _tokenizer(policy: str, engine: EnginePart) -> Tokenizer:
    try:
        return tokenizer_of(policy, engine)
    except UsageError as error:
        raise UsageError(
            f"the tokenizer of {policy!r} is not known: name its folder with --tokenizer"
        ) from error
    except ModuleNotFoundError as error:
        raise MissingPrerequisiteError(
            f"reading a run's prompts needs {error.name}; run: pip install 'treesearch-toolkit[local]'"
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(
            f"the tokenizer of {policy!r} cannot be read ({error}); name its folder with --tokenizer"
        ) from error


def _ends(trees: Sequence[Tree], tokenizer: Tokenizer) -> list[int]:
    """End-of-text tokens: the tokenizer's first, then those that ended a solution and stand for no text."""
    seen = {
        node.step.token_ids[-1]
        for tree in trees
        for node in tree.nodes
        if node.finished and node.step is not None and node.step.token_ids
    }
    own = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    return own + sorted(token for token in seen if token not in own and not tokenizer.decode([token]))


def _check_reads(trees: Sequence[Tree], tokenizer: Tokenizer, folder: Path) -> None:
    """`DataError` if not one step of the run decodes to its text."""
    steps = [node.step for tree in trees for node in tree.nodes if node.step and node.step.token_ids]
    if steps and not any(decoder_of(tokenizer, step.token_ids, step.text) for step in steps):
        raise DataError(
            f"{folder}: the tokenizer does not read the ids that the policy wrote; name the right one with "
            "--tokenizer"
        )


def _check_alike(one: _Run, other: _Run) -> None:
    if one.task.name != other.task.name:
        raise DataError(
            f"{one.folder} is of the task {one.task.name}, {other.folder} of {other.task.name}; "
            "build each by itself"
        )
    if one.tokenizer.encode(_PROBE) != other.tokenizer.encode(_PROBE):
        raise DataError(f"{one.folder} and {other.folder} have different tokenizers; build each by itself")
