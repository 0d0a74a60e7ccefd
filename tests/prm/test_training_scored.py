"""What training writes, scoring reads: the same scores from the exported folder as training measured."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from training_worlds import base_model, run, separable_pairs, separable_rows

from prm.checkpoint import read_card
from prm.registry import open_scorer


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return base_model(tmp_path_factory.mktemp("base"))


def _scores(folder: Path, question: str, steps: Sequence[str], **settings: Any) -> tuple[float, ...]:
    async def job() -> tuple[float, ...]:
        scorer = open_scorer(str(folder), settings)
        try:
            return (await scorer.score(question, steps)).scores
        finally:
            await scorer.close()

    return asyncio.run(job())


@pytest.mark.parametrize(("head", "members"), [("value-bce", 2), ("step", 1), ("two-token", 1)])
def test_a_trained_model_scores_right_steps_above_wrong_ones(
    base: Path, tmp_path: Path, head: str, members: int
):
    run(separable_rows(120), base, tmp_path, head=head, members=members)
    one = _scores(tmp_path / "model", "question 99", ["a1", "b2", "a3"])
    assert one[0] > 0.8 > 0.2 > one[1]
    assert one[2] > 0.8


def test_a_calibration_is_part_of_the_score(base: Path, tmp_path: Path):
    rows = separable_rows(160, label=lambda right: 0.7 if right else 0.2)
    run(rows, base, tmp_path, calibration="platt", holdout=0.5, right_weight=8.0)
    card = tmp_path / "model" / "prm.json"
    calibration = read_card(card.parent).calibration
    assert calibration is not None
    mapped = _scores(card.parent, "question 99", ["a1", "b2"])
    card.write_text(json.dumps(json.loads(card.read_text()) | {"calibration": None}))
    plain = _scores(card.parent, "question 99", ["a1", "b2"])
    assert mapped == pytest.approx(tuple(map(calibration, plain)), abs=1e-6)
    assert plain[0] > mapped[0]


@pytest.mark.parametrize("head", ["step-dpo", "implicit-dpo"])
def test_a_log_ratio_model_scores_by_its_reference(base: Path, tmp_path: Path, head: str):
    run(separable_pairs(120), base, tmp_path, head=head, beta=1.0)
    card = read_card(tmp_path / "model")
    assert (card.head.kind, card.reference, card.trained["beta"]) == ("implicit", str(base), 1.0)
    right, wrong = (_scores(tmp_path / "model", "question 99", ["a5", f"{one}2"])[1] for one in "ab")
    assert right > wrong
