"""The cells of a comparison: one ordinary run for each method, budget and seed.

A cell's run directory is ``runs/METHOD-BUDGET-sSEED`` of the comparison's, so that `search show` and
`search resume` take it like any other. A cell is finished when every problem has a result, and done, so that
it is not run again, when none of them failed besides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from treesearch.comparison.config import CompareConfig
from treesearch.comparison.methods import Method
from treesearch.run.config import Resolved
from treesearch.run.summary import read_summary

RUNS = "runs"
_SET = ("algorithm", "value", "budget_tokens", "seed")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A method under a budget of tokens for each problem, with a seed."""

    method: Method
    budget: int
    seed: int

    @property
    def name(self) -> str:
        """Name of its run directory."""
        return f"{self.method.slug}-{self.budget}-s{self.seed}"

    def folder(self, comparison: Path) -> Path:
        """Its run directory."""
        return comparison / RUNS / self.name

    def summary(self, comparison: Path) -> dict[str, Any]:
        """What its run came to so far; empty before it began."""
        return read_summary(self.folder(comparison))

    def finished(self, comparison: Path) -> bool:
        """Whether every problem has a result."""
        return bool(self.summary(comparison).get("finished"))

    def done(self, comparison: Path) -> bool:
        """Whether it is finished and no problem failed."""
        return self.finished(comparison) and not self.summary(comparison)["n_errors"]

    def resolved(self, config: CompareConfig) -> Resolved:
        """The configuration of its run; the origin of what the comparison sets is `comparison`."""
        common = config.common.config
        settings: Mapping[str, Any] = {**common.settings, **self.method.settings}
        return Resolved(
            config=replace(
                common,
                algorithm=self.method.algorithm,
                value=self.method.value,
                budget_tokens=self.budget,
                seed=self.seed,
                settings=settings,
            ),
            origin=dict(config.common.origin) | dict.fromkeys((*_SET, "settings"), "comparison"),
        )


def cells(config: CompareConfig) -> list[Cell]:
    """Every cell, in the order of running: all methods at one budget and seed stand side by side early."""
    return [
        Cell(method=method, budget=budget, seed=seed)
        for seed in config.seeds
        for budget in config.budgets
        for method in config.methods
    ]
