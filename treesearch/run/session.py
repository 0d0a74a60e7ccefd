"""A whole run from its plan: open everything, search every problem, sum up, close everything.

    plan = prepare(resolve({"task": "countdown", "algorithm": "beam"}))
    outcome = await run_plan(plan, Path("runs/first"))

`run_plan` opens the model and searches what the run directory does not hold yet, so it starts a run and takes
one up alike. Nothing here writes to a terminal: `on_change` is called with the progress at least once a
second.

`seconds` of a summary is the wall time of the search, model loading aside, of all parts of the run; what a
part spent since its last checkpoint (`CHECKPOINT_S`) is lost to a kill. The same holds for `engine`.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tasks.errors import MissingPrerequisiteError, UsageError
from tasks.math import MathTask, prewarm, shutdown
from treesearch.api import fit_policy
from treesearch.engines.base import EngineUsage
from treesearch.policies import (
    open_policy,
    served_note,
)
from treesearch.policy import Policy
from treesearch.run.config import Resolved
from treesearch.run.extend import before, extend
from treesearch.run.plan import Plan, prepare
from treesearch.run.runner import Progress, Runner
from treesearch.run.store import RunStore, fold_trees, make_header, refuse_other
from treesearch.run.summary import read_summary, summarise

CHECKPOINT_S = 10.0
_GRADER_FAILS_WITHIN_S = 0.3
_LOCAL = ("torch", "transformers", "safetensors", "tokenizers", "vllm")
_EXTRAS = {"vllm": "vllm"}
"""Extra of this package that an engine needs, where it is not `local`."""
OnChange = Callable[[Progress], None]


def _ignore(_: Progress) -> None:
    """The display of a run that nobody watches."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The summary of a run and the results of all its problems."""

    summary: dict[str, Any]
    rows: list[dict[str, Any]]


async def run_problems(resolved: Resolved, folder: Path, on_change: OnChange = _ignore) -> dict[str, Any]:
    """Search all problems of a configuration into the run directory `folder`; returns the summary.

    A directory that holds the same run already is gone on with; another one is refused (`UsageError`).
    """
    return (await run_plan(prepare(resolved), folder, on_change)).summary


async def run_plan(plan: Plan, folder: Path, on_change: OnChange = _ignore) -> Outcome:
    """`run_problems` for a plan. Cancelling it leaves a run that can be taken up again."""
    if (folder / "run.json").exists():
        now = before(folder, plan.resolved, plan.extends)
        refuse_other(folder, make_header(now, plan.problems, ""), model=False)
    async with open_plan(plan) as policy:
        return await search_plan(plan, policy, folder, on_change)


async def search_plan(plan: Plan, policy: Policy, folder: Path, on_change: OnChange = _ignore) -> Outcome:
    """`run_plan` with an open policy, so that one engine serves several runs, one after another."""
    policy = fit_policy(policy, plan.algorithm, plan.value)
    value = await plan.value.load(policy)
    try:
        plan = replace(plan, value=value, note=plan.note or served_note(policy.engine))
        store = _create_store(plan, policy, folder)
        try:
            return await _Search(plan, policy, store, on_change).run()
        finally:
            store.close()
    finally:
        await value.close()


def _create_store(plan: Plan, policy: Policy, folder: Path) -> RunStore:
    """The run directory, new or gone on with."""
    hashes = getattr(policy.engine, "model_hash", ""), plan.value.model_hash
    try:
        if plan.extends:
            now = before(folder, plan.resolved, plan.extends)
            refuse_other(folder, make_header(now, plan.problems, *hashes))
            extend(folder, plan.extends)
        return RunStore.create(folder, make_header(plan.resolved, plan.problems, *hashes))
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror}; name another with --run") from error


@asynccontextmanager
async def open_plan(plan: Plan) -> AsyncGenerator[Policy]:
    """The policy, with the grader's worker started meanwhile in a thread; both are closed at the end."""
    config = plan.resolved.config
    grades = isinstance(plan.task, MathTask) and any(problem.gold is not None for problem in plan.problems)
    warm = [asyncio.ensure_future(asyncio.to_thread(prewarm))] if grades else []
    try:
        opened = await open_policy(
            config.policy,
            plan.task,
            model=config.model,
            engine=config.engine,
            engine_args=config.engine_args,
            settings=plan.settings["policy"],
            engine_settings=plan.settings["engine"],
        )
        try:
            await _check_grader(warm)
            # A format that the model cannot serve fails here, not per problem.
            opened.policy.prompt_ids(plan.problems[0])
            yield opened.policy
        finally:
            await opened.policy.engine.close()
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _LOCAL:
            raise
        raise MissingPrerequisiteError(
            f"the engine {config.engine!r} needs {error.name}; run: pip install "
            f"'treesearch-toolkit[{_EXTRAS.get(config.engine, 'local')}]'"
        ) from error
    finally:
        await asyncio.gather(*warm, return_exceptions=True)
        if grades:
            shutdown()


async def _check_grader(warm: Sequence[asyncio.Future[None]]) -> None:
    """Raise `MissingPrerequisiteError` where the grader cannot start; one that starts is not waited for."""
    if warm:
        done, _ = await asyncio.wait(warm, timeout=_GRADER_FAILS_WITHIN_S)
        for job in done:
            job.result()


class _Search:
    """One part of a run: searches what is left, and keeps the summary on disk up to date."""

    def __init__(self, plan: Plan, policy: Policy, store: RunStore, on_change: OnChange) -> None:
        self._plan, self._policy, self._store, self._show = plan, policy, store, on_change
        self._before = store.finished()
        summary = read_summary(store.folder)
        self._seconds_before = float(summary.get("seconds", 0.0))
        self._engine_before = _engine_counts(summary)
        self._engine_before.subtract(asdict(policy.engine.usage))
        progress = Progress(total=len(plan.problems), budget_tokens=plan.resolved.config.budget_tokens)
        for row in self._before:
            progress.count(row)
        progress.done_before = progress.done
        self._runner = Runner(
            config=plan.resolved.config,
            policy=policy,
            algorithm=plan.algorithm,
            value=plan.value,
            store=store,
            progress=progress,
            on_change=self._changed,
        )
        self._started = self._saved = time.monotonic()

    async def run(self) -> Outcome:
        """Search what is left; the summary is written at the end and where the search is cancelled."""
        config, problems = self._plan.resolved.config, self._plan.problems
        done = {row["id"] for row in self._before}
        trees = fold_trees(self._store.folder, problems, config, skip=done)
        self._started = self._runner.progress.started = time.monotonic()
        try:
            await self._runner.run([problem for problem in problems if problem.id not in done], trees)
        finally:
            outcome = self._outcome()
            self._store.write_summary(outcome.summary)
        return outcome

    def _changed(self, progress: Progress) -> None:
        self._show(progress)
        if time.monotonic() - self._saved >= CHECKPOINT_S:
            self._saved = time.monotonic()
            self._store.write_summary(self._outcome().summary)

    def _outcome(self) -> Outcome:
        rows = [*self._before, *self._runner.rows]
        summary = summarise(
            rows,
            seconds=self._seconds_before + time.monotonic() - self._started,
            run=str(self._store.folder),
            oracle=self._plan.value.oracle(self._policy),
            note=self._plan.note,
            engine=self._engine(),
        )
        summary["finished"] = len(rows) == len(self._plan.problems)
        return Outcome(summary=summary, rows=rows)

    def _engine(self) -> EngineUsage:
        """What the engine counted for this run, in all of its parts."""
        counts = self._engine_before.copy()
        counts.update(asdict(self._policy.engine.usage))
        return EngineUsage(**counts)


def _engine_counts(summary: Mapping[str, Any]) -> Counter[str]:
    """The engine's count up to the last summary; one of an older version tells the tokens alone."""
    return Counter(summary.get("engine") or {"generated_tokens": int(summary.get("engine_tokens", 0))})
