"""`search prm train`: options, files, going on, refusing, ctrl-C."""

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
from training_worlds import base_model, separable_rows

from prm.cli.train import settle, train
from prm.labels.rows import write_rows
from tasks.errors import UsageError
from treesearch.cli import ExitCode, main


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return base_model(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "rows.jsonl"
    write_rows(path, separable_rows(60))
    return path


def _settings(**more: Any) -> list[str]:
    found = {"epochs": 1, "batch_size": 32, "holdout": 0.3, "learning_rate": 1e-2} | more
    return [f"{key}={value}" for key, value in found.items()]


def test_a_run_trains_reports_in_json_and_is_gone_on_with_by_its_folder_alone(
    base: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "run"
    assert train(data=str(data), base=str(base), out=str(out), settings=_settings(), as_json=True) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["head"] == "value-bce"
    assert first["models"] == ["model"]
    assert train(out=str(out), as_json=True) == 0
    assert json.loads(capsys.readouterr().out) == first


def test_the_plain_report_names_the_held_out_figures_and_the_model(
    base: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "run"
    settings = _settings(calibration="platt")
    assert train(data=str(data), base=str(base), out=str(out), head="step", settings=settings) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("step on ")
    assert "problems held out: loss" in shown
    assert "after platt calibration" in shown
    assert str(out / "model") in shown


def test_options_win_over_the_file_and_both_over_what_is_in_the_folder(tmp_path: Path):
    file = tmp_path / "train.yaml"
    file.write_text("data: rows.jsonl\nbase: embedded\nhead: step\nepochs: 3\nlora_rank: 8\n")
    wanted = settle({"out": str(tmp_path / "run"), "epochs": "5"}, file)
    assert wanted.config.epochs == 5
    assert (wanted.config.head, wanted.config.lora_rank, wanted.base) == ("step", 8, "embedded")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"out": "run"}, "--data FILE"),
        ({"data": "rows.jsonl"}, "--out DIR"),
        ({"out": "run", "data": "x", "epoch": "3"}, "did you mean 'epochs'"),
        ({"out": "run", "data": "x", "head": "value-bcd"}, "did you mean 'value-bce'"),
        ({"out": "run", "data": "x", "epochs": "many"}, "must be a number"),
    ],
)
def test_what_is_missing_or_mistyped_is_named(flags: dict[str, str], message: str):
    with pytest.raises(UsageError, match=message):
        settle(flags, None)


def test_another_setting_is_refused_on_a_folder_that_holds_a_run(base: Path, data: Path, tmp_path: Path):
    out = str(tmp_path / "run")
    assert train(data=str(data), base=str(base), out=out, settings=_settings()) == 0
    with pytest.raises(UsageError, match=r"seed is 0 there and 4 here"):
        train(out=out, settings=["seed=4"])


_COMMAND = """
import sys
import torch
torch.set_num_threads(1)
from prm.cli.train import train
data, base, out = sys.argv[1:]
sys.exit(train(data=data, base=base, out=out, settings=["epochs=500", "holdout=0", "log_every=1"]))
"""


def test_ctrl_c_leaves_a_checkpoint_and_says_how_to_go_on(base: Path, data: Path, tmp_path: Path):
    out = tmp_path / "run"
    command = [sys.executable, "-c", _COMMAND, str(data), str(base), str(out)]
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as child:
        until = time.monotonic() + 90
        while not (out / "metrics.jsonl").exists() and time.monotonic() < until and child.poll() is None:
            time.sleep(0.05)
        child.send_signal(signal.SIGINT)
        told = child.communicate(timeout=60)[1]
    assert child.returncode == 130
    assert f"go on with: search prm train --out {out}" in told
    assert (out / "checkpoint.safetensors").exists()
    assert not (out / "summary.json").exists()


def test_a_file_where_the_run_should_go_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "out").write_text("")
    assert main(["prm", "train", "--data", "x", "--out", str(tmp_path / "out")]) == ExitCode.USAGE
    assert "out is a file, and a run needs a folder" in capsys.readouterr().err
