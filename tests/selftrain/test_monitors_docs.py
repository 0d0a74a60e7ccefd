"""The page on monitors and quarantine names every figure and the true defaults."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from test_monitors_iteration import pair_tree, two_steps

from selftrain.monitors import MonitorSettings, iteration_monitors
from selftrain.quarantine import Quarantine

PAGE = (Path(__file__).parents[2] / "docs" / "selftrain-monitors.md").read_text(encoding="utf-8")


def table(header: str) -> dict[str, str]:
    lines = PAGE.split(f"| {header} |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    return {row[0]: row[1] for row in cells}


def defaults(cls: type) -> dict[str, str]:
    return {f"`{one.name}`": f"`{one.default}`" for one in dataclasses.fields(cls)}


def test_the_settings_shown_are_all_and_have_their_defaults() -> None:
    assert table("setting") == defaults(MonitorSettings)
    assert table("option") == defaults(Quarantine)


def test_every_figure_of_an_iteration_is_in_the_table() -> None:
    listed = " ".join(table("figure"))
    tree = pair_tree()
    found = iteration_monitors(
        [two_steps(), two_steps(problem="o")],
        [two_steps()],
        trees=[tree],
        after=[[0.0, -1.0, -1.0, -1.0]],
        settings=MonitorSettings(ks=(1, 2), s=1),
    )
    for name in found:
        group, rest = name.split(".", 1)
        said = re.sub(r"@\d+", "@K", re.sub(r"best-of-\d+", "best-of-K", rest))
        last = said.rsplit(".", 1)[-1].removesuffix("_p90")
        assert f"{group}." in listed, name
        assert last in listed, name
