"""The process-reward model that ships: by name, on the embedded policy's ids, and right where it must be."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

import treesearch as ts
from prm.registry import embedded_folder, open_scorer
from prm.scoring.base import StepScores

SOLUTIONS = {
    "Make 24 from 3 5 8 11.": (
        ("5+3=8 (left: 8 8 11)", "11-8=3 (left: 3 8)", "8*3=24 (left: 24)"),
        ("5+3=8 (left: 8 8 11)", "11-8=3 (left: 3 8)", "8+3=11 (left: 11)"),
    ),
    "Make 33 from 3 7 9 13.": (
        ("13-9=4 (left: 3 4 7)", "7+4=11 (left: 3 11)", "11*3=33 (left: 33)"),
        ("13-9=4 (left: 3 4 7)", "7+4=11 (left: 3 11)", "11+3=14 (left: 14)"),
    ),
}


def scores(question: str, *solutions: tuple[str, ...]) -> list[StepScores]:
    async def job() -> list[StepScores]:
        scorer = open_scorer("embedded", {"device": "cpu"})
        try:
            return [await scorer.score(question, steps) for steps in solutions]
        finally:
            await scorer.close()

    return asyncio.run(job())


@pytest.mark.parametrize(("question", "solutions"), SOLUTIONS.items())
def test_a_wrong_last_step_scores_far_below_a_right_one(
    question: str, solutions: tuple[tuple[str, ...], tuple[str, ...]]
) -> None:
    right, wrong = scores(question, *solutions)
    assert right.scores[-1] > 0.8
    assert wrong.scores[-1] < 0.3


@pytest.mark.parametrize("algorithm", [ts.BestOfN(n=8), ts.MCTS(simulations=6)])
def test_a_search_takes_it_by_name_and_pays_for_it(algorithm: ts.Algorithm) -> None:
    found = ts.solve(
        "Make 24 from 3 5 8 11.",
        task="countdown",
        algorithm=algorithm,
        value="embedded",
        budget=ts.Budget(tokens=1_000),
    )
    assert not found.oracle
    assert 0 < found.usage.value_tokens < found.usage.generated_tokens * 1.2
    scored = [node.value for node in found.tree.leaves() if node.value is not None]
    assert scored
    assert all(0 <= value <= 1 for value in scored)


def test_it_is_small_enough_to_ship_and_says_how_it_was_made() -> None:
    folder: Path = embedded_folder()
    assert sum(file.stat().st_size for file in folder.iterdir()) < 16 * 2**20
    trained = json.loads((folder / "prm.json").read_text())["trained"]
    assert trained["base"] == "prm/models/embedded"  # a second round, from the model of the first
    assert trained["calibration"]["after"]["ece"] < 0.05
