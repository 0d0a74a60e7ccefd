"""`search selftrain decontaminate`: files in, a report, an exit code, and a clean file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from selftrain.cli.decontaminate import decontaminate
from selftrain.decontamination import ContaminationError
from tasks.errors import DataError, UsageError
from tasks.readers import read_problems

LEAK = "A robe takes 2 bolts of blue fiber and half that much white fiber. How many bolts does it take?"
OWN = "A farmer has 12 cows and sells 5. How many are left?"


def write(path: Path, *questions: str) -> str:
    lines = [
        json.dumps({"id": f"{path.stem}{n}", "question": q, "answer": "3"}) for n, q in enumerate(questions)
    ]
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return str(path)


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    return write(tmp_path / "mine.jsonl", OWN, LEAK), write(tmp_path / "test.jsonl", "What is 2 + 2?", LEAK)


def test_an_overlap_without_a_place_for_the_rest_is_an_error_and_a_report(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.json"
    with pytest.raises(ContaminationError, match="'mine1' is test 'test1'"):
        decontaminate([files[0]], [files[1]], report=str(report))
    assert json.loads(report.read_text())["clean"] is False
    assert "test: 1 of 2 problems are in training" in capsys.readouterr().out


def test_the_rest_is_written_where_every_command_can_read_it(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "clean.jsonl"
    assert decontaminate([files[0]], [files[1]], out=str(out), as_json=True) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["counts"]["training_problems"], said["out"]) == (1, str(out))
    assert [(one.id, one.question) for one in read_problems(out).require_clean()] == [("mine0", OWN)]
    assert decontaminate([str(out)], [files[1]]) == 0


def test_sets_of_files_with_one_name_are_told_apart_and_settings_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (
        write(tmp_path / "a" / "test.jsonl", "What is 2 + 2?"),
        write(tmp_path / "b" / "test.jsonl", LEAK),
    )
    mine = write(tmp_path / "mine.jsonl", LEAK.replace("2 bolts", "4 bolts"))
    assert decontaminate([mine], [first, second], as_json=True) == 0
    assert set(json.loads(capsys.readouterr().out)["held_out"]) == {first, second}
    with pytest.raises(ContaminationError):
        decontaminate([mine], [first, second], settings=["numbers=any"])


def test_what_cannot_be_read_is_an_error(files: tuple[str, str], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no\.jsonl"):
        decontaminate([files[0]], [str(tmp_path / "no.jsonl")])
    with pytest.raises(UsageError, match="on_overlap is for runs"):
        decontaminate([files[0]], [files[1]], settings=["on_overlap=drop"])
    with pytest.raises(UsageError, match="did you mean 'jaccard'"):
        decontaminate([files[0]], [files[1]], settings=["jacard=0.5"])


@pytest.mark.parametrize("option", ["out", "report"])
@pytest.mark.parametrize("which", [0, 1])
def test_no_file_that_is_read_is_written_over(files: tuple[str, str], option: str, which: int) -> None:
    before = [Path(file).read_bytes() for file in files]
    given: dict[str, Any] = {option: files[which]}
    with pytest.raises(UsageError, match=f"--{option} .* is a file that is read"):
        decontaminate([files[0]], [files[1]], **given)
    assert [Path(file).read_bytes() for file in files] == before


def test_files_that_share_an_id_are_both_named(files: tuple[str, str], tmp_path: Path) -> None:
    other = write(tmp_path / "b" / "mine.jsonl", "What is 7 * 8?")
    with pytest.raises(
        DataError, match=r"mine.jsonl and .*mine.jsonl both have a problem with the id 'mine0'"
    ):
        decontaminate([files[0], other], [files[1]], out=str(tmp_path / "clean.jsonl"))
    assert not (tmp_path / "clean.jsonl").exists()
