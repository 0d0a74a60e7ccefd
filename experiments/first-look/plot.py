"""Draw figure.png from result.json: accuracy of each method with its 95 % interval, one panel a task."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parent


def main() -> None:
    stored = json.loads((HERE / "result.json").read_text())
    tasks = sorted({row["task"] for row in stored["rows"]})
    figure, panels = plt.subplots(1, len(tasks), figsize=(11, 5), sharey=True, layout="constrained")
    for panel, task in zip(panels, tasks, strict=True):
        rows = [row for row in stored["rows"] if row["task"] == task][::-1]
        for place, row in enumerate(rows):
            low, high = row["accuracy_ci95"]
            colour = "#b08030" if row["oracle"] else "#30608f"
            panel.errorbar(
                row["accuracy"], place, xerr=[[row["accuracy"] - low], [high - row["accuracy"]]],
                fmt="D" if row["oracle"] else "o", color=colour, capsize=3,
            )  # fmt: skip
        panel.set_yticks(range(len(rows)), [row["method"] for row in rows])
        panel.set_xlim(0, 1.02)
        panel.set_xlabel(f"accuracy on {rows[0]['n_problems']} held-out problems, 95 % interval")
        panel.set_title(task)
        majority = next(row["accuracy"] for row in rows if row["method"] == "majority vote")
        panel.axvline(majority, color="grey", linewidth=0.8, linestyle=":")
        panel.grid(axis="x", alpha=0.3)
    figure.suptitle(
        f"Embedded model, at most {stored['tokens']:,} generated and value tokens a problem. "
        "Dotted: majority vote. Diamonds: oracle, reads the gold."
    )
    figure.savefig(HERE / "figure.png", dpi=130)


if __name__ == "__main__":
    main()
