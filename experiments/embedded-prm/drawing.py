"""What the figures of the experiments with process-reward models have in common.

Contract: `series` draws means with their 95 % intervals as a line with bars, and every seed as a small dot
beside it. `options` are those of every `plot.py`: result in, figure and page out.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from summaries import shown

COLOURS = ("#30608f", "#b08030", "#4d8a57", "#a04860", "#6b5b95", "#777777")


def options(doc: str, here: Path) -> argparse.Namespace:
    """`--result`, `--figure`, `--page` and `--title`, by default the files beside the script."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--result", type=Path, default=here / "result.json")
    parser.add_argument("--figure", type=Path, default=here / "figure.png")
    parser.add_argument("--page", type=Path, default=here / "README.md", help="page to write into")
    parser.add_argument("--title", default="Result", help="its section that is written anew")
    return parser.parse_args()


def read(path: Path) -> dict[str, Any]:
    """The stored result."""
    return json.loads(path.read_text(encoding="utf-8"))


def lead(args: argparse.Namespace, result: Mapping[str, Any]) -> str:
    """The sentence a Result begins with: where it is stored, and what majority vote has without a model."""
    last = result["baselines"][-1]
    return (
        f"[{args.result.name}]({args.result.name}), [{args.figure.name}]({args.figure.name}): "
        f"{result['n_held_out']} held-out problems, seeds {', '.join(map(str, result['arms'][0]['seeds']))}. "
        f"Majority vote of {last['n']}: {shown(last['majority'], percent=True)}.\n"
    )


def panels(count: int) -> tuple[Any, list[Any]]:
    """A figure with `count` panels side by side."""
    figure, axes = plt.subplots(1, count, figsize=(5.2 * count, 4.6), layout="constrained", squeeze=False)
    for panel in axes[0]:
        panel.grid(alpha=0.3)
    return figure, list(axes[0])


def series(
    panel: Any,
    xs: Sequence[float],
    figures: Sequence[Mapping[str, Any]],
    *,
    label: str,
    colour: str,
    line: str = "-",
    shift: float = 1.0,
) -> None:
    """One arm: `figures` have mean, ci95 and perhaps of_seeds; those without a mean are left out.

    `shift` is a factor of x that keeps the bars of several arms apart (x axes are logarithmic).
    """
    known = [(x * shift, one) for x, one in zip(xs, figures, strict=True) if one["mean"] is not None]
    places, means = [x for x, _ in known], [one["mean"] for _, one in known]
    bars = [one["ci95"] or [one["mean"]] * 2 for _, one in known]
    below = [max(0.0, mean - low) for mean, (low, _) in zip(means, bars, strict=True)]
    above = [max(0.0, high - mean) for mean, (_, high) in zip(means, bars, strict=True)]
    panel.errorbar(
        places, means, yerr=[below, above], label=label, color=colour, linestyle=line, marker="o",
        capsize=3, markersize=5, linewidth=1.4,
    )  # fmt: skip
    for x, one in known:
        seeds = [value for value in one.get("of_seeds", ()) if value is not None]
        panel.plot([x] * len(seeds), seeds, ".", color=colour, alpha=0.45, markersize=5)


def at(curve: Sequence[Mapping[str, Any]], n: int) -> Mapping[str, Any]:
    """The point of a curve at `n` samples."""
    return next(point for point in curve if point["n"] == n)


def log_axis(panel: Any, name: str, ticks: Sequence[float]) -> None:
    """A logarithmic x axis with plain numbers."""
    panel.set_xscale("log")
    panel.set_xticks(list(ticks), [f"{tick:,.0f}" for tick in ticks])
    panel.minorticks_off()
    panel.set_xlabel(name)
