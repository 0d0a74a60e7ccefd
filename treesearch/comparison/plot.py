"""The figure of a comparison: accuracy against the tokens that were really spent, with 95 % intervals.

One panel a method, all with the same axes: the method's line and intervals in colour, majority vote in black
with its interval as a band, all other methods in grey for context. So no line has to be told from a dozen
others by its colour, and intervals do not cover each other. A method that read the gold answers is orange,
dashed and hollow. Colours are those of Okabe and Ito, which people with any colour vision can tell apart.

Needs matplotlib (the extra `plot`); it is loaded on the first call.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.errors import MissingPrerequisiteError
from treesearch.comparison.methods import MAJORITY

BLUE, ORANGE, BLACK, GREY = "#0072B2", "#D55E00", "#000000", "#BBBBBB"
_COLUMNS = 4
_PANEL = (2.7, 2.3)
"""Width and height of a panel in inches."""
_MARGIN = 1.3
"""Factor by which the tokens' axis goes on beyond the points at its ends."""
_DASH = 1.08
_TITLE = 34
"""Characters of a line of a panel's title."""

Line = Sequence[Mapping[str, Any]]


def draw(content: Mapping[str, Any], path: Path) -> None:
    """Write the figure of a comparison's JSON data as PNG.

    Raises `MissingPrerequisiteError` without matplotlib. There must be something in `method_lines`.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingPrerequisiteError(
            "no plot: it needs matplotlib; run: pip install 'treesearch-toolkit[plot]'"
        ) from error
    lines = method_lines(content)
    shown = [name for name in lines if name != MAJORITY] or [MAJORITY]
    columns = min(_COLUMNS, len(shown))
    rows = math.ceil(len(shown) / columns)
    figure = Figure(figsize=(columns * _PANEL[0] + 0.5, rows * _PANEL[1] + 0.9), layout="constrained")
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for index, axis in enumerate(axes.flat):
        if index < len(shown):
            _panel(axis, shown[index], lines)
            axis.tick_params(labelbottom=index + columns >= len(shown), labelleft=index % columns == 0)
        else:
            axis.set_axis_off()
    _x_ticks(axes[0][0], lines)
    figure.supxlabel("generated tokens spent on a problem, scoring included", fontsize=9)
    figure.supylabel("accuracy, percent", fontsize=9)
    _legend(figure, lines)
    beside = path.with_name(path.name + ".new")
    figure.savefig(beside, format="png", dpi=160)
    beside.replace(path)


def method_lines(content: Mapping[str, Any]) -> Mapping[str, Line]:
    """The rows that can be drawn, by method and rising budget; methods in the comparison's order.

    A row without an accuracy, or that spent nothing because every problem failed, cannot.
    """
    lines: dict[str, list[Mapping[str, Any]]] = {}
    for method in content["config"]["methods"]:
        rows = [row for row in content["rows"] if row["name"] == method["name"] and _drawable(row)]
        if rows:
            lines[method["name"]] = sorted(rows, key=lambda row: row["budget_tokens"])
    return lines


def _drawable(row: Mapping[str, Any]) -> bool:
    return row["accuracy"] is not None and row["tokens_per_problem"] > 0


def _panel(axis: Any, name: str, lines: Mapping[str, Line]) -> None:
    """One method among the others."""
    for other, line in lines.items():
        if other not in (name, MAJORITY):
            axis.plot(_tokens(_dash(line)), _percent(_dash(line)), color=GREY, linewidth=0.8, zorder=1)
    if name != MAJORITY and MAJORITY in lines:
        majority = _dash(lines[MAJORITY])
        low, high = _bounds(majority)
        axis.fill_between(_tokens(majority), low, high, color=BLACK, alpha=0.12, linewidth=0, zorder=2)
        axis.plot(_tokens(majority), _percent(majority), color=BLACK, linewidth=1.3, zorder=3)
    line = lines[name]
    low, high = _bounds(line)
    middle = _percent(line)
    oracle = any(row["oracle"] for row in line)
    color = ORANGE if oracle else BLUE
    axis.errorbar(
        _tokens(line),
        middle,
        # Rounding may put an end of an interval on the wrong side of its point.
        yerr=[
            [max(0.0, mid - end) for mid, end in zip(middle, low, strict=True)],
            [max(0.0, end - mid) for mid, end in zip(middle, high, strict=True)],
        ],
        color=color,
        linestyle="--" if oracle else "-",
        linewidth=1.8,
        marker="o",
        markersize=5,
        markerfacecolor="white" if oracle else color,
        capsize=3,
        elinewidth=1.2,
        zorder=4,
    )
    axis.set_xscale("log")
    axis.set_title(_title(name, oracle=oracle), fontsize=8)
    axis.tick_params(labelsize=8)
    axis.grid(color="#EEEEEE", linewidth=0.6, zorder=0)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def _title(name: str, *, oracle: bool) -> str:
    """A method's name on at most two lines."""
    text = f"{name} (oracle)" if oracle else name
    wrapped = textwrap.wrap(text.replace(",", ", "), _TITLE, break_long_words=True)
    rest = textwrap.shorten(" ".join(wrapped[1:]), _TITLE, placeholder=" ...")
    return "\n".join(part for part in (wrapped[0], rest) if part)


def _x_ticks(axis: Any, lines: Mapping[str, Line]) -> None:
    """The budgets as ticks, 1k, 4k, 16k, and quarters of the least where a method spent less."""
    from matplotlib.ticker import NullLocator

    rows = [row for line in lines.values() for row in line]
    ticks = sorted({row["budget_tokens"] for row in rows})
    least = min(row["tokens_per_problem"] for row in rows)
    while ticks[0] > 4 * least > 0:
        ticks.insert(0, round(ticks[0] / 4))
    axis.set_xticks(ticks, [_short(tick) for tick in ticks])
    axis.set_xlim(least / _MARGIN, max(row["tokens_per_problem"] for row in rows) * _MARGIN)
    axis.xaxis.set_minor_locator(NullLocator())


def _short(tokens: int) -> str:
    for scale, letter in ((1_000_000, "M"), (1_000, "k")):
        if tokens >= scale:
            return f"{tokens / scale:g}{letter}"
    return str(tokens)


def _legend(figure: Any, lines: Mapping[str, Line]) -> None:
    """What the colours stand for, below the panels."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [Line2D([], [], color=BLUE, marker="o", label="the panel's method, 95 % interval")]
    if MAJORITY in lines and len(lines) > 1:
        handles += [
            Line2D([], [], color=BLACK, label=f"majority vote ({MAJORITY})"),
            Patch(color=BLACK, alpha=0.12, label="its 95 % interval"),
            Line2D([], [], color=GREY, label="the other methods"),
        ]
    if any(row["oracle"] for line in lines.values() for row in line):
        style: dict[str, Any] = {"linestyle": "--", "marker": "o", "markerfacecolor": "white"}
        handles.append(Line2D([], [], color=ORANGE, label="read the gold answers (oracle)", **style))
    figure.legend(handles=handles, loc="outside upper center", ncols=3, fontsize=8, frameon=False)


def _dash(line: Line) -> Line:
    """The line; one point, of which a line would show nothing, as a short dash."""
    if len(line) > 1:
        return line
    (row,) = line
    spent = row["tokens_per_problem"]
    return [
        dict(row) | {"tokens_per_problem": spent / _DASH},
        dict(row) | {"tokens_per_problem": spent * _DASH},
    ]


def _tokens(line: Line) -> list[float]:
    return [row["tokens_per_problem"] for row in line]


def _percent(line: Line) -> list[float]:
    return [100 * row["accuracy"] for row in line]


def _bounds(line: Line) -> tuple[list[float], list[float]]:
    """Lower and upper ends of the intervals, in percent."""
    return [100 * row["accuracy_ci95"][0] for row in line], [100 * row["accuracy_ci95"][1] for row in line]
