"""What `search list` says of this package: every name of every table, and no model library."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from prm.conventions import find, names
from prm.evaluation.bench import BENCHES
from prm.labels import METHODS, RULES
from prm.training.heads import HEADS
from selftrain.builders.table import builder_names
from selftrain.cli.names import objectives
from selftrain.training.config import objective_names
from treesearch.cli import main

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("kind", "table"),
    [
        ("conventions", names()),
        ("benches", BENCHES),
        ("heads", HEADS),
        ("label-methods", METHODS),
        ("label-rules", RULES),
        ("builders", builder_names()),
        ("objectives", objective_names()),
    ],
)
def test_every_name_is_listed_with_a_line_about_it(
    kind: str, table: Iterable[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["list", kind, "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)[kind]
    assert [entry["name"] for entry in entries] == list(table)
    assert all(0 < len(entry["summary"]) <= 120 for entry in entries)
    assert main(["list", kind]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(table)


def test_a_convention_says_what_is_usual_for_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "conventions", "--json"]) == 0
    found = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)["conventions"]}
    assert found["versaprm"]["aggregate"] == "min"
    assert found["versaprm"]["threshold"] == 0.5
    assert found["pure"]["read_at"] == "tag"
    assert found["skywork-o1"]["checkpoints"] == list(find("skywork-o1").checkpoints)
    assert "Skywork" in found["skywork-o1"]["summary"]


def test_an_objective_of_an_installed_package_is_listed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selftrain.training.config.objective_names", lambda: ["dpo", "theirs"])
    assert [entry["name"] for entry in objectives()] == ["dpo", "theirs"]


def test_listing_everything_loads_no_model_library_and_takes_a_moment(tmp_path: Path) -> None:
    code = (
        "import sys; from treesearch.cli import main; main(['list', '--json']);"
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'sympy', 'vllm')))"
    )
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
    )
    assert done.returncode == 0
    assert time.monotonic() - began < 30
