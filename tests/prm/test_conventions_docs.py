"""The page of conventions says what the code does."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from prm.conventions import find, names
from prm.registry import ScorerSettings

PAGE = (Path(__file__).parents[2] / "docs" / "prm-conventions.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line[:1] == "|"
]


def test_every_family_has_its_row_with_its_aggregate_and_ids():
    rows = {row[0].strip("`"): row for row in ROWS if len(row) == 5}
    assert set(rows) - {"name", "---"} == set(names())
    for name in names():
        convention = find(name)
        assert rows[name][4] == convention.aggregate.value
        if name not in ("qwen2.5-math-7b-prm800k", "rlhflow-deepseek"):
            text = " ".join(rows[name])
            assert all(f"({token.id})" in text for token in convention.tokens)


def test_every_setting_has_its_row_with_its_default():
    rows = {row[0].strip("`"): row[1].strip("`") for row in ROWS if len(row) == 3}
    for setting in fields(ScorerSettings):
        assert rows[setting.name] == str(setting.default)
