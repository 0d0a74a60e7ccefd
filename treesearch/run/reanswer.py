"""A finished run answered under another rule, from the trees that it has, without a model.

`answer_again` makes the run that `plan` would have been from the trees of `source`, where that searched the
same (`answers_from`). Tokens, calls and seconds of the new run are those of the search that made its trees,
which its summary names (`trees_of`). The directory appears whole or not at all.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from treesearch.algorithms.sampling import BestOfN, SelfConsistency
from treesearch.engines.base import EngineUsage
from treesearch.run.config import RunConfig
from treesearch.run.plan import Plan
from treesearch.run.store import (
    JOURNAL,
    RunStore,
    fold_trees,
    make_header,
    read_header,
    read_results,
    tree_seed,
)
from treesearch.run.summary import read_summary, summarise
from treesearch.tree import Tree

_ANSWERING = ("answer", "borda_power")
"""Settings of an algorithm that its search does not read."""
_SAMPLERS = (BestOfN, SelfConsistency)
"""Algorithms that draw the same samples; a subclass may search otherwise."""


def answers_from(one: Plan, other: Plan) -> bool:
    """Whether the trees that `other` searches have all that the answers of `one` are made from.

    That is so where they differ in the answer rule alone, and for a majority vote of samples without a value
    also where `other` ranks the same samples by log-probability, which costs nothing. Borda's rule wants the
    self-certainty of every step, which other searches do not ask for.
    """
    wanted, found = _searched(one), _searched(other)
    bare = _samples(one) and wanted.value == "none" and one.algorithm.answer == "majority"
    return (
        (wanted == found or (bare and replace(wanted, value="logprob") == found))
        and one.problems == other.problems
        and (one.algorithm.answer == "borda") == (other.algorithm.answer == "borda")
    )


def can_be_answered_again(run: Path) -> bool:
    """Whether the run in `run` is finished without a failed problem, and has its trees."""
    summary = read_summary(run)
    return bool(summary.get("finished")) and not summary["n_errors"] and (run / JOURNAL).exists()


async def answer_again(source: Path, plan: Plan, folder: Path) -> None:
    """Make the run of `plan` in `folder`, which must not exist, from the trees of `source`."""
    beside = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(beside, ignore_errors=True)
    header = read_header(source)
    store = RunStore.create(
        beside, make_header(plan.resolved, plan.problems, header.model_hash, header.value_hash)
    )
    try:
        rows = await _rows(source, plan)
        for row in rows:
            store.append_result(row)
        store.write_summary(_summary(rows, source, folder))
    finally:
        store.close()
    shutil.copy(source / JOURNAL, beside / JOURNAL)
    beside.replace(folder)


def _samples(plan: Plan) -> bool:
    return type(plan.algorithm) in _SAMPLERS


def _searched(plan: Plan) -> RunConfig:
    """What decides the search; self-consistency and best-of-N sample alike."""
    config = plan.resolved.config
    settings: Mapping[str, Any] = config.settings
    return replace(
        config,
        algorithm=BestOfN.name if _samples(plan) else config.algorithm,
        value=config.value or plan.algorithm.default_value,
        settings={key: settings[key] for key in settings if key not in _ANSWERING},
    )


async def _rows(source: Path, plan: Plan) -> list[dict[str, Any]]:
    """The results of `source` with the answers of `plan`, graded."""
    config = plan.resolved.config
    trees = fold_trees(source, plan.problems, config)
    problems = {problem.id: problem for problem in plan.problems}
    rows: list[dict[str, Any]] = []
    for row in read_results(source):
        problem = problems[row["id"]]
        seed = tree_seed(config, problem.id)
        tree = trees.get(problem.id) or Tree.fold(problem, [], seed=seed, budget=config.budget())
        answer = plan.algorithm.final_answer(tree)
        grade = await plan.task.agrade(problem, answer)
        told = {"verdict": grade.verdict.value, "decided_by": grade.decided_by, "grader": grade.grader}
        rows.append(row | {"answer": answer} | told)
    return rows


def _summary(rows: list[dict[str, Any]], source: Path, folder: Path) -> dict[str, Any]:
    old = read_summary(source)
    found = summarise(
        rows,
        seconds=old["seconds"],
        run=str(folder),
        oracle=old["oracle"],
        note=old["note"],
        engine=EngineUsage(**old["engine"]),
    )
    return found | {"trees_of": source.name, "finished": len(rows) == old["n_problems"]}
