"""Grading searched sets: trees of a run become `Searched`, graded with the gold, without a model.

Contract: `grade_set` gives one `Searched` for each tree of a set, in the order of the problems. Grading runs
beside itself, a number of problems at once; the worker of the mathematics grader is stopped at the end.
`tally` says of each problem how many outcomes there were and how many were right.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from selftrain.data.searched import Searched, read_tree
from selftrain.loop.searching import Prompts, read_prompts, trees_of
from tasks.base import Problem
from tasks.math import shutdown
from treesearch.api import open_task
from treesearch.tree import ROOT, Tree

_AT_ONCE = 32


async def grade_set(folder: Path, name: str, problems: Sequence[Problem], task: str) -> list[Searched]:
    """Grade the trees of the set `name` that `search_sets` wrote into `folder`."""
    prompts = read_prompts(folder, name)
    places = asyncio.Semaphore(_AT_ONCE)
    try:
        return list(
            await asyncio.gather(
                *(_grade(tree, task, prompts, places) for tree in trees_of(folder / name, problems))
            )
        )
    finally:
        shutdown()


async def _grade(tree: Tree, task: str, prompts: Prompts, places: asyncio.Semaphore) -> Searched:
    problem = tree.problem.id
    async with places:
        return await read_tree(
            tree,
            open_task(task),
            prompt_ids=prompts.ids[problem],
            prompt=prompts.texts[problem],
            end_ids=prompts.ends,
        )


def tally(searched: Sequence[Searched]) -> dict[str, tuple[int, int]]:
    """Right and all outcomes of each problem, by id."""
    return {one.problem.id: (one.right[ROOT], one.outcomes[ROOT]) for one in searched}
