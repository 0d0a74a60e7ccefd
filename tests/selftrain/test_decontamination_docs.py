"""The page on decontamination holds the true settings."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from selftrain.decontamination import METHODS, Decontamination
from selftrain.decontamination.minhash import banding, found_at

PAGE = (Path(__file__).parents[2] / "docs" / "selftrain-decontamination.md").read_text(encoding="utf-8")


def table(header: str) -> dict[str, str]:
    lines = PAGE.split(f"| {header} |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    cells = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in lines]
    return {row[0]: row[1] for row in cells}


def test_the_settings_shown_are_all_and_have_their_defaults() -> None:
    shown = table("setting")
    assert shown == {one.name: str(one.default) for one in dataclasses.fields(Decontamination)}


def test_the_methods_shown_are_all_and_the_recall_is_reached() -> None:
    assert tuple(table("method")) == METHODS
    settings = Decontamination()
    bands, rows = banding(settings.jaccard, settings.permutations, settings.recall)
    assert f"{found_at(settings.jaccard, bands, rows):.6f} is reached" in PAGE
