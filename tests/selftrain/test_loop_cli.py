"""`search selftrain run`, `status` and `resume`: output, exit codes, ctrl-C."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from loop_worlds import World, make_world, put

from treesearch.cli import main


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"), problems=5, heldout=3)


@pytest.fixture(autouse=True)
def no_grading_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("treesearch.run.session.prewarm", lambda: None)


@pytest.fixture
def config(world: World, tmp_path: Path) -> Path:
    path = tmp_path / "toy.yaml"
    path.write_text(yaml.safe_dump(put(world.content(), "search.settings.n", 8)))
    return path


def test_a_run_reports_iterations_gate_costs_and_where_it_is(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(["selftrain", "run", str(config), "--out", str(out)]) == 0
    shown = capsys.readouterr()
    assert "finished: 1 of 1 iterations decided" in shown.out
    assert "1: hold: no task gained at alpha 0.05" in shown.out
    assert f"run       {out}" in shown.out
    assert "iteration 1, train: done" in shown.err
    assert main(["selftrain", "status", str(out), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["state"] == "finished"
    assert content["iterations"][1]["action"] == "hold"
    assert content["costs"]["trained_tokens"] > 0
    assert main(["selftrain", "resume", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == content


def test_assignments_and_overlays_change_the_configuration(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    above = tmp_path / "above.yaml"
    above.write_text("search: {problems: 2}\n")
    out = tmp_path / "run"
    assert (
        main(["selftrain", "run", str(config), str(above), "--set", "seed=4", "--out", str(out), "--json"])
        == 0
    )
    capsys.readouterr()
    stored = json.loads((out / "run.json").read_text())["selftrain"]
    assert (stored["seed"], stored["search"]["problems"], stored["search"]["settings"]["n"]) == (4, 2, 8)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--set", "serch.problems=1"], 2, "did you mean 'search'"),
        (["--set", "search.problems"], 2, "key=value"),
        (["--set", "train.settings.epoch=1"], 2, "did you mean 'epochs'"),
        (["--redo", "train"], 2, "nothing to redo"),
    ],
)
def test_mistakes_are_one_line_and_exit_with_2(
    config: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    assert main(["selftrain", "run", str(config), "--out", str(tmp_path / "run"), *arguments]) == code
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert len(errors) == 1
    assert message in errors[0]


def test_a_run_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["selftrain", "status", str(tmp_path / "no")]) == 2
    assert "not a self-training run" in capsys.readouterr().err
    assert main(["selftrain", "run", str(tmp_path / "no.yaml")]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_contamination_exits_with_2_and_names_the_problem(
    world: World, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planted = tmp_path / "planted.jsonl"
    planted.write_text(
        world.train.read_text() + world.heldout.read_text().splitlines()[1].replace("tools-1", "mine") + "\n"
    )
    out = tmp_path / "run"
    arguments = ["--set", f"tasks.count.train.data={planted}", "--out", str(out)]
    assert main(["selftrain", "run", str(config), *arguments]) == 2
    shown = capsys.readouterr().err
    assert "mine" in shown
    assert "tools-1" in shown
    assert not (out / "iterations" / "001").exists()
    assert main(["selftrain", "status", str(out)]) == 0
    assert "unfinished: 0 of 1" in capsys.readouterr().out


def test_the_group_lists_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["selftrain", "--help"]) == 0
    shown = capsys.readouterr().out
    for name in ("run", "status", "resume", "train"):
        assert f"  {name} " in shown
    assert main(["selftrain", "rnu"]) == 2
    assert "did you mean 'run'" in capsys.readouterr().err


def test_ctrl_c_leaves_a_run_that_the_printed_command_finishes(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    slow = ["--set", "engine.settings.latency_s=0.3", "--set", "search.concurrency=1", "--out", str(out)]
    command = [sys.executable, "-m", "treesearch.cli", "selftrain", "run", str(config), *slow]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    results = out / "iterations" / "001" / "search" / "count" / "results.jsonl"
    deadline = time.monotonic() + 100
    while not (results.exists() and results.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    printed = [line for line in errors.splitlines() if "resume with: search selftrain resume" in line]
    assert printed == [f"interrupted; resume with: search selftrain resume {out}"]
    before = results.read_text()
    events = [json.loads(line)["event"] for line in (out / "events.jsonl").read_text().splitlines()]
    assert events[-1] == "interrupt"
    assert main(["selftrain", "resume", str(out)]) == 0
    assert "finished" in capsys.readouterr().out
    assert results.read_text().startswith(before)
