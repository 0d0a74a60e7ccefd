"""Draw figure.png from result.json and write the Result of README.md.

python experiments/implicit-vs-mc/plot.py [--result FILE] [--figure FILE] [--page FILE] [--title TEXT]
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "embedded-prm"))

from drawing import COLOURS, at, lead, log_axis, options, panels, read, series
from summaries import shown, table, write_section

NAMES = {"mc": "Monte-Carlo labels", "implicit": "implicit, outcomes only"}


def draw(result: Mapping[str, Any], path: Path) -> None:
    figure, (area, chosen, spent) = panels(3)
    most = result["baselines"][-1]["n"]
    for arm, colour, shift in zip(NAMES, COLOURS, (0.97, 1.03), strict=False):
        found = sorted(
            (one for one in result["arms"] if one["arm"] == arm), key=lambda one: one["facts"]["problems"]
        )
        problems = [one["facts"]["problems"] for one in found]
        for place, line in (("all", "-"), ("first", ":")):
            label = f"{NAMES[arm]}, {place} steps"
            figures = [one["auroc"][place] for one in found]
            series(area, problems, figures, label=label, colour=colour, line=line, shift=shift)
        best = [at(one["best"]["last"], most) for one in found]
        series(chosen, problems, best, label=NAMES[arm], colour=colour, shift=shift)
        completions = [one["facts"]["completions"] for one in found]
        series(spent, completions, best, label=NAMES[arm], colour=colour)
    for panel in (area, chosen):
        log_axis(panel, "training problems", sorted({one["facts"]["problems"] for one in result["arms"]}))
    log_axis(spent, "solutions and completions sampled for the labels", (100, 1_000, 10_000))
    for panel in (chosen, spent):
        panel.axhline(at(result["baselines"], most)["majority"]["mean"], color="grey", linestyle=":")
        panel.set_ylabel(f"accuracy of the best of {most}, dotted: majority vote")
    area.axhline(0.5, color="grey", linewidth=0.8)
    area.set_ylabel("AUROC of held-out steps against the solver")
    for panel in (area, chosen, spent):
        panel.legend(fontsize=8)
    figure.suptitle(f"{result['n_held_out']} held-out problems; bars: 95 % over problems, dots: seeds")
    figure.savefig(path, dpi=130)


def page(result: Mapping[str, Any], first: str) -> str:
    most = result["baselines"][-1]["n"]
    middle = min((one["n"] for one in result["baselines"] if one["n"] >= 8), default=most)
    rows = [
        [
            one["setting"],
            NAMES[one["arm"]],
            f"{one['facts']['problems']:,.0f}",
            f"{one['facts']['completions']:,.0f}",
            f"{one['facts']['training_tokens']:,.0f}",
            shown(one["auroc"]["all"]),
            shown(one["auroc"]["first"]),
            *(shown(at(one["best"]["last"], n), percent=True) for n in (middle, most)),
        ]
        for one in result["arms"]
    ]
    header = ["data", "labels", "problems", "sampled", "tokens trained on", "AUROC, all steps"]
    header += ["AUROC, first steps", f"best of {middle}", f"best of {most}"]
    gaps = [
        [
            f"{one['implicit']} against {one['mc']}",
            shown(one["auroc"].get("all"), signed=True),
            shown(one["auroc"].get("first"), signed=True),
            shown(at(one["best"]["last"], most), percent=True, signed=True),
            shown(at(one["best"]["min"], most), percent=True, signed=True),
        ]
        for one in result["differences"]
    ]
    chosen = ", ".join(f"{NAMES[arm]} {name}" for arm, name in result["chosen"].items())
    return "\n".join(
        [
            first,
            f"Chosen on training problems: {chosen}.\n",
            table(header, rows),
            "Implicit less Monte-Carlo (AUROC; points of accuracy by the last score, and by the smallest):\n",
            table(
                ["data", "all steps", "first steps", f"best of {most}, last", f"best of {most}, min"], gaps
            ),
        ]
    )


def main() -> None:
    args = options(__doc__ or "", Path(__file__).parent)
    result = read(args.result)
    draw(result, args.figure)
    write_section(args.page, args.title, page(result, lead(args, result)))


if __name__ == "__main__":
    main()
