"""Search many problems at once: one coroutine each, hundreds in flight against one engine.

There is no barrier between problems: a finished one is replaced from the queue at once. A problem that fails
is reported as its own result and never stops the run. Cancelling (ctrl-C) flushes the journal; taking the run
up again asks only for what was in flight.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tasks.base import Grade, Problem, Verdict
from treesearch.algorithms.base import Algorithm
from treesearch.budget import Meter, Usage
from treesearch.events import Record, Settled, StopReason
from treesearch.policy import Policy
from treesearch.run.config import RunConfig
from treesearch.run.store import RunStore, tree_seed
from treesearch.tree import Tree
from treesearch.values.base import Value

_LIMITS = (StopReason.BUDGET_TOKENS, StopReason.BUDGET_CALLS, StopReason.BUDGET_NODES)
"""Stops that are no longer due where the run was given a larger budget; seconds start anew in each part."""


@dataclass(kw_only=True)
class Progress:
    """What a display reads while a run goes on. Token counts grow as replies arrive."""

    total: int
    done: int = 0
    graded: int = 0
    """Problems done that have a reference to grade against."""
    correct: int = 0
    errors: int = 0
    tokens: int = 0
    started: float = field(default_factory=time.monotonic)
    done_before: int = 0
    """Problems that an earlier part of the run finished."""
    budget_tokens: int | None = None
    """Most tokens that one problem may take; None without a limit."""

    def count(self, row: dict[str, Any]) -> None:
        """Take the result of a problem into account."""
        self.done += 1
        self.graded += row["verdict"] != Verdict.UNGRADABLE_GOLD.value
        self.correct += row["verdict"] == Verdict.CORRECT.value
        self.errors += bool(row["error"])

    def eta_s(self) -> float | None:
        """Seconds to go at the pace so far, of problems done or, while few are, of the budget spent.

        None before there is a pace.
        """
        fresh, to_do = self.done - self.done_before, self.total - self.done_before
        spent = self.tokens / self.budget_tokens if self.budget_tokens else 0.0
        pace = max(float(fresh), spent)
        if pace <= 0:
            return None
        return max(0.0, (time.monotonic() - self.started) / pace * (to_do - pace))


@dataclass(kw_only=True)
class Runner:
    """Searches `problems` with one policy, algorithm and value, into a store."""

    config: RunConfig
    policy: Policy
    algorithm: Algorithm
    value: Value
    store: RunStore
    progress: Progress
    on_change: Callable[[Progress], None] = lambda _: None
    rows: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """Results of this part of the run, in the order of finishing."""

    async def run(self, problems: Sequence[Problem], trees: dict[str, Tree]) -> list[dict[str, Any]]:
        """Search every problem, at most `concurrency` at a time; returns their results in order of finishing.

        `trees` are partly searched trees by problem id, which are gone on with.
        """
        places = asyncio.Semaphore(self.config.concurrency)

        async def one(problem: Problem) -> None:
            async with places:
                row = await self._one(problem, trees.pop(problem.id, None))
            self.rows.append(row)
            self.store.append_result(row)
            self.progress.count(row)
            self.on_change(self.progress)

        ticker = asyncio.ensure_future(self._tick())
        try:
            async with asyncio.TaskGroup() as group:
                for problem in problems:
                    group.create_task(one(problem))
        finally:
            ticker.cancel()
            self.store.journal.flush()
        return self.rows

    async def _tick(self) -> None:
        """Commit the journal and refresh the display once a second."""
        while True:
            await asyncio.sleep(1.0)
            self.store.journal.flush()
            self.on_change(self.progress)

    async def _one(self, problem: Problem, tree: Tree | None) -> dict[str, Any]:
        started = time.perf_counter()
        if tree is None:
            seed = tree_seed(self.config, problem.id)
            tree = Tree(problem=problem, seed=seed, meter=Meter(budget=self.config.budget()))
        self._connect(tree)
        grade: Grade | None = None
        answer, error = None, ""
        reason = tree.stop
        try:
            if reason is None or (reason in _LIMITS and tree.meter.spent() is None):
                reason = await self.algorithm(tree, self.policy, self.value)
            answer = self.algorithm.final_answer(tree)
            grade = await self.policy.task.agrade(problem, answer)
        except Exception as failure:  # noqa: BLE001 - one problem's failure is its result, whatever it is
            error = f"{type(failure).__name__}: {failure}"
            reason = StopReason.ERROR
        seconds = time.perf_counter() - started
        return result_row(
            problem, answer, grade, reason, tree.usage, seconds, error, cancelled=tree.cancelled
        )

    def _connect(self, tree: Tree) -> None:
        """Send the tree's records to the journal, and its tokens to the display."""
        journal, name = self.store.journal, tree.problem.id

        def sink(record: Record) -> None:
            journal.append(name, record)
            self.progress.tokens += sum(e.usage.tokens for e in record if isinstance(e, Settled))

        tree.sink = sink


def result_row(
    problem: Problem,
    answer: str | None,
    grade: Grade | None,
    reason: StopReason | None,
    usage: Usage,
    seconds: float,
    error: str,
    *,
    cancelled: int = 0,
) -> dict[str, Any]:
    """One line of `results.jsonl`."""
    return {
        "id": problem.id,
        "answer": answer,
        "verdict": grade.verdict.value if grade else None,
        "decided_by": grade.decided_by if grade else None,
        "grader": grade.grader if grade else None,
        "stop_reason": reason.value if reason else None,
        "usage": asdict(usage),
        "cancelled": cancelled,
        "seconds": round(seconds, 3),
        "error": error,
    }
