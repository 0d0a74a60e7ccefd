"""Searching sets of problems with one model: each set a run of `treesearch.run`, one engine for all.

Contract: `search_sets` searches every set of a job into ``FOLDER/NAME``, a run directory that `search show`
reads, and goes on with what is there; where nothing is left to do no model is opened. Beside each run it
writes ``NAME.prompts.json``: the ids that the policy was asked with and the model's end-of-text tokens, so
that grading and training need no model. Cancelling leaves runs that can be taken up again.

`trees_of` folds the trees of a set out of its journal, in the order of the problems, those of problems that
failed left out. The hash of a set is over these trees and does not depend on the order in which problems
happened to finish.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selftrain.loop.hashing import data_hash
from selftrain.loop.manifest import Costs
from selftrain.loop.sections import EnginePart
from selftrain.loop.watch import Watch
from tasks.base import Problem
from tasks.errors import DataError
from treesearch.atomic import write_json
from treesearch.export import tree_to_json
from treesearch.policy import Policy
from treesearch.run.config import Resolved, resolve
from treesearch.run.plan import Plan, prepare
from treesearch.run.runner import Progress
from treesearch.run.session import open_plan, search_plan
from treesearch.run.store import fold_trees, read_header, read_results
from treesearch.run.summary import read_summary
from treesearch.tree import Tree


@dataclass(frozen=True, kw_only=True)
class ProblemFile:
    """Problems of one `task` in a frozen file, under a `name` and with the `seed` of its search."""

    name: str
    task: str
    path: Path
    seed: int


@dataclass(frozen=True, kw_only=True)
class SearchJob:
    """What is searched with which model, how. `settings` as for `search solve`."""

    model: str
    sets: tuple[ProblemFile, ...]
    engine: EnginePart
    algorithm: str
    value: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    budgets: Mapping[str, int | None] = field(default_factory=dict[str, int | None])
    concurrency: int = 64


@dataclass(frozen=True, kw_only=True)
class SearchedSet:
    """One searched set: results by problem, problems that failed with their errors, and what it took."""

    folder: Path
    rows: Sequence[Mapping[str, Any]]
    costs: Costs

    @property
    def failed(self) -> dict[str, str]:
        """Problems that ended with an error."""
        return {row["id"]: row["error"] for row in self.rows if row["error"]}


def resolved(job: SearchJob, problems: ProblemFile) -> Resolved:
    """The configuration of the run of one set."""
    engine = {f"engine.{key}": value for key, value in job.engine.settings.items()}
    flags: dict[str, Any] = {
        "task": problems.task,
        "data": str(problems.path.absolute()),
        "policy": job.model,
        "engine": job.engine.name,
        "model": job.engine.model,
        "engine_args": job.engine.args,
        "algorithm": job.algorithm,
        "value": job.value,
        "seed": problems.seed,
        "concurrency": job.concurrency,
        "settings": dict(job.settings) | engine,
    }
    budgets = {f"budget_{name}": "none" if most is None else most for name, most in job.budgets.items()}
    return resolve(flags | budgets)


async def search_sets(job: SearchJob, folder: Path, watch: Watch) -> dict[str, SearchedSet]:
    """Search all sets of a job into `folder`; see the module."""
    plans = {each.name: prepare(resolved(job, each)) for each in job.sets}
    left = {name: plan for name, plan in plans.items() if not _finished(folder, name)}
    found: dict[str, SearchedSet] = {}
    async with _policies(left) as open_for:
        for name, plan in left.items():
            watch.search(Progress(total=len(plan.problems)))
            policy = open_for(plan)
            await search_plan(plan, policy, folder / name, watch.search)
            _write_prompts(folder, name, plan, policy)
    for name in plans:
        found[name] = SearchedSet(
            folder=folder / name, rows=read_results(folder / name), costs=_costs(read_summary(folder / name))
        )
    return found


@asynccontextmanager
async def _policies(plans: Mapping[str, Plan]) -> AsyncGenerator[Any]:
    """A function from plan to policy, all on one engine; nothing is opened without a plan."""
    async with AsyncExitStack() as stack:
        opened: list[Policy] = []
        if plans:
            opened.append(await stack.enter_async_context(open_plan(next(iter(plans.values())))))

        def policy(plan: Plan) -> Policy:
            first = opened[0]
            if first.task.name == plan.task.name:
                return first
            return Policy(engine=first.engine, task=plan.task, config=first.config)

        yield policy


def _finished(folder: Path, name: str) -> bool:
    """Whether every problem has a result without an error, and the prompts are written."""
    summary = read_summary(folder / name)
    done = bool(summary.get("finished")) and not summary["n_errors"]
    return done and prompts_path(folder, name).is_file()


def prompts_path(folder: Path, name: str) -> Path:
    """Where the prompts of a set are."""
    return folder / f"{name}.prompts.json"


def _write_prompts(folder: Path, name: str, plan: Plan, policy: Policy) -> None:
    tokenizer = policy.engine.tokenizer
    prompts = {problem.id: list(policy.prompt_ids(problem)) for problem in plan.problems}
    trees = fold_trees(folder / name, plan.problems, plan.resolved.config)
    content = {
        "ends": _ends(trees.values(), tokenizer),
        "prompts": {key: {"ids": ids, "text": tokenizer.decode(ids)} for key, ids in prompts.items()},
    }
    write_json(prompts_path(folder, name), content)


def _ends(trees: Any, tokenizer: Any) -> list[int]:
    """End-of-text tokens: the tokenizer's first, then those that ended a solution and stand for no text."""
    seen = {
        node.step.token_ids[-1]
        for tree in trees
        for node in tree.nodes
        if node.finished and node.step is not None and node.step.token_ids
    }
    own = [] if tokenizer.eos_token_id is None else [int(tokenizer.eos_token_id)]
    return own + sorted(token for token in seen if token not in own and not tokenizer.decode([token]))


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """The prompts of a set: ids and text by problem, and the end-of-text tokens, the usual one first."""

    ids: Mapping[str, tuple[int, ...]]
    texts: Mapping[str, str]
    ends: tuple[int, ...]


def read_prompts(folder: Path, name: str) -> Prompts:
    """Read the prompts of a set; `DataError` if they are damaged."""
    path = prompts_path(folder, name)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = content["prompts"]
        return Prompts(
            ids={key: tuple(each["ids"]) for key, each in found.items()},
            texts={key: each["text"] for key, each in found.items()},
            ends=tuple(content["ends"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not the prompts of a search ({error})") from error


def trees_of(folder: Path, problems: Sequence[Problem]) -> list[Tree]:
    """The trees of a set's run that did not fail, in the order of `problems`."""
    config = read_header(folder).resolved.config
    failed = {row["id"] for row in read_results(folder) if row["error"]}
    trees = fold_trees(folder, problems, config, skip=failed)
    return [trees[problem.id] for problem in problems if problem.id in trees]


def trees_hash(trees: Sequence[Tree]) -> str:
    """One hash of whole trees, in their order."""
    return data_hash([data_hash(tree_to_json(tree)) for tree in trees])


def _costs(summary: Mapping[str, Any]) -> Costs:
    usage = summary["usage"]
    return Costs(
        generated_tokens=usage["generated_tokens"],
        prompt_tokens=usage["prompt_tokens"],
        value_tokens=usage["value_tokens"],
        calls=usage["calls"],
    )
