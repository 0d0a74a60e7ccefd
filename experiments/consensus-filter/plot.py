"""Draw figure.png from result.json and write the Result of README.md.

python experiments/consensus-filter/plot.py [--result FILE] [--figure FILE] [--page FILE] [--title TEXT]
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "embedded-prm"))

from drawing import COLOURS, at, lead, options, panels, read, series
from summaries import shown, table, write_section

NAMES = {"mc": "Monte-Carlo", "judge": "judge", "consensus": "consensus"}


def draw(result: Mapping[str, Any], path: Path) -> None:
    figure, (area, chosen, labels) = panels(3)
    most = result["baselines"][-1]["n"]
    levels = [float(one["setting"]) for one in result["arms"] if one["arm"] == "consensus"]
    for number, (arm, colour) in enumerate(zip(NAMES, COLOURS, strict=False)):
        found = [one for one in result["arms"] if one["arm"] == arm]
        places = [100 * level + number - 1 for level in levels]
        for place, line in (("all", "-"), ("first", ":")):
            figures = [one["auroc"][place] for one in found]
            series(area, places, figures, label=f"{NAMES[arm]}, {place} steps", colour=colour, line=line)
        best = [at(one["best"]["last"], most) for one in found]
        series(chosen, places, best, label=NAMES[arm], colour=colour)
        _labels(labels, places, [one["labels"] for one in found], NAMES[arm], colour)
    for panel in (area, chosen, labels):
        panel.set_xticks([100 * level for level in levels])
        panel.set_xlabel("disturbed verdicts of both labellers (%)")
        panel.legend(fontsize=8)
    area.axhline(0.5, color="grey", linewidth=0.8)
    area.set_ylabel("AUROC of held-out steps against the solver")
    chosen.axhline(at(result["baselines"], most)["majority"]["mean"], color="grey", linestyle=":")
    chosen.set_ylabel(f"accuracy of the best of {most}, dotted: majority vote")
    labels.set_ylabel("share of the solutions")
    labels.set_ylim(0, 1.05)
    figure.suptitle(f"{result['n_held_out']} held-out problems; bars: 95 % over problems, dots: seeds")
    figure.savefig(path, dpi=130)


def _labels(
    panel: Any, places: Sequence[float], found: Sequence[Mapping[str, Any]], name: str, colour: str
) -> None:
    """How many labels are wrong, and for the consensus how many are kept."""
    panel.plot(places, [one["wrong"] for one in found], "o-", color=colour, label=f"{name}, wrong")
    if "predicted_wrong" in found[0]:
        predicted = [one["predicted_wrong"] for one in found]
        panel.plot(places, predicted, "x:", color=colour, label=f"{name}, wrong, predicted")
        panel.plot(places, [one["kept"] for one in found], "s--", color=colour, label=f"{name}, kept")


def page(result: Mapping[str, Any], first: str) -> str:
    most = result["baselines"][-1]["n"]
    rows = [
        [
            f"{100 * float(one['setting']):.0f} %",
            NAMES[one["arm"]],
            f"{one['facts']['rows']:,.0f}",
            *(_percent(one["labels"].get(name)) for name in ("kept", "wrong", "predicted_wrong")),
            shown(one["auroc"]["all"]),
            shown(one["auroc"]["first"]),
            shown(at(one["best"]["last"], most), percent=True),
            shown(at(one["best"]["product"], most), percent=True),
        ]
        for one in result["arms"]
    ]
    header = ["noise", "labels", "solutions", "kept", "wrong", "predicted", "AUROC, all steps"]
    header += ["AUROC, first steps", f"best of {most}, last", f"best of {most}, product"]
    gaps = [
        [
            f"{100 * float(one['noise']):.0f} %",
            NAMES[one["base"]],
            shown(one["auroc"].get("all"), signed=True),
            shown(one["auroc"].get("first"), signed=True),
            *(shown(at(one["best"][how], most), percent=True, signed=True) for how in ("last", "product")),
        ]
        for one in result["differences"]
    ]
    return "\n".join(
        [
            first,
            table(header, rows),
            "Consensus less one of its parts (AUROC; points of accuracy):\n",
            table(
                [
                    "noise", "against", "all steps", "first steps", f"best of {most}, last",
                    f"best of {most}, product",
                ],
                gaps,
            ),
        ]
    )  # fmt: skip


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def main() -> None:
    args = options(__doc__ or "", Path(__file__).parent)
    result = read(args.result)
    draw(result, args.figure)
    write_section(args.page, args.title, page(result, lead(args, result)))


if __name__ == "__main__":
    main()
