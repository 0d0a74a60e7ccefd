"""Published figures and real records: what others measured comes out here."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from prm.evaluation.processbench import read_processbench
from prm.evaluation.rewardmath import evaluate, read_scores

DATA = Path(__file__).parent / "data"
MATH_SHEPHERD = {
    "min": (15.3, 34.7),
    "product": (17.2, 34.7),
    "geometric_mean": (15.7, 33.6),
    "mean": (15.1, 32.8),
    "mean_logit": (14.7, 31.9),
    "last": (18.2, 38.8),
    "max": (3.9, 21.8),
}
"""Accuracy and MRR in percent, calculated elsewhere from the published scores; ties count against."""


def test_math_shepherd_on_rewardmath_has_its_known_figures_under_every_aggregate(tmp_path: Path) -> None:
    file = tmp_path / "scores.jsonl"
    file.write_bytes(gzip.decompress((DATA / "rewardmath_math_shepherd.jsonl.gz").read_bytes()))
    problems = read_scores(file)
    assert (len(problems), {len(each.wrong) for each in problems}) == (483, {9})
    found = evaluate(problems)
    assert {
        how: (round(entry["accuracy"], 1), round(entry["mrr"], 1)) for how, entry in found.items() if entry
    } == MATH_SHEPHERD


@pytest.mark.parametrize("part", ["gsm8k", "math"])
def test_real_processbench_records_are_read(part: str) -> None:
    found = read_processbench(DATA / f"processbench_{part}.json")
    assert [each.label == -1 for each in found] == [True] * 4 + [False] * 4
    assert all(each.id.startswith(f"{part}-") and len(each.steps) > each.label for each in found)
