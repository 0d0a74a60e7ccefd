"""What a run comes to: accuracy with its 95 % interval, usage by role, speed."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tasks.errors import DataError
from treesearch.engines.base import EngineUsage

USAGE = ("generated_tokens", "prompt_tokens", "value_tokens", "calls", "nodes")


def wilson_interval(right: float, n: float, *, z: float = 1.959963984540054) -> tuple[float, float]:
    """Wilson score interval of a proportion (Wilson 1927), 95 % by default; (0, 1) for n = 0."""
    if n == 0:
        return 0.0, 1.0
    share = right / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return (0.0 if right == 0 else centre - half), (1.0 if right == n else centre + half)


def summarise(
    rows: Sequence[dict[str, Any]],
    *,
    seconds: float,
    run: str,
    oracle: bool,
    note: str = "",
    engine: EngineUsage | None = None,
) -> dict[str, Any]:
    """The summary of a run's results.

    `accuracy` counts every problem, failed and ungradable ones as not right; it is None without a gold
    anywhere. `oracle` says that the search read the gold answers, so that accuracy is an upper bound.
    `engine` is the policy's engine's own count. `engine_tokens` is what it wrote by that count: it holds what
    is in no tree, of requests that were cancelled, failed, or asked for again after a kill.
    """
    engine = engine or EngineUsage()
    graded = [row for row in rows if row.get("verdict") != "ungradable_gold"]
    right = sum(row.get("verdict") == "correct" for row in graded)
    low, high = wilson_interval(right, len(graded))
    usage = {name: sum(row.get("usage", {}).get(name, 0) for row in rows) for name in USAGE}
    made = usage["generated_tokens"] + usage["value_tokens"]
    return {
        "accuracy": right / len(graded) if graded else None,
        "accuracy_ci95": [low, high] if graded else None,
        "oracle": oracle,
        "n_problems": len(rows),
        "n_correct": right,
        "n_errors": sum(bool(row.get("error")) for row in rows),
        "n_ungradable": sum(str(row.get("verdict", "")).startswith("ungradable") for row in rows),
        "n_cancelled": sum(row.get("cancelled", 0) for row in rows),
        "usage": usage,
        "engine_tokens": engine.generated_tokens + engine.failed_tokens,
        "engine": asdict(engine),
        "seconds": round(seconds, 3),
        "tokens_per_second": round(made / seconds, 1) if seconds > 0 else None,
        "run": run,
        "note": note,
    }


def read_summary(folder: Path) -> dict[str, Any]:
    """`summary.json` of a run, empty if there is none yet; `DataError` if it is damaged."""
    path = folder / "summary.json"
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: not JSON ({error})") from error
    if not isinstance(found, dict):
        raise DataError(f"{path}: must hold a JSON object")
    return dict[str, Any](found)
