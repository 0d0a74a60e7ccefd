"""A trained model is calibrated anew: by problem, from its raw scores, changing nothing but its card."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from training_worlds import base_model, separable_rows, step_text

from prm.checkpoint import CARD
from prm.cli.calibrate import calibrate
from prm.training import TrainConfig, train
from tasks.errors import DataError, UsageError


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    config = TrainConfig(epochs=4, batch_size=16, learning_rate=1e-2, holdout=0.2, calibration="platt")
    train(separable_rows(80), base=str(base_model(out / "base")), out=out / "run", config=config)
    return out / "run" / "model"


@pytest.fixture
def model(trained: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    for file in trained.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


@pytest.fixture
def noisy(tmp_path: Path) -> Path:
    """Right steps fail one time in four and wrong ones succeed as often: true chances 0.75 and 0.25."""
    draw = random.Random(0)
    lines: list[str] = []
    for number in range(120):
        right = [draw.random() < 0.5 for _ in range(6)]
        steps = [step_text(one, draw.randrange(10)) for one in right]
        labels = [float(one != (draw.random() < 0.25)) for one in right]
        row = {"id": f"n{number}", "prompt": f"noisy question {number}", "completions": steps}
        lines.append(json.dumps(row | {"labels": [*labels[:-1], None]}))
    path = tmp_path / "noisy.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def run(model: Path, data: Path, capsys: pytest.CaptureFixture[str], **more: Any) -> dict[str, Any]:
    assert calibrate(prm=str(model), data=str(data), as_json=True, **more) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("kind", ["platt", "isotonic"])
def test_scores_come_to_mean_what_the_labels_say(
    model: Path, noisy: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    files = {file.name: file.read_bytes() for file in model.iterdir()}
    report = run(model, noisy, capsys, kind=kind)
    assert report["problems"] == {"fitted": 60, "judged": 60}
    assert report["before"]["ece"] > 0.15
    assert report["after"]["ece"] < 0.08
    if kind == "platt":  # isotonic ties scores, and a tie counts half
        assert report["after"]["auroc"] == pytest.approx(report["before"]["auroc"])
    assert list(report["after"]["by_depth"]) == ["1", "2", "3", "4", "5"]  # the sixth has no label
    card = json.loads((model / CARD).read_text())
    assert card["calibration"]["kind"] == kind
    assert card["trained"]["calibration"]["after"]["ece"] == report["after"]["ece"]
    changed = {file.name for file in model.iterdir() if file.read_bytes() != files.get(file.name)}
    assert changed == {CARD}


def test_calibrating_twice_is_calibrating_once(
    model: Path, noisy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = run(model, noisy, capsys)
    map_of = json.loads((model / CARD).read_text())["calibration"]
    second = run(model, noisy, capsys)
    for name in ("n", "auroc", "ece", "brier"):
        assert second["after"][name] == pytest.approx(first["after"][name], abs=1e-6)
        assert second["before"][name] == pytest.approx(first["after"][name], abs=1e-6)
    again = json.loads((model / CARD).read_text())["calibration"]
    assert (again["a"], again["b"]) == pytest.approx((map_of["a"], map_of["b"]), rel=1e-4)


def test_the_plain_report_shows_before_and_after(
    model: Path, noisy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert calibrate(prm=str(model), data=str(noisy)) == 0
    shown = capsys.readouterr().out
    assert "fitted on 60 problems, judged on 60 others" in shown
    assert "error before" in shown


def test_what_cannot_be_calibrated_is_refused_and_the_model_is_as_it_was(
    model: Path, noisy: Path, tmp_path: Path
) -> None:
    before = (model / CARD).read_bytes()
    one = tmp_path / "one.jsonl"
    one.write_text(noisy.read_text().splitlines()[0] + "\n")
    with pytest.raises(DataError, match="one problem alone"):
        calibrate(prm=str(model), data=str(one))
    with pytest.raises(UsageError, match="kind of calibration 'plat'"):
        calibrate(prm=str(model), data=str(noisy), kind="plat")
    with pytest.raises(DataError, match="give one of its models"):
        calibrate(prm=str(tmp_path), data=str(noisy))
    assert (model / CARD).read_bytes() == before


def test_with_out_a_calibrated_copy_is_written_and_the_model_stays(
    model: Path, noisy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (model / CARD).read_bytes()
    out = tmp_path / "copies" / "calibrated"
    out.parent.mkdir()
    assert run(model, noisy, capsys, out=str(out))["prm"] == str(out)
    assert (model / CARD).read_bytes() == before
    assert json.loads((out / CARD).read_text())["calibration"]["kind"] == "platt"
    assert {file.name for file in out.iterdir()} == {file.name for file in model.iterdir()}
    with pytest.raises(UsageError, match="is there already"):
        run(model, noisy, capsys, out=str(out))


def test_the_model_that_ships_is_calibrated_into_a_copy_only(noisy: Path) -> None:
    with pytest.raises(UsageError, match=r"the model that ships stays as it is.*--out DIR"):
        calibrate(prm="embedded", data=str(noisy))
