"""What a comparison comes to: one row for each method and budget, from the runs that are finished.

Accuracy is over problems, seeds averaged within each; failed and ungradable answers count as not right, as in
a run's summary. Every method is tested against majority vote at the same budget, on the same problems and the
seeds that both have; p values are adjusted for all of these tests together (Holm).

`tokens_per_problem` is what a method really spent, at most its budget: generated and value tokens of the
trees; for a method that cancels requests the engine's own count, if that is more, since what a cancelled
request wrote is in no tree.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.base import Verdict
from treesearch.comparison.cells import RUNS, Cell
from treesearch.comparison.config import CompareConfig
from treesearch.comparison.methods import MAJORITY, Method
from treesearch.comparison.statistics import difference_interval, holm, mean_interval, paired_p
from treesearch.run.store import read_results
from treesearch.run.summary import USAGE

Right = Mapping[int, Mapping[str, bool]]
"""Whether the answer was right, by seed and problem; problems without a usable gold are left out."""


@dataclass(frozen=True, kw_only=True)
class _Part:
    """The finished runs of a method under a budget: summaries and results by seed."""

    method: Method
    budget: int
    summaries: Mapping[int, Mapping[str, Any]]
    results: Mapping[int, Sequence[Mapping[str, Any]]]

    def right(self, unusable: Collection[str]) -> Right:
        """What was right, but for the problems `unusable`."""
        return {
            seed: {
                row["id"]: row["verdict"] == Verdict.CORRECT.value
                for row in rows
                if row["id"] not in unusable
            }
            for seed, rows in self.results.items()
        }


def compare_rows(config: CompareConfig, folder: Path) -> list[dict[str, Any]]:
    """One row of JSON data for each budget and method with a finished run, in that order."""
    parts = [
        part
        for budget in config.budgets
        for method in config.methods
        if (part := _read(config, folder, method, budget)).results
    ]
    unusable = _without_gold(parts)
    right = [part.right(unusable) for part in parts]
    baselines = {
        part.budget: found for part, found in zip(parts, right, strict=True) if part.method.name == MAJORITY
    }
    rows = [_row(part, found) for part, found in zip(parts, right, strict=True)]
    for part, found, row in zip(parts, right, rows, strict=True):
        base = None if part.method.name == MAJORITY else baselines.get(part.budget)
        row["difference"] = None if base is None else difference(found, base)
    tested_rows = [row["difference"] for row in rows if row["difference"] is not None]
    for tested, adjusted in zip(tested_rows, holm([row["p"] for row in tested_rows]), strict=True):
        tested["p_holm"] = adjusted
    return rows


def _without_gold(parts: Sequence[_Part]) -> set[str]:
    """Problems of which some answer could not be graded for want of a usable gold.

    A run without any answer to such a problem says that it is wrong, so that one run alone cannot tell.
    """
    unusable = Verdict.UNGRADABLE_GOLD.value
    rows = (row for part in parts for found in part.results.values() for row in found)
    return {row["id"] for row in rows if row["verdict"] == unusable}


def difference(right: Right, base: Right) -> dict[str, Any] | None:
    """Accuracy minus the baseline's with its 95 % interval and p; None without a problem in common."""
    seeds = sorted(right.keys() & base.keys())
    problems = [name for name in right[seeds[0]] if name in base[seeds[0]]] if seeds else []
    if not problems:
        return None
    steps = [sum(right[seed][name] - base[seed][name] for seed in seeds) for name in problems]
    shares = [step / len(seeds) for step in steps]
    return {
        "to": MAJORITY,
        "accuracy": sum(shares) / len(shares),
        "ci95": list(difference_interval(shares)),
        "p": paired_p(steps),
        "n_seeds": len(seeds),
    }


def _read(config: CompareConfig, folder: Path, method: Method, budget: int) -> _Part:
    finished = {
        seed: cell
        for seed in config.seeds
        if (cell := Cell(method=method, budget=budget, seed=seed)).finished(folder)
    }
    return _Part(
        method=method,
        budget=budget,
        summaries={seed: cell.summary(folder) for seed, cell in finished.items()},
        results={seed: read_results(cell.folder(folder)) for seed, cell in finished.items()},
    )


def _row(part: _Part, right: Right) -> dict[str, Any]:
    summaries = list(part.summaries.values())
    results = [row for rows in part.results.values() for row in rows]
    usage = {name: sum(summary["usage"][name] for summary in summaries) for name in USAGE}
    in_trees = usage["generated_tokens"] + usage["value_tokens"]
    engine = sum(summary["engine_tokens"] for summary in summaries)
    cancelled = sum(summary["n_cancelled"] for summary in summaries)
    spent = max(in_trees, engine) if cancelled else in_trees
    seconds = sum(summary["seconds"] for summary in summaries)
    stops = Counter(str(row["stop_reason"]) for row in results)
    return {
        **part.method.to_json(),
        "budget_tokens": part.budget,
        "seeds": list(part.results),
        "n_problems": len(results) // len(part.results),
        **_accuracy(right),
        "oracle": any(summary["oracle"] for summary in summaries),
        "tokens_per_problem": spent / len(results),
        "usage": usage,
        "engine_tokens": engine,
        "n_cancelled": cancelled,
        "n_errors": sum(summary["n_errors"] for summary in summaries),
        "seconds": round(seconds, 3),
        "tokens_per_second": round(spent / seconds, 1) if seconds > 0 else None,
        "stops": dict(sorted(stops.items())),
        "n_budget_stops": sum(count for reason, count in stops.items() if reason.startswith("budget_")),
        "runs": [
            str(Path(RUNS) / Cell(method=part.method, budget=part.budget, seed=seed).name)
            for seed in part.results
        ],
    }


def _accuracy(right: Right) -> dict[str, Any]:
    """Accuracy with its interval; None where nothing has a usable gold."""
    problems = list(next(iter(right.values())))
    if not problems:
        return {"n_graded": 0, "accuracy": None, "accuracy_ci95": None}
    means = [sum(seed[name] for seed in right.values()) / len(right) for name in problems]
    return {
        "n_graded": len(problems),
        "accuracy": sum(means) / len(means),
        "accuracy_ci95": list(mean_interval(means, per_problem=len(right))),
    }
