"""Draw figure.png from result.json and write the Result of README.md.

python experiments/omega-vs-mc/plot.py [--result FILE] [--figure FILE] [--page FILE] [--title TEXT]
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "embedded-prm"))

from drawing import COLOURS, at, lead, log_axis, options, panels, read, series
from summaries import shown, table, write_section

NAMES = {"mc": "Monte-Carlo", "omega": "OmegaPRM"}


def draw(result: Mapping[str, Any], path: Path) -> None:
    figure, (area, chosen, labels) = panels(3)
    most = result["baselines"][-1]["n"]
    budgets = sorted({int(one["setting"]) for one in result["arms"]})
    for arm, colour, shift in zip(NAMES, COLOURS, (0.97, 1.03), strict=False):
        found = sorted(
            (one for one in result["arms"] if one["arm"] == arm), key=lambda one: int(one["setting"])
        )
        for place, line in (("all", "-"), ("first", ":")):
            label, figures = f"{NAMES[arm]}, {place} steps", [one["auroc"][place] for one in found]
            series(area, budgets, figures, label=label, colour=colour, line=line, shift=shift)
        best = [at(one["best"]["last"], most) for one in found]
        series(chosen, budgets, best, label=NAMES[arm], colour=colour, shift=shift)
        for name, line in (("labels_per_1000", ":"), ("right_labels_per_1000", "-")):
            counts = [_seeds(one["quality"], name) for one in found]
            what = "labels" if name == "labels_per_1000" else "labels that the solver agrees with"
            series(
                labels, budgets, counts, label=f"{NAMES[arm]}, {what}", colour=colour, line=line, shift=shift
            )
    for panel in (area, chosen, labels):
        log_axis(panel, "completions sampled for the labels", budgets)
        panel.legend(fontsize=8)
    area.axhline(0.5, color="grey", linewidth=0.8)
    area.set_ylabel("AUROC of held-out steps against the solver")
    chosen.axhline(at(result["baselines"], most)["majority"]["mean"], color="grey", linestyle=":")
    chosen.set_ylabel(f"accuracy of the best of {most}, dotted: majority vote")
    labels.set_ylabel("labelled steps per 1,000 completions")
    labels.set_ylim(bottom=0)
    figure.suptitle(f"{result['n_held_out']} held-out problems; bars: 95 % over problems, dots: seeds")
    figure.savefig(path, dpi=130)


def _seeds(lines: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any]:
    """The mean over seeds of a figure of the labels, without an interval."""
    values = [line[name] for line in lines if line[name] is not None]
    return {"mean": sum(values) / len(values) if values else None, "ci95": None, "of_seeds": values}


def page(result: Mapping[str, Any], first: str) -> str:
    most = result["baselines"][-1]["n"]
    models = [
        [
            f"{int(one['setting']):,}",
            NAMES[one["arm"]],
            f"{one['facts']['completions']:,.0f}",
            f"{one['facts']['problems']:,.0f}",
            f"{one['facts']['training_tokens']:,.0f}",
            shown(one["auroc"]["all"]),
            shown(one["auroc"]["first"]),
            shown(at(one["best"]["last"], most), percent=True),
            shown(at(one["best"]["min"], most), percent=True),
        ]
        for one in result["arms"]
    ]
    header = ["budget", "labels", "completions", "problems", "tokens trained on", "AUROC, all steps"]
    header += ["AUROC, first steps", f"best of {most}, last", f"best of {most}, min"]
    names = ("labels", "labels_per_1000", "right_labels_per_1000", "true", "hard_right", "balanced")
    labels = [
        [
            f"{int(one['setting']):,}",
            NAMES[one["arm"]],
            *(_number(_seeds(one["quality"], name)["mean"]) for name in (*names, "soft_auroc")),
        ]
        for one in result["arms"]
    ]
    gaps = [
        [
            f"{int(one['budget']):,}",
            shown(one["auroc"].get("all"), signed=True),
            shown(one["auroc"].get("first"), signed=True),
            *(shown(at(one["best"][how], most), percent=True, signed=True) for how in ("last", "min")),
        ]
        for one in result["differences"]
    ]
    return "\n".join(
        [
            first,
            table(header, models),
            "OmegaPRM less Monte-Carlo (AUROC; points of accuracy by the last score, and by the smallest):\n",
            table(
                ["budget", "all steps", "first steps", f"best of {most}, last", f"best of {most}, min"], gaps
            ),
            "The labels of completed steps, means over seeds:\n",
            table(
                [
                    "budget", "by", "labels", "a 1,000 completions", "right ones a 1,000",
                    "share of true steps", "hard label is right", "balanced", "AUROC of soft labels",
                ],
                labels,
            ),
        ]
    )  # fmt: skip


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}" if value > 1 else f"{value:.3f}"


def main() -> None:
    args = options(__doc__ or "", Path(__file__).parent)
    result = read(args.result)
    draw(result, args.figure)
    write_section(args.page, args.title, page(result, lead(args, result)))


if __name__ == "__main__":
    main()
