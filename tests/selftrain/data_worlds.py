"""Runs of a scripted engine for the tests of building and exporting, and how a command is called."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from treesearch.cli import main

PROBLEMS = [
    {"id": "ants", "question": "Count the ants.", "answer": "0", "meta": {"solution": "step 0: 0\n#### 0"}},
    {"id": "bees", "question": "Count the bees.", "answer": "1"},
    {"id": "cats", "question": "Count the cats.", "answer": "2"},
]
SAMPLES = ("--algorithm", "best-of-n", "--set", "n=12", "--value", "logprob", "--budget-tokens", "none")


def solve(
    folder: Path, problems: list[dict[str, Any]], *more: str, search: tuple[str, ...] = SAMPLES
) -> Path:
    """A run over problems with the scripted engine, whose answers are 0 to 3."""
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "problems.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in problems), encoding="utf-8")
    run = folder / "run"
    engine = ["--engine", "scripted", "--policy", "embedded"]
    assert main(["solve", "--data", str(data), *engine, *search, *more, "--run", str(run), "--json"]) == 0
    return run


def called(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command of the group."""
    capsys.readouterr()
    code = main(["selftrain", *map(str, arguments)])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def lines(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
