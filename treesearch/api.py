"""Search one question from Python: `solve` and, for running event loops and notebooks, `asolve`."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tasks.base import Grade, Problem, Task, Verdict
from tasks.errors import UsageError
from treesearch.algorithms.base import Algorithm
from treesearch.budget import Budget, Meter, Usage
from treesearch.engines.base import refuse_distinct
from treesearch.events import StopReason
from treesearch.policies import OpenPolicy, open_policy, recommended_value
from treesearch.policy import Policy
from treesearch.registry import find
from treesearch.run.config import DEFAULT_TOKENS
from treesearch.settings import build
from treesearch.tree import Tree
from treesearch.values.base import Value


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a search found. `verdict` is None where there is no gold to grade against.

    `oracle` says that the value source read the gold answer.
    """

    answer: str | None
    tree: Tree
    usage: Usage
    grade: Grade | None
    stop_reason: StopReason
    oracle: bool

    @property
    def verdict(self) -> Verdict | None:
        """The grader's verdict on the answer."""
        return self.grade.verdict if self.grade else None


def open_task(task: str | Task) -> Task:
    """A task by name, or as it is."""
    return find("task", task)() if isinstance(task, str) else task


def open_algorithm(algorithm: str | Algorithm, settings: Mapping[str, Any] | None = None) -> Algorithm:
    """An algorithm by name with `settings`, or as it is."""
    if not isinstance(algorithm, str):
        return algorithm
    return build(find("algorithm", algorithm), settings or {}, what=algorithm)


def open_value(
    value: str | Value | None, algorithm: Algorithm, settings: Mapping[str, Any] | None = None
) -> Value:
    """A value source by name with `settings`, or as it is; None takes the algorithm's default."""
    if value is not None and not isinstance(value, str):
        return value
    name = value or algorithm.default_value
    return build(find("value", name), settings or {}, what=f"value {name}")


def fit_policy(policy: Policy, algorithm: Algorithm, value: Value) -> Policy:
    """The policy with self-certainty switched on where the value or the answer rule needs it.

    Raises `UsageError` where the engine cannot give it.
    """
    needed = value.needs_certainty or algorithm.answer == "borda"
    if needed and not policy.config.certainty:
        config = replace(policy.config, certainty=True)
        policy = Policy(engine=policy.engine, task=policy.task, config=config)
    if policy.config.certainty and not getattr(policy.engine, "gives_certainty", True):
        raise UsageError(
            "self-certainty (the value, the answer rule or policy.certainty asks for it) cannot be had from "
            f"the engine {policy.engine.name!r}; use another value and answer rule, or an engine in process"
        )
    if not getattr(policy.engine, "gives_distinct", False):
        refuse_distinct(policy.engine.name, policy.config.distinct)
    return policy


async def asolve(
    question: str | Problem,
    *,
    task: str | Task = "math",
    policy: str | Policy = "embedded",
    model: str | None = None,
    algorithm: str | Algorithm = "mcts",
    value: str | Value | None = None,
    budget: Budget | None = None,
    seed: int = 0,
    gold: str | None = None,
    tree: Tree | None = None,
) -> Result:
    """Search for the answer to one question.

    `policy` is a name (`embedded`, a folder, a hub id, a server's address) or an open `Policy`; by name it
    stays loaded for later calls. `model` names one of a server's models. `value` None takes the algorithm's
    default, or what the model's card names in place of log-probability. `budget` defaults to 2,000 tokens.
    `gold` is only graded against, unless an oracle value is named. `tree` goes on with an earlier result's
    tree under a larger `budget`.

    Raises `UsageError` for a wrong name or setting, `MissingPrerequisiteError` where a package is missing.
    """
    opened_task = policy.task if isinstance(policy, Policy) else open_task(task)
    problem = question if isinstance(question, Problem) else opened_task.problem(question)
    if gold is not None:
        problem = replace(problem, gold=gold)
    chosen = open_algorithm(algorithm)
    if value is None and isinstance(policy, str):
        value = recommended_value(policy, opened_task.name, chosen.default_value)
    source = open_value(value, chosen)
    opened = policy if isinstance(policy, Policy) else await _cached_policy(policy, opened_task, model)
    opened = fit_policy(opened, chosen, source)
    limits = budget or Budget(tokens=DEFAULT_TOKENS)
    if tree is None:
        tree = Tree(problem=problem, seed=seed, meter=Meter(budget=limits))
    else:
        tree.meter.budget = limits
    ready = await source.load(opened)
    try:
        reason = await chosen(tree, opened, ready)
    finally:
        await ready.close()
    answer = chosen.final_answer(tree)
    checkable = problem.gold is not None or opened_task.verifies_without_gold
    grade = await opened_task.agrade(problem, answer) if checkable else None
    return Result(
        answer=answer,
        tree=tree,
        usage=tree.usage,
        grade=grade,
        stop_reason=reason,
        oracle=source.oracle(opened),
    )


def solve(question: str | Problem, **options: Any) -> Result:
    """`asolve` for code without an event loop; takes the same arguments.

    Raises `UsageError` inside a running event loop (a notebook, a server): use ``await asolve(...)`` there.
    """
    return run_blocking(asolve(question, **options))


def run_blocking(job: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end; `UsageError` where an event loop is running already."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(job)
    job.close()
    raise UsageError("an event loop is running (a notebook?): use `await treesearch.asolve(...)` instead")


_open: dict[tuple[str, str, str | None], OpenPolicy] = {}


async def _cached_policy(name: str, task: Task, model: str | None) -> Policy:
    """The policy `name`, opened once a process."""
    key = (name, task.name, model)
    if key not in _open:
        _open[key] = await open_policy(name, task, model=model)
    return _open[key].policy
