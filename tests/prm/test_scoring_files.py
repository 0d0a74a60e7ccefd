"""`search prm score`: a file or one solution scored; gone on with after a kill; other rows refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from prm.scoring.base import StepScores
from prm.scoring.files import score_file
from tasks.errors import DataError, UsageError
from treesearch.cli import ExitCode, main
from treesearch.engines.base import EngineError

ROWS = [
    {
        "id": f"p{i}",
        "prompt": f"How much is {i}?",
        "completions": [f"{i}\n", f"#### {i}"],
        "labels": [1, None],
    }
    for i in range(5)
]


class Counts:
    """Scores a step by its length; remembers what it was asked."""

    name = "counts"

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.closed = False

    async def score(self, question: str, steps: Sequence[str]) -> StepScores:
        self.asked.append(question)
        return StepScores(tuple(len(step) / 10 for step in steps), 3)

    async def close(self) -> None:
        self.closed = True


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


@pytest.fixture
def scorer(monkeypatch: pytest.MonkeyPatch) -> Counts:
    made = Counts()
    monkeypatch.setattr("prm.registry.open_scorer", lambda name, settings=None: made)
    monkeypatch.setattr("prm.registry.scorer_hash", lambda name, settings: f"weights of {name.strip('./')}")
    return made


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_row_gets_its_scores_its_aggregates_and_keeps_its_labels(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    found = asyncio.run(score_file(Counts(), data, out))
    assert (found.n_solutions, found.n_steps, found.n_new, found.tokens) == (5, 10, 5, 15)
    first = lines(out)[0]
    assert {key: first[key] for key in ROWS[0]} == ROWS[0]
    assert first["scores"] == [0.2, 0.6]
    assert first["aggregates"]["min"] == 0.2
    assert first["aggregates"]["product"] == pytest.approx(0.12)
    assert first["tokens"] == 3


@pytest.mark.parametrize("cut", [0, 1, 60, 400, 401])
def test_a_file_that_a_kill_left_is_gone_on_with_to_the_same_bytes(
    data: Path, tmp_path: Path, cut: int
) -> None:
    out, other = tmp_path / "out.jsonl", tmp_path / "other.jsonl"
    asyncio.run(score_file(Counts(), data, out))
    whole = out.read_bytes()
    other.write_bytes(whole[:cut])
    scorer = Counts()
    found = asyncio.run(score_file(scorer, data, other))
    assert other.read_bytes() == whole
    assert found.n_new == len(scorer.asked) == 5 - whole[:cut].count(b"\n")
    assert asyncio.run(score_file(Counts(), data, other)).n_new == 0


def test_a_file_of_other_rows_is_refused_and_left_as_it_is(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    asyncio.run(score_file(Counts(), data, out))
    before = out.read_bytes()
    data.write_text(json.dumps(ROWS[1]) + "\n")
    with pytest.raises(UsageError, match="row 1"):
        asyncio.run(score_file(Counts(), data, out))
    data.write_text(json.dumps(ROWS[0]) + "\n")
    with pytest.raises(UsageError, match="more rows than the data"):
        asyncio.run(score_file(Counts(), data, out))
    assert out.read_bytes() == before


def test_a_broken_row_is_named_with_its_line_and_nothing_is_written(data: Path, tmp_path: Path) -> None:
    data.write_text(data.read_text() + '{"id": "x", "prompt": "q"}\n')
    with pytest.raises(DataError, match=r"data\.jsonl:6: .*completions"):
        asyncio.run(score_file(Counts(), data, tmp_path / "out.jsonl"))
    assert not (tmp_path / "out.jsonl").exists()


class TooLong(Counts):
    """Refuses the solution to one question; those before it take longer than that."""

    async def score(self, question: str, steps: Sequence[str]) -> StepScores:
        if question == ROWS[3]["prompt"]:
            raise UsageError("600 tokens are longer than the model's context of 512")
        await asyncio.sleep(0.02)
        return await super().score(question, steps)


def test_a_row_that_cannot_be_scored_is_named_and_the_rows_before_it_are_kept(
    data: Path, tmp_path: Path
) -> None:
    out, whole = tmp_path / "out.jsonl", tmp_path / "whole.jsonl"
    message = r"data\.jsonl:4: the solution 'p3': 600 tokens are longer"
    with pytest.raises(UsageError, match=message):
        asyncio.run(score_file(TooLong(), data, out))
    asyncio.run(score_file(Counts(), data, whole))
    assert lines(out) == lines(whole)[:3]
    again = TooLong()
    with pytest.raises(UsageError, match=message):
        asyncio.run(score_file(again, data, out))
    assert again.asked == []
    data.write_text("".join(json.dumps(row) + "\n" for row in ROWS if row["id"] != "p3"))
    assert asyncio.run(score_file(TooLong(), data, out)).n_new == 1
    assert [line["id"] for line in lines(out)] == ["p0", "p1", "p2", "p4"]


def test_a_failure_of_another_kind_goes_on_as_it_is_with_the_place_as_a_note(
    data: Path, tmp_path: Path
) -> None:
    class Broken(Counts):
        async def score(self, question: str, steps: Sequence[str]) -> StepScores:
            raise KeyError(question)

    with pytest.raises(KeyError) as raised:
        asyncio.run(score_file(Broken(), data, tmp_path / "out.jsonl"))
    assert raised.value.__notes__ == [f"{data}:1: the solution 'p0'"]


def test_the_folder_of_the_result_is_made_and_one_that_cannot_be_is_refused_before_scoring(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(score_file(Counts(), data, tmp_path / "new" / "deep" / "out.jsonl"))
    assert len(lines(tmp_path / "new" / "deep" / "out.jsonl")) == 5
    monkeypatch.setattr("prm.registry.open_scorer", lambda name, settings=None: pytest.fail("loaded"))
    for out in (data / "out.jsonl", tmp_path):
        scorer = Counts()
        with pytest.raises(UsageError, match="cannot write"):
            asyncio.run(score_file(scorer, data, out))
        assert scorer.asked == []
        code, _, err = run(capsys, "--prm", "x", "--data", str(data), "--out", str(out))
        assert (code, err.count("\n")) == (ExitCode.USAGE, 1)


def test_a_score_that_is_no_number_fails_the_command(data: Path, tmp_path: Path) -> None:
    class Broken(Counts):
        async def score(self, question: str, steps: Sequence[str]) -> StepScores:
            return StepScores((float("nan"),) * len(steps), 1)

    with pytest.raises(EngineError, match="must be finite"):
        asyncio.run(score_file(Broken(), data, tmp_path / "out.jsonl"))


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(["prm", "score", *words])
    out, err = capsys.readouterr()
    return code, out, err


def test_the_command_scores_a_file(
    scorer: Counts, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.jsonl"
    code, said, _ = run(capsys, "--prm", "x", "--data", str(data), "--out", str(out), "--json")
    assert code == ExitCode.DONE
    assert json.loads(said) == {
        "n_solutions": 5,
        "n_steps": 10,
        "n_new": 5,
        "tokens": 15,
        "out": str(out),
    }
    assert len(lines(out)) == 5
    assert scorer.closed


def test_the_command_scores_one_solution(scorer: Counts, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--prm", "x", "How much?", "--step", "1 + 1 = 2", "--step", "#### 2")
    code, said, _ = run(capsys, *words, "--json")
    assert code == ExitCode.DONE
    assert json.loads(said)["scores"] == [0.9, 0.6]
    code, said, _ = run(capsys, *words)
    assert "0.9000  1 + 1 = 2" in said
    assert "last 0.6000" in said


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "give a QUESTION with --step or --solution, or --data with --out"),
        (("q",), "no steps to score"),
        (("--data", "f", "--out", "g", "--step", "s"), "belong to a QUESTION"),
        (("--data", "f"), "--data with --out"),
        (("q", "--step", "s", "--data", "f", "--out", "g"), "give a QUESTION"),
    ],
)
def test_what_does_not_go_together_is_one_line(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], told: str
) -> None:
    code, out, err = run(capsys, "--prm", "x", *words)
    assert (code, out, err.count("\n")) == (ExitCode.USAGE, "", 1)
    assert told in err


def test_a_file_that_another_model_scored_or_that_has_no_scores_is_refused(
    data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    asyncio.run(score_file(Counts(), data, out, by="one"))
    assert {line["by"] for line in lines(out)} == {"one"}
    assert asyncio.run(score_file(Counts(), data, out, by="one")).n_new == 0
    with pytest.raises(UsageError, match=r"out\.jsonl:1 was scored by one, not other k=2"):
        asyncio.run(score_file(Counts(), data, out, by="other k=2"))
    out.write_bytes(data.read_bytes())
    with pytest.raises(UsageError, match="has no scores"):
        asyncio.run(score_file(Counts(), data, out, by="one"))


def test_a_file_is_gone_on_with_where_only_what_runs_the_model_is_another(
    data: Path, tmp_path: Path, scorer: Counts, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.jsonl"
    words = ["--data", str(data), "--out", str(out), "--json", "--set", "family=pure"]

    def scored(name: str, *settings: str) -> tuple[int, str, str]:
        return run(capsys, "--prm", name, *words, *(part for each in settings for part in ("--set", each)))

    assert scored("x", "device=cpu", "batch_tokens=64")[0] == ExitCode.DONE
    assert {line["by"] for line in lines(out)} == {"x family=pure"}
    free = ("device=cuda", "cache_mb=0", "threads=2", "max_context=99", "combine=mean", "dtype=auto")
    for name in ("x", "./x"):
        code, said, _ = scored(name, *free)
        assert (code, json.loads(said)["n_new"]) == (ExitCode.DONE, 0)
    for settings, told in (
        (("combine=worst",), "not x combine=worst family=pure"),
        (("dtype=bfloat16",), "not x dtype=bfloat16 family=pure"),
        (("backend=vllm",), "not x backend=vllm family=pure"),
    ):
        code, _, err = scored("x", *settings)
        assert code == ExitCode.USAGE
        assert f"was scored by x family=pure, {told}" in err
    assert "was scored by x family=pure, not y family=pure" in scored("y")[2]
    assert "did you mean 'device'" in scored("x", "devise=cpu")[2]


def test_a_model_that_was_trained_again_does_not_go_on_with_a_file(
    data: Path,
    tmp_path: Path,
    scorer: Counts,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ("--prm", "x", "--data", str(data), "--out", str(tmp_path / "out.jsonl"))
    assert run(capsys, *words)[0] == ExitCode.DONE
    monkeypatch.setattr("prm.registry.scorer_hash", lambda name, settings: "others")
    code, _, err = run(capsys, *words)
    assert code == ExitCode.USAGE
    assert "out.jsonl:1 was scored by x with other weights; name another file with --out" in err


def test_the_file_of_solutions_is_not_written_over(
    data: Path, scorer: Counts, capsys: pytest.CaptureFixture[str]
) -> None:
    before = data.read_bytes()
    assert main(["prm", "score", "--prm", "x", "--data", str(data), "--out", str(data)]) == 2
    assert "is a file that is read" in capsys.readouterr().err
    assert (data.read_bytes(), scorer.asked) == (before, [])
