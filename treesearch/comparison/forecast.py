"""What a comparison will take, told before anything is spent and without a model.

The most is exact: budget times problems, because a budget holds to the token. What is expected comes from
finished cells of the same method where there are some (the share of the budget that it spent, and its tokens
a call, at the nearest budget), else from a rule: a method spends its budget, and what a call writes is half
as long as it may be. How much a call may write is what the algorithm reserves for its first request, which
is asked of an engine that never answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tasks.errors import UsageError
from treesearch.algorithms.sampling import BestOfN
from treesearch.api import fit_policy
from treesearch.budget import Cost, Meter
from treesearch.comparison.cells import Cell, cells
from treesearch.comparison.config import CompareConfig
from treesearch.comparison.session import prepare_cells
from treesearch.comparison.sharing import searched_by
from treesearch.engines.base import Sample, SamplingParams
from treesearch.engines.scripted import ScriptedEngine
from treesearch.policies import card_folder, policy_config
from treesearch.policy import Policy
from treesearch.run.plan import Plan
from treesearch.run.store import read_results
from treesearch.tree import Tree

_USUAL = 0.5
"""Length of a sample as a share of the longest that it may be, where nothing was measured."""


@dataclass(frozen=True, kw_only=True)
class CellForecast:
    """A cell: problems to do, tokens at most, and what is expected.

    `basis` is `rule`, `measured`, or `shared` where the trees are another cell's and nothing is spent.
    """

    method: str
    budget: int
    seed: int
    problems: int
    most_tokens: int
    tokens: int
    calls: int
    basis: str


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Every cell that is not done. `tokens_per_second` is given or measured, None where neither."""

    cells: tuple[CellForecast, ...]
    n_cells: int
    tokens_per_second: float | None

    @property
    def seconds(self) -> float | None:
        """Expected seconds, the loading of the model aside; None without a speed."""
        return None if self.tokens_per_second is None else self.tokens / self.tokens_per_second

    @property
    def tokens(self) -> int:
        """Tokens expected in all."""
        return sum(cell.tokens for cell in self.cells)

    def to_json(self) -> dict[str, Any]:
        """The forecast as JSON data, with totals."""
        return {
            "cells": [asdict(cell) for cell in self.cells],
            "n_cells": self.n_cells,
            "n_done": self.n_cells - len(self.cells),
            "most_tokens": sum(cell.most_tokens for cell in self.cells),
            "tokens": self.tokens,
            "calls": sum(cell.calls for cell in self.cells),
            "tokens_per_second": self.tokens_per_second,
            "seconds": None if self.seconds is None else round(self.seconds, 1),
        }


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """What finished cells of a method under a budget spent: share of the budget, and tokens a call."""

    budget: int
    share: float
    tokens_per_call: float


async def forecast(
    config: CompareConfig, folder: Path | None = None, *, tokens_per_second: float | None = None
) -> Forecast:
    """Forecast what is not done yet in `folder` (None: all).

    Raises what `prepare_cells` raises, and `UsageError` for a speed that is none.
    """
    if tokens_per_second is not None and not 0 < tokens_per_second < math.inf:
        raise UsageError(f"tokens_per_second must be above 0, got {tokens_per_second}")
    plans = prepare_cells(config)
    every = cells(config)
    measured = _measure(every, folder) if folder is not None else {}
    if folder is not None and tokens_per_second is None:
        tokens_per_second = _speed(every, folder)
    open_cells = [cell for cell in every if folder is None or not cell.done(folder)]
    found = [
        _shared(cell, plans[cell.name])
        if searched_by(cell, every, plans, folder, planned=True)
        else await _cell(cell, plans[cell.name], folder, measured.get(cell.method.name, ()))
        for cell in open_cells
    ]
    return Forecast(cells=tuple(found), n_cells=len(every), tokens_per_second=tokens_per_second)


def _shared(cell: Cell, plan: Plan) -> CellForecast:
    return CellForecast(
        method=cell.method.name,
        budget=cell.budget,
        seed=cell.seed,
        problems=len(plan.problems),
        most_tokens=0,
        tokens=0,
        calls=0,
        basis="shared",
    )


async def _cell(cell: Cell, plan: Plan, folder: Path | None, measured: Sequence[_Measured]) -> CellForecast:
    rows = read_results(cell.folder(folder)) if folder is not None else []
    problems = len(plan.problems) - sum(not row.get("error") for row in rows)
    most = cell.budget * problems
    if measured:
        near = min(measured, key=lambda found: abs(math.log(found.budget / cell.budget)))
        tokens = most * near.share
        calls = tokens / near.tokens_per_call
    else:
        cost = await first_cost(plan)
        ends = isinstance(plan.algorithm, BestOfN) and plan.algorithm.n is not None
        tokens = min(most, problems * cost.tokens * _USUAL) if ends else most
        calls = tokens * cost.calls / max(1.0, cost.tokens * _USUAL)
    return CellForecast(
        method=cell.method.name,
        budget=cell.budget,
        seed=cell.seed,
        problems=problems,
        most_tokens=most,
        tokens=round(tokens),
        calls=round(calls),
        basis="measured" if measured else "rule",
    )


def _measure(every: Sequence[Cell], folder: Path) -> Mapping[str, Sequence[_Measured]]:
    found: dict[str, list[_Measured]] = {}
    for cell in every:
        if not cell.finished(folder):
            continue
        usage, problems = cell.summary(folder)["usage"], cell.summary(folder)["n_problems"]
        tokens = usage["generated_tokens"] + usage["value_tokens"]
        if tokens and usage["calls"]:
            share = tokens / (cell.budget * problems)
            part = _Measured(budget=cell.budget, share=share, tokens_per_call=tokens / usage["calls"])
            found.setdefault(cell.method.name, []).append(part)
    return found


def _speed(every: Sequence[Cell], folder: Path) -> float | None:
    """Tokens a second over all finished cells."""
    done = [cell.summary(folder) for cell in every if cell.finished(folder)]
    seconds = sum(summary["seconds"] for summary in done)
    tokens = sum(s["usage"]["generated_tokens"] + s["usage"]["value_tokens"] for s in done)
    return round(tokens / seconds, 1) if tokens and seconds else None


class _SilentEngine(ScriptedEngine):
    """Says that it was asked, and never answers."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.asked = asyncio.Event()

    async def sample(self, prompt_ids: Sequence[int], n: int, params: SamplingParams) -> list[Sample]:
        """Wait until cancelled."""
        del prompt_ids, n, params
        self.asked.set()
        await asyncio.Event().wait()
        return []


async def first_cost(plan: Plan) -> Cost:
    """The most that the algorithm's first request on the first problem may take, scores included."""
    config = plan.resolved.config
    folder = card_folder(config.policy, plan.settings["engine"])
    settings, _ = policy_config(folder, plan.settings["policy"])
    engine: Any = _SilentEngine()
    bare = Policy(engine=engine, task=plan.task, config=replace(settings, format="plain", system=None))
    policy = fit_policy(bare, plan.algorithm, plan.value)
    tree = Tree(problem=plan.problems[0], meter=Meter(budget=config.budget()))
    search = asyncio.ensure_future(plan.algorithm(tree, policy, plan.value))
    asked = asyncio.ensure_future(engine.asked.wait())
    await asyncio.wait([search, asked], return_when=asyncio.FIRST_COMPLETED)
    for job in (search, asked):
        job.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await search
    return next((issued.cost for issued in tree.in_flight.values()), Cost())
