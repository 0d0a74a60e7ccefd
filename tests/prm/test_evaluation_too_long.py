"""Solutions longer than a model's context: named and refused, or left out and counted, by every bench."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from evaluation_worlds import TableScorer, bench_row, write_lines

from prm.evaluation import BenchOptions, run_bench
from prm.evaluation.scoring import score_all
from prm.evaluation.tables import notes
from prm.scoring.base import StepScores, TooLongError
from prm.scoring.files import score_file
from tasks.errors import DataError, UsageError

LONG = "far too long"


class Short(TableScorer):
    """A scorer whose context does not hold a solution with the step `LONG`."""

    async def score(self, question: str, steps: Sequence[str]) -> StepScores:
        if LONG in steps:
            raise TooLongError("question and steps have 9 tokens, more than the context of 8")
        return await super().score(question, steps)


def scorer() -> Short:
    return Short(lambda question, steps: [0.1 + 0.8 * ("right" in step) for step in steps])


def sample(text: str) -> dict[str, Any]:
    return {"steps": [text], "right": text == "right", "answer": text, "tokens": 1}


FILES: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "processbench": (
        "b",
        [
            bench_row("a", 0, 1),
            bench_row("b", 0, 1) | {"steps": [LONG]},
            *(bench_row(name, -1, 1) | {"steps": ["right"]} for name in "cdefgh"),
        ],
    ),
    "canaries": ("b", [bench_row("a", 0, 1), bench_row("b", 0, 1) | {"steps": [LONG]}]),
    "steps": (
        "b",
        [
            {"id": "a", "prompt": "q", "completions": ["right", "x"], "labels": [1, 0]},
            {"id": "b", "prompt": "r", "completions": [LONG], "labels": [0]},
        ],
    ),
    "best-of-n": (
        "b, sample 2",
        [
            {"id": "a", "question": "q", "samples": [sample("right"), sample("x")]},
            {"id": "b", "question": "r", "samples": [sample("right"), sample(LONG)]},
        ],
    ),
    "prmbench": (
        "step_contradiction_1",
        [
            {
                "classification": "step_contradiction",
                "idx": f"step_contradiction_{number}",
                "modified_question": "q",
                "modified_process": ["right", LONG if number == 1 else "x"],
                "error_steps": [2],
            }
            for number in range(8)
        ],
    ),
    "rewardmath": (
        "r",
        [
            {"problem": problem, "eval_solution": [text], "solution_type": kind, "problem_id": problem}
            for problem, wrong in (("q", "x"), ("r", LONG))
            for kind, text in (("chosen", "right"), ("rejected", wrong))
        ],
    ),
}


def evaluated(bench: str, file: Path, **options: Any) -> dict[str, Any]:
    if bench in ("prmbench", "processbench"):
        options["threshold"] = 0.5
    return asyncio.run(run_bench(bench, [file], scorer=scorer(), options=BenchOptions(**options)))


@pytest.mark.parametrize("bench", FILES)
def test_a_solution_that_is_too_long_is_named_or_left_out_and_counted(bench: str, tmp_path: Path) -> None:
    name, rows = FILES[bench]
    file = write_lines(tmp_path / f"{bench}.jsonl", rows)
    with pytest.raises(DataError, match=f"the solution '{name}': .*--too-long drop"):
        evaluated(bench, file)
    report = evaluated(bench, file, too_long="drop")
    counted = report["min"] if bench == "rewardmath" else report
    assert counted["left_out"] == 1
    what = "problems" if bench in ("rewardmath", "best-of-n") else "solutions"
    assert f"1 {what} left out: longer than the model's context" in notes(report)


def test_figures_are_of_the_solutions_that_are_left(tmp_path: Path) -> None:
    _, rows = FILES["best-of-n"]
    report = evaluated("best-of-n", write_lines(tmp_path / "b.jsonl", rows), too_long="drop")
    alone = evaluated("best-of-n", write_lines(tmp_path / "a.jsonl", rows[:1]))
    assert {**report, "left_out": 0} == alone
    assert report["n_problems"] == 1


def test_other_failures_are_raised_with_the_name_of_the_solution() -> None:
    class Fails(TableScorer):
        async def score(self, question: str, steps: Sequence[str]) -> StepScores:
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken") as raised:
        asyncio.run(score_all(Fails(lambda question, steps: []), [("q", ["s"])], names=["p7"]))
    assert raised.value.__notes__ == ["the solution 'p7'"]


def test_an_unknown_choice_names_the_valid_ones() -> None:
    with pytest.raises(UsageError, match="did you mean 'drop'"):
        BenchOptions(too_long="dorp")  # type: ignore[arg-type]


def test_a_row_of_a_file_that_is_too_long_is_a_fault_of_the_data(tmp_path: Path) -> None:
    rows = [{"id": name, "prompt": "q", "completions": [text]} for name, text in (("a", "x"), ("b", LONG))]
    data, out = write_lines(tmp_path / "data.jsonl", rows), tmp_path / "out.jsonl"
    with pytest.raises(DataError, match=r"data.jsonl:2: the solution 'b': .*more than the context"):
        asyncio.run(score_file(scorer(), data, out))
    assert len(out.read_text().splitlines()) == 1
