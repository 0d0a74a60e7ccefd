"""`search prm eval`: every bench from published scores and from a model, one JSON object, tables, errors."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from evaluation_worlds import TableScorer, bench_row, write_lines

import prm.registry
from prm.aggregates import Aggregate
from prm.cli.eval import evaluate
from prm.evaluation.bench import BENCHES, BenchOptions, run_bench
from prm.evaluation.tables import tables
from tasks.errors import DataError, UsageError
from treesearch.cli.exit_codes import ExitCode

RANKED = {"problem": "p", "score": [[0.9, 0.8], [0.9, 0.1], [0.3, 0.2]]}


def files(tmp_path: Path) -> dict[str, dict[str, Path]]:
    """For each bench what a model and what published scores are evaluated with."""
    bench = [bench_row(f"{i}", [-1, 0, 2][i % 3]) for i in range(12)]
    outputs = [
        {"id": row["id"], "scores": [0.9 if i != row["label"] else 0.1 for i in range(3)]} for row in bench
    ]
    solution = {"eval_solution": ["a", "b"], "problem": "p"}
    modified = {
        "idx": "1",
        "classification": "circular",
        "original_question": "q",
        "modified_question": "q",
        "original_process": ["a"],
        "modified_process": ["a", "b"],
        "error_steps": [2],
    }
    sample = {"right": True, "answer": "1", "tokens": 5, "steps": ["a"], "scores": [0.5]}
    labelled = {"id": "1", "prompt": "q", "completions": ["a", "b"], "labels": [1, 0], "scores": [0.9, 0.2]}
    sampled = {"id": "1", "question": "q", "samples": [sample, sample | {"right": False, "answer": "2"}]}

    def made(name: str, rows: list[dict[str, Any]]) -> Path:
        return write_lines(tmp_path / name, rows)

    chosen = [solution | {"solution_type": "chosen"}, solution | {"solution_type": "rejected"}]
    return {
        "rewardmath": {"data": made("direct.json", chosen), "scores": made("ranked.jsonl", [RANKED])},
        "processbench": {
            "data": made("processbench_gsm8k.json", bench),
            "scores": made("out.jsonl", outputs),
        },
        "prmbench": {
            "data": made("prmbench.jsonl", [modified]),
            "scores": made("prmscores.jsonl", [{"id": "circular_1", "scores": [0.9, 0.1]}]),
        },
        "best-of-n": {"data": made("bon.jsonl", [sampled]), "scores": made("bon2.jsonl", [sampled])},
        "steps": {"data": made("steps.jsonl", [labelled]), "scores": made("steps2.jsonl", [labelled])},
        "canaries": {"data": made("canaries.json", bench)},
    }


def options_of(name: str) -> BenchOptions:
    return BenchOptions(threshold=0.5 if name in ("processbench", "prmbench") else None)


@pytest.mark.parametrize("name", list(BENCHES))
def test_every_bench_takes_a_model_and_gives_json_and_tables(tmp_path: Path, name: str) -> None:
    data = files(tmp_path)[name]["data"]
    scorer = TableScorer(lambda question, steps: [0.75] * len(steps))
    report = asyncio.run(run_bench(name, [data], scorer=scorer, options=options_of(name)))
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    shown = tables(report)
    assert shown
    for _, header, rows in shown:
        assert all(len(row) == len(header) for row in rows)


@pytest.mark.parametrize("name", [name for name in BENCHES if name != "canaries"])
def test_every_bench_but_the_canaries_takes_published_scores(tmp_path: Path, name: str) -> None:
    given = files(tmp_path)[name]
    data = [given["data"]] if BENCHES[name].files == "data and scores" else []
    report = asyncio.run(run_bench(name, data, scores=given["scores"], options=options_of(name)))
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_rewardmath_prints_one_entry_an_aggregate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = str(files(tmp_path)["rewardmath"]["scores"])
    assert evaluate("rewardmath", scores=scores, as_json=True) == ExitCode.DONE
    found = json.loads(capsys.readouterr().out)
    assert list(found) == [how.value for how in Aggregate]
    assert {how: (e["accuracy"], e["mrr"]) for how, e in found.items()} == {
        "min": (100, 100),
        "product": (100, 100),
        "geometric_mean": (100, 100),
        "mean": (100, 100),
        "mean_logit": (100, 100),
        "last": (100, 100),
        "max": (0, 50),
    }
    assert evaluate("rewardmath", scores=scores) == ExitCode.DONE
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == ["aggregate", "accuracy", "%", "MRR", "%"]
    assert table[7].split() == ["max", "0.0", "50.0"]


def test_a_model_is_opened_by_name_and_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer, asked = TableScorer(lambda question, steps: [0.75] * len(steps)), list[Any]()

    def open_scorer(name: str, settings: dict[str, str]) -> TableScorer:
        asked.append((name, settings))
        return scorer

    monkeypatch.setattr(prm.registry, "open_scorer", open_scorer)
    data = [str(files(tmp_path)["processbench"]["data"])]
    code = evaluate("processbench", data=data, prm="mine", settings=["device=cpu"], threshold=0.5)
    assert code == ExitCode.DONE
    assert asked == [("mine", {"device": "cpu"})]
    assert scorer.closed
    scorer.closed = False
    with pytest.raises(DataError):
        evaluate("steps", data=data, prm="mine")
    assert scorer.closed


def test_the_usual_part_is_the_one_to_choose_the_threshold_on(tmp_path: Path) -> None:
    rows = [bench_row(f"{i}", [-1, 0, 2][i % 3]) for i in range(12)]
    paths = [write_lines(tmp_path / f"processbench_{part}.json", rows) for part in ("math", "gsm8k")]
    scorer = TableScorer(lambda question, steps: [0.75] * len(steps))
    report = asyncio.run(run_bench("processbench", paths, scorer=scorer))
    assert report["chosen_on"] == "gsm8k"
    assert [part["held_out"] for part in report["parts"].values()] == [True, False]


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("rewardmat", {"scores": Path("x")}, "unknown bench 'rewardmat'; did you mean 'rewardmath'"),
        ("rewardmath", {}, r"takes a model \(--prm\) or published scores \(--scores\)"),
        ("rewardmath", {"data": [Path("x")], "scores": Path("x")}, "leave --data out"),
        ("processbench", {"scores": Path("x")}, "needs its problems: --data FILE"),
        ("canaries", {"data": [Path("x")], "scores": Path("x")}, "needs a model: --prm NAME"),
        (
            "steps",
            {"data": [Path("x"), Path("y")], "scorer": TableScorer(lambda q, s: [])},
            "one data file, got 2",
        ),
    ],
)
def test_inputs_that_do_not_go_together_are_refused(name: str, given: dict[str, Any], message: str) -> None:
    data = given.pop("data", [])
    with pytest.raises(UsageError, match=message):
        asyncio.run(run_bench(name, data, **given))


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        (
            "best-of-n",
            {"threshold": 0.5},
            "--threshold is for the bench processbench or prmbench or canaries, not",
        ),
        ("prmbench", {"choose_on": "math"}, "--choose-on is for the bench processbench, not for prmbench"),
        ("rewardmath", {"bins": 5}, "--bins is for the bench steps, not for rewardmath; leave it out"),
        ("best-of-n", {"settings": ["device=cpu"]}, "--set is for the model of --prm"),
    ],
)
def test_an_option_that_the_bench_has_no_use_for_is_refused(
    tmp_path: Path, name: str, given: dict[str, Any], message: str
) -> None:
    made = files(tmp_path)[name]
    data = [str(made["data"])] if BENCHES[name].files == "data and scores" else []
    with pytest.raises(UsageError, match=message):
        evaluate(name, data=data, scores=str(made["scores"]), **given)


def test_options_that_can_not_be_are_refused() -> None:
    for bad in ({"bins": 0}, {"limit": 0}, {"concurrency": 0}):
        with pytest.raises(UsageError, match=f"{next(iter(bad))} must be at least 1, got 0"):
            BenchOptions(**bad)


def test_importing_evaluation_and_labels_loads_no_model_library() -> None:
    code = "import prm.evaluation, prm.labels, prm.cli.eval, prm.cli.label, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "transformers", "vllm", "sympy", "matplotlib", "math_verify"}
    assert not heavy & {name.partition(".")[0] for name in done.stdout.split()}
