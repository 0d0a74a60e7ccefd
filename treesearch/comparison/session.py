"""Carrying a comparison out: every cell an ordinary run, one engine opened once for all of them.

    comparison = await run_comparison(config, Path("comparisons/first"))

The directory holds ``comparison.json`` (configuration and rows), ``table.md``, ``plot.png`` and the cells'
run directories below ``runs/``. A cell that is done is not run again, one that was cut short goes on; where
all are done, no engine is opened. `comparison.json` and `table.md` are brought up to date after every cell,
the plot at the end. Cells run one after another, so that their seconds can be compared. A cell that would
search the same trees as one that is done, and differs in the answer rule alone, answers from these.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tasks.errors import DataError, MissingPrerequisiteError, UsageError
from treesearch.atomic import write_json, write_text
from treesearch.comparison.cells import Cell, cells
from treesearch.comparison.config import CompareConfig, read_config
from treesearch.comparison.plot import draw, method_lines
from treesearch.comparison.results import compare_rows
from treesearch.comparison.sharing import searched_by, searches_first
from treesearch.comparison.table import markdown
from treesearch.policy import Policy, PolicyConfig
from treesearch.run.plan import Plan, prepare
from treesearch.run.reanswer import answer_again
from treesearch.run.runner import Progress
from treesearch.run.session import open_plan, search_plan
from treesearch.run.store import make_header, refuse_other
from treesearch.settings import build

SCHEMA = 1
FILE = "comparison.json"
TABLE = "table.md"
PLOT = "plot.png"
OnCell = Callable[[Cell, int, int], None]
OnChange = Callable[[Progress], None]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A comparison as far as it came. `content` is that of ``comparison.json``.

    `lacking` says why there is no plot, empty where there is one.
    """

    folder: Path
    content: dict[str, Any]
    lacking: str = ""

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One for each budget and method; the keys are in the documentation of `search compare`."""
        return self.content["rows"]

    @property
    def n_errors(self) -> int:
        """Problems that failed, in all cells; running the comparison again tries them again."""
        return self.content["n_errors"]

    def table(self) -> str:
        """The rows as a Markdown table."""
        return markdown(self.content)


def read_comparison(folder: Path) -> CompareConfig | None:
    """The configuration of the comparison in `folder`, None where there is none; `DataError` if damaged."""
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA:
            raise DataError(f"{path}: schema {content['schema']}; this version reads schema {SCHEMA}")
        return read_config(content["config"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: damaged ({type(error).__name__}: {error})") from error


def prepare_cells(config: CompareConfig) -> dict[str, Plan]:
    """A checked plan for every cell, by the cell's name, without a model.

    Raises `UsageError` for a wrong name or setting of any method, and where the problems depend on the seed.
    """
    plans: dict[str, Plan] = {}
    first: Plan | None = None
    by_method: dict[str, Plan] = {}
    for seed in config.seeds:
        sample = prepare(Cell(method=config.methods[0], budget=config.budgets[0], seed=seed).resolved(config))
        first = first or sample
        if list(sample.problems) != list(first.problems):
            raise UsageError(
                f"the task {first.task.name!r} gives other problems under seed {seed}, which cannot be "
                "compared; give a data file with --data, or one seed"
            )
    for cell in cells(config):
        resolved = cell.resolved(config)
        known = by_method.get(cell.method.name)
        by_method[cell.method.name] = known = known or prepare(resolved)
        plans[cell.name] = replace(known, resolved=resolved)
    return plans


async def run_comparison(
    config: CompareConfig,
    folder: Path,
    *,
    on_cell: OnCell = lambda *_: None,
    on_change: OnChange = lambda _: None,
) -> Comparison:
    """Run every cell that is not done, then sum up. Cancelling it leaves a comparison that can go on.

    `on_cell` is called with each cell, its number from 1 and the number of all, before it runs.
    """
    plans = prepare_cells(config)
    every = cells(config)
    _refuse_foreign(folder, every, plans)
    to_do = [cell for cell in every if not cell.done(folder)]
    _write(config, folder)
    if to_do:
        async with open_plan(_shared(config, plans[to_do[0].name])) as policy:
            _refuse_other_models(folder, every, plans, policy)
            for number, cell in enumerate(searches_first(every, plans, folder), 1):
                if cell not in to_do:
                    continue
                on_cell(cell, number, len(every))
                plan = plans[cell.name]
                if (searched := searched_by(cell, every, plans, folder)) is not None:
                    await answer_again(searched.folder(folder), plan, cell.folder(folder))
                else:
                    await search_plan(plan, _fitted(policy, cell), cell.folder(folder), on_change)
                _write(config, folder)
    return _finish(config, folder)


def _shared(config: CompareConfig, plan: Plan) -> Plan:
    """A plan whose policy has the settings that all methods share."""
    settings = {
        key.removeprefix("policy."): value
        for key, value in config.common.config.settings.items()
        if key.startswith("policy.")
    }
    return replace(plan, settings={**plan.settings, "policy": settings})


def _fitted(policy: Policy, cell: Cell) -> Policy:
    """The policy on the same engine with the method's own settings of it."""
    own = {
        key.removeprefix("policy."): value
        for key, value in cell.method.settings.items()
        if key.startswith("policy.")
    }
    config = build(PolicyConfig, asdict(policy.config) | own, what="policy") if own else policy.config
    return Policy(engine=policy.engine, task=policy.task, config=config)


def _refuse_foreign(folder: Path, every: Sequence[Cell], plans: dict[str, Plan]) -> None:
    """Raise `UsageError` where the directory holds something else, or a cell of another comparison."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is not a directory; name another one with --out")
    entries = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set[str]()
    if FILE not in entries and entries - {f"{FILE}.new"}:
        raise UsageError(f"{folder} is not empty and holds no comparison; name another directory with --out")
    for cell, plan in _begun(folder, every, plans):
        refuse_other(cell, make_header(plan.resolved, plan.problems, ""), model=False)


def _refuse_other_models(folder: Path, every: Sequence[Cell], plans: dict[str, Plan], policy: Policy) -> None:
    model_hash = getattr(policy.engine, "model_hash", "")
    for cell, plan in _begun(folder, every, plans):
        refuse_other(cell, make_header(plan.resolved, plan.problems, model_hash))


def _begun(folder: Path, every: Sequence[Cell], plans: dict[str, Plan]) -> list[tuple[Path, Plan]]:
    """Run directories that are there, with their plans."""
    found = [(cell.folder(folder), plans[cell.name]) for cell in every]
    return [(path, plan) for path, plan in found if (path / "run.json").exists()]


def _write(config: CompareConfig, folder: Path) -> dict[str, Any]:
    """Bring ``comparison.json`` and ``table.md`` up to date."""
    every = cells(config)
    summaries = [cell.summary(folder) for cell in every]
    content = {
        "schema": SCHEMA,
        "config": config.to_json(),
        "n_cells": len(every),
        "n_done": sum(cell.done(folder) for cell in every),
        "n_errors": sum(summary.get("n_errors", 0) for summary in summaries),
        "note": next((summary["note"] for summary in summaries if summary.get("note")), ""),
        "rows": compare_rows(config, folder),
    }
    try:
        write_json(folder / FILE, content)
        write_text(folder / TABLE, markdown(content))
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror}; name another with --out") from error
    return content


def _finish(config: CompareConfig, folder: Path) -> Comparison:
    """Write everything a last time, the plot too."""
    content = _write(config, folder)
    lacking = ""
    try:
        if method_lines(content):
            draw(content, folder / PLOT)
        else:
            lacking = "no plot: no method has an accuracy and spent tokens"
    except MissingPrerequisiteError as error:
        lacking = str(error)
    return Comparison(folder=folder, content=content, lacking=lacking)
