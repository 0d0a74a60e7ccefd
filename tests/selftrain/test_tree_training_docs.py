"""The page on training the policy says what the code does, and its example runs."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from tree_training_worlds import base_model, rich_trees

from selftrain.data.files import write_trees
from selftrain.training import selection
from selftrain.training.config import TrainConfig
from selftrain.training.objectives import OBJECTIVES
from selftrain.training.session import FREE

PAGE = (Path(__file__).parents[2] / "docs" / "selftrain-training.md").read_text(encoding="utf-8")


def rows(section: str) -> list[list[str]]:
    """The cells of the section's table."""
    below = PAGE.split(f"## {section}\n")[1].split("\n## ")[0]
    return [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in below.splitlines() if line[:3] == "| `"
    ]


def test_every_setting_is_on_the_page_with_its_default() -> None:
    shown = {True: "true", False: "false", None: "none"}
    wanted = {
        field.name: shown[field.default]
        if field.default is None or isinstance(field.default, bool)
        else str(field.default)
        for field in fields(TrainConfig)
    }
    assert {name.strip("`"): default.strip("`") for name, default, _ in rows("Settings")} == wanted


def test_every_objective_is_on_the_page_with_records_references_scale_and_builders() -> None:
    told = [row for row in rows("Objectives") if len(row) == 5]
    wanted = [
        [
            f"`{name}`",
            row.records,
            ", ".join(row.references),
            "-" if row.beta is None else str(row.beta),
            ", ".join(f"`{builder}`" for builder in row.made_by),
        ]
        for name, row in OBJECTIVES.items()
    ]
    assert told == wanted


def test_every_reason_for_dropping_a_record_is_on_the_page() -> None:
    told = {row[0].strip("`") for row in rows("Objectives") if len(row) == 2}
    source = Path(str(selection.__file__)).read_text(encoding="utf-8")
    assert told == set(re.findall(r'(?:return|dropped\[)\s*"([a-z-]+)"', source))


def test_the_settings_that_may_change_are_on_the_page() -> None:
    told = PAGE.split("refused with what differs;")[1].split("may change.")[0]
    assert set(re.findall(r"`(\w+)`", told)) == FREE


def test_the_python_example_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block = re.search(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert block is not None
    write_trees(tmp_path / "trees.jsonl", rich_trees(10))
    base = base_model(tmp_path / "base")
    monkeypatch.chdir(tmp_path)
    world: dict[str, Any] = {}
    exec(
        compile(block.group(1).replace('"embedded"', repr(str(base))), "selftrain-training.md", "exec"), world
    )
    assert set(world["outcome"].summary["held_out"]) == {"before", "after"}
    assert (tmp_path / "runs" / "policy" / "model" / "config.json").is_file()
