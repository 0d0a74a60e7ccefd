"""`search selftrain export`: training trees in one format, or a folder of several."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from data_worlds import PROBLEMS, called, solve

from selftrain.builders.session import RunData, build, read_runs
from selftrain.data.exports import preferences, read_preferences, read_step_labels, step_rows
from selftrain.data.files import read_trees


@pytest.fixture(autouse=True)
def no_grading_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("treesearch.run.session.prewarm", lambda: None)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("treesearch.run.session.prewarm", lambda: None)
        return solve(tmp_path_factory.mktemp("world"), PROBLEMS)


@pytest.fixture(scope="module")
def data(run: Path) -> RunData:
    return asyncio.run(read_runs([run]))


@pytest.fixture
def trees(data: RunData, tmp_path: Path) -> Path:
    """A file with traces, pairs and targets of two rules."""
    from selftrain.builders import together
    from selftrain.data.files import write_trees

    built = build(data, {"sft": {}, "tree-plv": {}, "targets": {}})
    hard = build(data, {"targets": {"rule": "hard"}})
    path = tmp_path / "trees.jsonl"
    write_trees(path, together([built, hard]).trees)
    return path


def test_one_format_goes_to_one_file_and_is_read_back(
    trees: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "pairs.jsonl"
    code, shown, told = called(capsys, "export", "--data", trees, "--format", "preference", "--out", out)
    rows = read_preferences(out)
    assert (code, shown) == (0, f"{len(rows)} rows in {out}\n")
    assert "3 training trees read" in told
    assert rows == preferences(read_trees(trees))


@pytest.mark.parametrize(
    ("bundle", "names"),
    [
        ("trl", {"preference.jsonl", "sft.jsonl", "stepwise.jsonl"}),
        ("jsonl", {"preference.jsonl", "sft.jsonl", "stepwise.jsonl", "step-rows.jsonl"}),
        ("datasets", {"preference", "sft", "stepwise"}),
    ],
)
def test_a_bundle_is_a_folder_of_all_that_the_trees_hold(
    trees: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], bundle: str, names: set[str]
) -> None:
    if bundle == "datasets":
        pytest.importorskip("datasets")
    out = tmp_path / "out"
    kinds = ["--kind", "sft", "--kind", "tree-plv", "--kind", "soft"]
    code, shown, _ = called(
        capsys, "export", "--data", trees, "--format", bundle, "--out", out, *kinds, "--json"
    )
    assert code == 0
    report = json.loads(shown)
    assert {Path(path).name for path in report["rows"]} == {path.name for path in out.iterdir()} == names
    ending = "" if bundle == "datasets" else ".jsonl"
    assert read_preferences(out / f"preference{ending}") == preferences(read_trees(trees))
    labels = [row.labels for row in read_step_labels(out / f"stepwise{ending}")]
    assert labels == [row.labels for row in step_rows(read_trees(trees), kind="soft")]


def test_a_bundle_leaves_out_what_the_trees_do_not_hold(
    trees: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    given = ["--data", trees, "--format", "trl", "--kind", "tree-plv", "--out", out]
    assert called(capsys, "export", *given)[0] == 0
    assert [path.name for path in out.iterdir()] == ["preference.jsonl"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "preferences"], "unknown export format 'preferences'; did you mean 'preference'"),
        (["--format", "stepwise"], "targets of hard, soft; say which kind"),
        (
            ["--format", "sft", "--kind", "sfd"],
            "unknown kind of record in the file 'sfd'; did you mean 'sft'",
        ),
        (["--format", "sft", "--kind", "soft"], "nothing to write as 'sft'; it holds "),
    ],
)
def test_an_export_that_cannot_be_is_one_line(
    trees: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    out = tmp_path / "x.jsonl"
    code, shown, told = called(capsys, "export", "--data", trees, "--out", out, *arguments)
    errors = [line for line in told.splitlines() if line.startswith("error")]
    assert (code, shown, len(errors), out.exists()) == (2, "", 1, False)
    assert message in errors[0]


def test_a_bundle_is_not_written_over_a_file(
    trees: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, told = called(capsys, "export", "--data", trees, "--format", "trl", "--out", trees)
    assert code == 2
    assert "is a file that is read" in told
    (tmp_path / "other").write_text("")
    code, _, told = called(capsys, "export", "--data", trees, "--format", "trl", "--out", tmp_path / "other")
    assert code == 2
    assert "is a file; 'trl' writes several, name a folder" in told
