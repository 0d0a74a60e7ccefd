"""`search selftrain train`: options, files, going on, refusing, ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import typer
from tree_training_worlds import base_model, rich_trees
from typer.testing import CliRunner

from selftrain.cli.train import settle, train
from selftrain.data.files import write_trees
from tasks.errors import DataError, UsageError
from treesearch.cli.exit_codes import ExitCode


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return base_model(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "trees.jsonl"
    write_trees(path, rich_trees(12))
    return path


def settings(**more: Any) -> list[str]:
    found = {"batch_trees": 4, "holdout": 0.25, "learning_rate": 1e-3} | more
    return [f"{key}={value}" for key, value in found.items()]


def test_a_run_trains_reports_in_json_and_is_gone_on_with_by_its_folder_alone(
    base: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "run")
    assert (
        train(data=str(data), base=str(base), objective="dpo", out=out, settings=settings(), as_json=True)
        == 0
    )
    first = json.loads(capsys.readouterr().out)
    assert (first["objective"], first["models"], first["out"]) == ("dpo", ["model"], out)
    assert train(out=out, as_json=True) == 0
    assert json.loads(capsys.readouterr().out) == first


def test_the_command_is_read_from_a_shell_line_and_reports_in_plain_words(
    base: Path, data: Path, tmp_path: Path
) -> None:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command("train")(train)
    out = str(tmp_path / "run")
    line = ["--data", str(data), "--base", str(base), "--objective", "nft", "--out", out]
    for one in settings(unscored="drop"):
        line += ["--set", one]
    done = CliRunner().invoke(app, line)
    assert done.exit_code == 0, done.output
    shown = done.stdout.splitlines()
    assert shown[0].startswith(f"nft on {base}: 2 steps, ")
    assert shown[1].startswith("before training, 3 trees held out: loss ")
    assert shown[2].startswith("after training, 3 trees held out: loss ")
    assert shown[3] == f"written: {out}/model"


def test_what_was_left_out_is_told_beside_the_report(
    base: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(data=str(data), base=str(base), out=str(tmp_path / "run"), settings=settings()) == 0
    assert "left out: 24 graded-wrong" in capsys.readouterr().err


def test_options_win_over_the_file_and_both_over_what_is_in_the_folder(
    base: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    train(data=str(data), base=str(base), objective="simpo", out=str(out), settings=settings())
    file = tmp_path / "train.yaml"
    file.write_text("objective: dpo\nepochs: 3\nlora_rank: 8\n")
    wanted = settle({"out": str(out), "epochs": "5"}, file)
    assert (wanted.config.epochs, wanted.config.objective, wanted.config.lora_rank) == (5, "dpo", 8)
    assert (wanted.data, wanted.base, wanted.config.batch_trees) == (data, str(base), 4)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"out": "run"}, "--data FILE"),
        ({"data": "trees.jsonl"}, "--out DIR"),
        ({"out": "run", "data": "x", "epoch": "3"}, "did you mean 'epochs'"),
        ({"out": "run", "data": "x", "objective": "dpo2"}, "did you mean 'dpo'"),
        ({"out": "run", "data": "x", "beta": "much"}, "must be a number"),
    ],
)
def test_what_is_missing_or_mistyped_is_named(flags: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        settle(flags, None)


def test_another_setting_is_refused_on_a_folder_that_holds_a_run(
    base: Path, data: Path, tmp_path: Path
) -> None:
    out = str(tmp_path / "run")
    assert train(data=str(data), base=str(base), out=out, settings=settings()) == 0
    with pytest.raises(UsageError, match=r"seed is 0 there and 4 here"):
        train(out=out, settings=["seed=4"])


def test_a_line_that_is_no_tree_is_named(base: Path, tmp_path: Path) -> None:
    path = tmp_path / "trees.jsonl"
    path.write_text('{"problem": "p"}\n')
    with pytest.raises(DataError, match=r"trees.jsonl:1"):
        train(data=str(path), base=str(base), out=str(tmp_path / "run"))


_COMMAND = """
import sys
import torch
torch.set_num_threads(1)
from selftrain.cli.train import train
data, base, out = sys.argv[1:]
sys.exit(train(data=data, base=base, out=out, settings=["epochs=5000", "holdout=0"]))
"""


def test_ctrl_c_leaves_a_checkpoint_and_says_how_to_go_on(base: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-c", _COMMAND, str(data), str(base), str(out)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as child:
        until = time.monotonic() + 90
        while not (out / "metrics.jsonl").exists() and time.monotonic() < until and child.poll() is None:
            time.sleep(0.05)
        child.send_signal(signal.SIGINT)
        told = child.communicate(timeout=60)[1]
    assert child.returncode == ExitCode.INTERRUPTED
    assert f"go on with: search selftrain train --out {out}" in told
    assert (out / "checkpoint.safetensors").exists()
    assert not (out / "summary.json").exists()
