"""Draws result-TASK.json: greedy accuracy with intervals, and pass@64 beside it, for every arm.

python experiments/selftrain/plot.py --task countdown
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

HERE = Path(__file__).parent
ORDER = ("base", "rft", "rest-em", "outcome-dpo", "step-dpo", "revisions")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--task", choices=("countdown", "math"), required=True)
    task = parser.parse_args().task
    arms = json.loads((HERE / f"result-{task}.json").read_text(encoding="utf-8"))["arms"]
    names = [name for name in ORDER if name in arms]
    figure, axes = pyplot.subplots(figsize=(6.4, 3.2), layout="constrained")
    for place, name in enumerate(names):
        arm = arms[name]
        mean, (low, high) = arm["accuracy"], arm["interval"]
        errors = [[mean - low], [high - mean]]
        axes.errorbar(place, mean, yerr=errors, fmt="o", color="C0", capsize=3)
        axes.plot([place + 0.12] * len(arm["by_seed"]), arm["by_seed"], ".", color="0.6", markersize=4)
        axes.plot(place, list(arm["pass@"].values())[-1], "^", color="C1")
    axes.plot([], [], "o", color="C0", label="greedy, 500 problems, 95 %")
    axes.plot([], [], ".", color="0.6", label="greedy, each seed")
    axes.plot([], [], "^", color="C1", label="pass@64, 100 problems")
    axes.set_xticks(range(len(names)), names)
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("right")
    axes.set_title(f"{task}: after self-training at equal generated tokens", fontsize=10)
    axes.legend(fontsize=8, loc="lower right")
    figure.savefig(HERE / f"plot-{task}.png", dpi=150)


if __name__ == "__main__":
    main()
