"""Stored cells of experiments: any clone of the repository goes on with them."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "experiments" / "methods" / "run.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("methods_run", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def stored(name: str, data: str | None) -> str:
    config = {"common": {"data": data}} if name == "comparison.json" else {"data": {"value": data}}
    return json.dumps({"config": config}, indent=2) + "\n"


@pytest.mark.parametrize("name", ["comparison.json", "run.json"])
def test_problems_inside_the_repository_are_found_in_another_clone(script: ModuleType, name: str) -> None:
    mine, theirs = Path("/home/me/clone"), Path("/home/they/clone")
    kept = script.portable(name, stored(name, "/home/me/clone/experiments/x.jsonl"), mine)
    assert kept == stored(name, "experiments/x.jsonl")
    assert script.local(name, kept, theirs) == stored(name, "/home/they/clone/experiments/x.jsonl")


@pytest.mark.parametrize("name", ["comparison.json", "run.json"])
@pytest.mark.parametrize("data", ["/elsewhere/x.jsonl", None])
def test_other_problems_stay_as_they_are(script: ModuleType, name: str, data: str | None) -> None:
    there = Path("/home/me/clone")
    assert script.local(name, script.portable(name, stored(name, data), there), there) == stored(name, data)


def test_other_files_are_not_read(script: ModuleType) -> None:
    assert (
        script.portable("results.jsonl", "no JSON") == script.local("results.jsonl", "no JSON") == "no JSON"
    )
