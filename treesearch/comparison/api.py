"""Comparing methods from Python: `compare` and, for running event loops and notebooks, `acompare`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.errors import UsageError
from treesearch.comparison.config import read_wanted, settle
from treesearch.comparison.methods import Method
from treesearch.comparison.session import Comparison, OnCell, OnChange, read_comparison, run_comparison

COMPARISONS = Path("comparisons")
"""Where comparisons are kept unless a directory is named."""


def new_folder(task: str) -> Path:
    """``comparisons/TASK-TIME``, with a number behind it where that is taken."""
    name = f"{task}-{time.strftime('%Y%m%d-%H%M%S')}"
    folder, count = COMPARISONS / name, 1
    while folder.exists():
        count += 1
        folder = COMPARISONS / f"{name}-{count}"
    return folder


async def acompare(
    methods: Sequence[str | Mapping[str, Any] | Method] = (),
    *,
    budgets: Sequence[int] | None = None,
    seeds: int | Sequence[int] | None = None,
    out: Path | str | None = None,
    on_cell: OnCell = lambda *_: None,
    on_change: OnChange = lambda _: None,
    **common: Any,
) -> Comparison:
    """Compare methods at equal tokens; majority vote and best-of-N are always among them.

    A method is text such as ``"mcts:value=rollout,width=6"``, a mapping or a `Method`. `budgets` are tokens
    for each problem (default 1,000, 4,000 and 16,000), `seeds` how many or which (default 1). `common` are
    settings of all runs: `task`, `data`, `limit`, `policy`, `model`, `engine`, `engine_args`, `concurrency`,
    and `settings` of `policy.` and `engine.`. `out` is the comparison's directory: one that is there is gone
    on with, what is given here added to it.

    Raises `UsageError` for a wrong name or setting and for a directory that holds another comparison.
    """
    given = {"methods": list(methods), "budgets": budgets, "seeds": seeds} | common
    wanted = read_wanted(given)
    folder = Path(out) if out is not None else new_folder(str(wanted.common.get("task", "math")))
    config = settle(wanted, read_comparison(folder))
    return await run_comparison(config, folder, on_cell=on_cell, on_change=on_change)


def compare(methods: Sequence[str | Mapping[str, Any] | Method] = (), **options: Any) -> Comparison:
    """`acompare` for code without an event loop; takes the same arguments.

    Raises `UsageError` inside a running event loop (a notebook, a server): use ``await acompare(...)`` there.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(acompare(methods, **options))
    raise UsageError("an event loop is running (a notebook?): use `await treesearch.acompare(...)` instead")
