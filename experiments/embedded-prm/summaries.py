"""From the cells of an experiment to figures with intervals, and from figures to the tables of its page.

Contract: seeds of one arm are averaged within each problem first; problems are the units of all intervals
(95 %). Of best-of-n accuracy they are those of `treesearch.comparison.statistics`; of an AUROC, which is no
mean over problems, the jackknife's: with theta_(i) the value without problem i, averaged over seeds,

    half = 1.96 sqrt( (m - 1) / m  sum_i (theta_(i) - mean theta_(.))^2 )

and for a difference of two arms the same of the differences theta_(i). Seeds are also shown one by one: three
of them say how far training itself varies, which the intervals do not hold.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from treesearch.atomic import write_text
from treesearch.comparison.statistics import Z95, difference_interval, mean_interval

FACTS = (
    "problems",
    "completions",
    "rows",
    "steps",
    "training_tokens",
    "scored_tokens",
    "training_s",
    "scoring_s",
)
Line = Mapping[str, Any]
"""What `held_out.judge` gave for one cell, and the cell's facts beside it."""


def over_seeds(lines: Sequence[Line]) -> dict[str, Any]:
    """The figures of one arm at one setting: `auroc` by place, `best` by aggregate and n; facts as means."""
    return {
        "arm": lines[0]["arm"],
        "setting": lines[0]["setting"],
        "seeds": [line["seed"] for line in lines],
        "facts": {name: _mean([line[name] for line in lines]) for name in FACTS if name in lines[0]},
        "auroc": {place: _auroc(lines, place) for place in lines[0]["auroc"]},
        "best": {how: _best(lines, how) for how in lines[0]["best"]},
    }


def against(lines: Sequence[Line], base: Sequence[Line]) -> dict[str, Any]:
    """What `lines` has more than `base`, arms of the same seeds and problems, with intervals."""
    found: dict[str, Any] = {"auroc": {}, "best": {}}
    for place in lines[0]["without"]:
        pair = [_without(lines, place), _without(base, place)]
        mean = [_mean([line["auroc"][place] for line in side]) for side in (lines, base)]
        if pair[0] and pair[1] and mean[0] is not None and mean[1] is not None:
            half = jackknife([a - b for a, b in zip(*pair, strict=True)])
            gap = mean[0] - mean[1]
            found["auroc"][place] = {"mean": gap, "ci95": [gap - half, gap + half]}
    for how in lines[0]["best"]:
        found["best"][how] = [
            {"n": n} | difference(per_problem(lines, how, at), per_problem(base, how, at))
            for at, n in enumerate(ns(lines[0], how))
        ]
    return found


def difference(first: Sequence[float], second: Sequence[float]) -> dict[str, Any]:
    """Mean and interval of paired differences, problem by problem."""
    gaps = [a - b for a, b in zip(first, second, strict=True)]
    return {"mean": sum(gaps) / len(gaps), "ci95": list(difference_interval(gaps))}


def estimate(values: Sequence[float]) -> dict[str, Any]:
    """Mean and interval of per-problem accuracies."""
    inside = [min(1.0, max(0.0, value)) for value in values]
    return {"mean": sum(inside) / len(inside), "ci95": list(mean_interval(inside))}


def per_problem(lines: Sequence[Line], how: str, at: int) -> list[float]:
    """Best-of-n accuracy of each problem at the n of index `at`, averaged over seeds."""
    seeds = [line["best"][how][at]["right"] for line in lines]
    return [sum(values) / len(values) for values in zip(*seeds, strict=True)]


def ns(line: Line, how: str = "last") -> list[int]:
    """The sample numbers of a curve."""
    return [point["n"] for point in line["best"][how]]


def jackknife(without: Sequence[float]) -> float:
    """Half of the interval's width from the values with one problem left out each; see the module."""
    mean = sum(without) / len(without)
    square = sum((value - mean) ** 2 for value in without)
    return Z95 * math.sqrt((len(without) - 1) / len(without) * square)


def _auroc(lines: Sequence[Line], place: str) -> dict[str, Any]:
    values = [line["auroc"][place] for line in lines]
    mean, without = _mean(values), _without(lines, place)
    half = jackknife(without) if without else None
    interval = None if mean is None or half is None else [max(0.0, mean - half), min(1.0, mean + half)]
    return {"mean": mean, "ci95": interval, "of_seeds": values}


def _without(lines: Sequence[Line], place: str) -> list[float]:
    """AUROC without each problem, averaged over seeds; empty where one is not defined."""
    seeds = [line["without"].get(place, []) for line in lines]
    if any(value is None for values in seeds for value in values):
        return []
    return [sum(values) / len(values) for values in zip(*seeds, strict=True)]


def _best(lines: Sequence[Line], how: str) -> list[dict[str, Any]]:
    curve: list[dict[str, Any]] = []
    for at, n in enumerate(ns(lines[0], how)):
        points = [line["best"][how][at] for line in lines]
        seeds = [sum(point["right"]) / len(point["right"]) for point in points]
        score = sum(point["score"] for point in points) / len(points)
        curve.append({"n": n, "of_seeds": seeds, "score": score} | estimate(per_problem(lines, how, at)))
    return curve


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) and known else None


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def shown(figure: Mapping[str, Any] | None, *, percent: bool = False, signed: bool = False) -> str:
    """A mean with its interval: ``0.812 (0.790 to 0.834)``, or in percent; a dash where there is none."""
    if figure is None or figure["mean"] is None:
        return "-"
    sign = "+" if signed else ""

    def number(value: float) -> str:
        return f"{100 * value:{sign}.1f}" if percent else f"{value:{sign}.3f}"

    mean = number(figure["mean"]) + (" %" if percent and not signed else "")
    interval = figure["ci95"]
    return mean if interval is None else f"{mean} ({number(interval[0])} to {number(interval[1])})"


def write_section(page: Path, title: str, content: str) -> None:
    """Put `content` under ``## title`` of a page: in place of what is there, before the Verdict, or last."""
    text = page.read_text(encoding="utf-8").rstrip("\n") + "\n"
    section = f"## {title}\n\n{content.strip()}\n"
    heading = re.compile(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", re.DOTALL | re.MULTILINE)
    if heading.search(text):
        text = heading.sub(lambda _: section + "\n", text, count=1)
    elif "\n## Verdict\n" in text:
        text = text.replace("\n## Verdict\n", f"\n{section}\n## Verdict\n", 1)
    else:
        text += "\n" + section
    write_text(page, text.rstrip("\n") + "\n")
