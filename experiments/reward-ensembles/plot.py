"""Draw figure.png from result.json and write the Result of README.md.

python experiments/reward-ensembles/plot.py [--result FILE] [--figure FILE] [--page FILE] [--title TEXT]
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "embedded-prm"))

from drawing import COLOURS, at, lead, log_axis, options, panels, read, series
from summaries import shown, table, write_section

DRAWN = ("single", "members, mean", "members, WCO", "members, UWO 0.5", "members, UWO 4", "heads, UWO 0.5")


def draw(result: Mapping[str, Any], path: Path) -> None:
    figure, (accuracy, gaps, climb) = panels(3)
    arms = {one["arm"]: one for one in result["arms"]}
    ns = [point["n"] for point in result["baselines"]]
    for number, (arm, colour) in enumerate(zip(DRAWN, COLOURS, strict=True)):
        curve, shift = arms[arm]["best"]["last"], 1 + 0.03 * (number - 2)
        series(accuracy, ns, curve, label=arm, colour=colour, shift=shift)
        climb.plot(
            [point["score"] for point in curve], [point["mean"] for point in curve], "o-", color=colour,
            markersize=4, label=arm,
        )  # fmt: skip
        for difference in result["differences"]:
            if difference["arm"] == arm:
                series(gaps, ns, difference["best"]["last"], label=arm, colour=colour, shift=shift)
    majority = [one["majority"]["mean"] for one in result["baselines"]]
    accuracy.plot(ns, majority, ":", color="grey", label="majority vote")
    gaps.axhline(0, color="grey", linewidth=0.8)
    for panel in (accuracy, gaps):
        log_axis(panel, "samples n", ns)
    accuracy.set_ylabel("accuracy of the best of n")
    gaps.set_ylabel("accuracy, less that of the single model")
    climb.set_xlabel("score of the chosen sample, n rising along the line")
    climb.set_ylabel("accuracy of the best of n")
    for panel in (accuracy, gaps, climb):
        panel.legend(fontsize=8)
    figure.suptitle(f"{result['n_held_out']} held-out problems; bars: 95 % over problems, dots: seeds")
    figure.savefig(path, dpi=130)


def page(result: Mapping[str, Any], first: str) -> str:
    ns = [point["n"] for point in result["baselines"]]
    some = sorted({n for n in ns if n in (1, 4, 16, 64)} | {ns[-1]})
    rows = [
        [
            one["arm"],
            *(shown(at(one["best"]["last"], n), percent=True) for n in some),
            f"{one['peak_n']}",
            shown(one["drop"], percent=True, signed=True),
            shown(one["auroc"]["all"]),
        ]
        for one in result["arms"]
    ]
    gaps = [
        [
            one["arm"],
            *(shown(at(one["best"]["last"], n), percent=True, signed=True) for n in some if n > 1),
            shown(at(one["best"]["min"], ns[-1]), percent=True, signed=True),
            shown(one["auroc"].get("all"), signed=True),
        ]
        for one in result["differences"]
    ]
    return "\n".join(
        [
            first,
            "Accuracy of the best of n by the last score; lost: points from the best n to the largest.\n",
            table(["model", *(f"n = {n}" for n in some), "best n", "lost", "AUROC, all steps"], rows),
            "Less the single model (points of accuracy by the last score, and by the smallest; AUROC):\n",
            table(["model", *(f"n = {n}" for n in some if n > 1), f"n = {ns[-1]}, min", "AUROC"], gaps),
        ]
    )


def main() -> None:
    args = options(__doc__ or "", Path(__file__).parent)
    result = read(args.result)
    draw(result, args.figure)
    write_section(args.page, args.title, page(result, lead(args, result)))


if __name__ == "__main__":
    main()
