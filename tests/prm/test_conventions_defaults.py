"""What a convention names beside the scores is the default: cutting, aggregate, threshold."""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from evaluation_worlds import TableScorer, bench_row, write_lines

from prm.aggregates import Aggregate
from prm.conventions import Convention, find, names
from prm.evaluation import BenchOptions, run_bench
from prm.evaluation.tables import notes
from prm.scoring.base import convention_of, split_solution
from prm.scoring.files import score_file
from prm.values.reward_model import CONVENTION, EmbeddedPRM, LoadedPRM, PRMValue
from tasks.errors import DataError, UsageError
from treesearch.cli import ExitCode, main


class Follows(TableScorer):
    """A scorer of a family whose score of a step is the number that the step is, else 0.25."""

    def __init__(self, convention: Convention) -> None:
        super().__init__(lambda question, steps: [self.number(step) for step in steps])
        self.convention = convention

    @staticmethod
    def number(step: str) -> float:
        try:
            return float(step) if math.isfinite(float(step)) else 0.25
        except ValueError:
            return 0.25


def test_every_family_names_an_aggregate_that_a_search_can_use() -> None:
    for name in names():
        assert find(name).aggregate is not Aggregate.MEAN_LOGIT
        assert PRMValue(prm="x", aggregate=find(name).aggregate.value).aggregate


@pytest.mark.parametrize("family", ["qwen2.5-math-prm", "math-shepherd", "skywork-o1", "steps"])
def test_the_value_of_a_path_is_the_familys_aggregate_unless_another_is_set(family: str) -> None:
    convention = find(family)
    policy: Any = type("P", (), {"engine": type("E", (), {"tokenizer": None})()})()

    def used(value: PRMValue) -> str:
        return LoadedPRM(settings=value, scorer=Follows(convention), policy=policy).aggregate

    assert used(PRMValue(prm="x")) == convention.aggregate
    assert used(PRMValue(prm="x", aggregate="max")) == "max"
    assert (PRMValue(prm="x").aggregate, EmbeddedPRM().aggregate) == (CONVENTION, "last")
    plain = LoadedPRM(settings=PRMValue(prm="x"), scorer=TableScorer(lambda q, s: []), policy=policy)
    assert plain.aggregate == "last"


@pytest.mark.parametrize(
    ("family", "solution", "steps"),
    [
        ("math-shepherd", "Step 1: 3 + 4 = 7\nStep 2: so 7", ["3 + 4 = 7", "so 7"]),
        ("qwen2.5-math-prm", "3 + 4\n= 7\n\nso 7", ["3 + 4\n= 7", "so 7"]),
        ("steps", "3 + 4\n= 7", ["3 + 4", "= 7"]),
    ],
)
def test_a_whole_solution_is_cut_as_the_family_cuts(
    family: str, solution: str, steps: list[str], tmp_path: Path
) -> None:
    scorer = Follows(find(family))
    assert split_solution(scorer, solution) == steps
    rows = [{"id": "a", "prompt": "q", "completions": solution}]
    data, out = write_lines(tmp_path / "data.jsonl", rows), tmp_path / "out.jsonl"
    for _ in range(2):  # the second call finds the file done
        asyncio.run(score_file(scorer, data, out))
    (line,) = map(json.loads, out.read_text().splitlines())
    assert (line["completions"], scorer.calls) == (steps, [("q", tuple(steps))])


def test_labels_by_step_do_not_go_with_a_solution_that_is_cut_here(tmp_path: Path) -> None:
    data = write_lines(tmp_path / "d", [{"id": "a", "prompt": "q", "completions": "x\n\ny", "labels": [1]}])
    with pytest.raises(DataError, match=r"d:1: .*'labels' by step"):
        asyncio.run(score_file(Follows(find("qwen2.5-math-prm")), data, tmp_path / "out"))


def test_a_scorer_without_a_convention_needs_steps() -> None:
    scorer = TableScorer(lambda question, steps: [])
    assert convention_of(scorer) is None
    with pytest.raises(UsageError, match="one by one"):
        split_solution(scorer, "a\n\nb")


def canaries(family: Convention, tmp_path: Path, **options: Any) -> dict[str, Any]:
    file = write_lines(tmp_path / "c.jsonl", [bench_row("a", 0)])
    return asyncio.run(run_bench("canaries", [file], scorer=Follows(family), options=BenchOptions(**options)))


def test_canaries_are_judged_by_the_threshold_that_the_authors_name(tmp_path: Path) -> None:
    found = canaries(find("pure"), tmp_path)
    assert (found["threshold"], found["threshold_source"]) == (0.0, find("pure").threshold.source)
    assert found["usual_aggregate"] == "min"
    assert found["content_free"]["last"]["worst_rate"] == 1  # 0.25 is above 0
    assert canaries(find("math-shepherd"), tmp_path)["content_free"]["last"]["worst_rate"] == 0
    assert canaries(find("llemma-prm"), tmp_path)["threshold_source"] == "more likely right than not"
    assert canaries(find("pure"), tmp_path, threshold=0.5)["threshold_source"] == "given by the caller"
    with pytest.raises(UsageError, match=r"'implicitprm' names no threshold.*--threshold"):
        canaries(find("implicitprm"), tmp_path)


def test_processbench_has_the_figures_at_the_authors_threshold_too(tmp_path: Path) -> None:
    rows = [bench_row(f"w{i}", 1) | {"steps": ["0.9", "0.4", "0.9"]} for i in range(8)]
    rows += [bench_row(f"r{i}", -1) | {"steps": ["0.9", "0.45", "0.9"]} for i in range(8)]
    file = write_lines(tmp_path / "processbench_gsm8k.jsonl", rows)
    report = asyncio.run(run_bench("processbench", [file], scorer=Follows(find("math-shepherd"))))
    assert report["average_f1"] == 1  # the chosen threshold lies between
    assert (report["usual"]["value"], report["usual"]["average_f1"]) == (0.5, 0)
    assert any("0.50" in note and "0.0 %" in note for note in notes(report))
    without = replace(find("math-shepherd"), threshold=find("steps").threshold)
    assert "usual" not in asyncio.run(run_bench("processbench", [file], scorer=Follows(without)))


def test_the_command_cuts_marks_steps_below_the_threshold_and_names_the_aggregate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "prm.registry.open_scorer", lambda name, settings=None: Follows(find("math-shepherd"))
    )
    assert (
        main(["prm", "score", "q", "--prm", "x", "--solution", "Step 1: 0.75\nStep 2: 0.25"]) == ExitCode.DONE
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["score", "below", "0.5", "step"]
    assert [line.split() for line in lines[1:3]] == [["0.7500", "0.75"], ["0.2500", "wrong", "0.25"]]
    assert lines[-1] == "the aggregate that the model's authors use: min"
    both = ["prm", "score", "q", "--prm", "x", "--solution", "a", "--step", "b"]
    assert main(both) == ExitCode.USAGE
    assert "or both kinds" in capsys.readouterr().err
