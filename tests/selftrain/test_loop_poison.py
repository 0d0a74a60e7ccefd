"""The embedded model, trained on swapped pairs, really falls; it is rolled back and the run says why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from selftrain.builders import open_builder
from selftrain.loop import Parts, from_json, run

pytestmark = pytest.mark.timeout(300)


def swapping(name: str, settings: Mapping[str, Any]) -> Any:
    """A builder whose pairs are the wrong way round."""
    builder = open_builder(name, settings)

    def build(searched: Any) -> Any:
        built = builder(searched)
        trees = [
            replace(tree, pairs=tuple(replace(p, chosen=p.rejected, rejected=p.chosen) for p in tree.pairs))
            for tree in built.trees
        ]
        return replace(built, trees=tuple(trees))

    return build


def test_an_iteration_poisoned_with_swapped_pairs_is_rolled_back_and_says_why(tmp_path: Path) -> None:
    config = from_json(
        {
            "tasks": {
                "puzzles": {
                    "task": "countdown",
                    "train": {"generate": 40, "start": 10_000_000},
                    "heldout": {"generate": 64},
                }
            },
            "search": {"algorithm": "best-of-n", "settings": {"n": 8}, "budget_tokens": None},
            "builder": {"name": "outcome-dpo"},
            "train": {
                "settings": {
                    "objective": "dpo",
                    "learning_rate": 2e-4,
                    "epochs": 3,
                    "batch_trees": 4,
                    "holdout": 0,
                }
            },
        }
    )
    found = run(config, tmp_path / "run", parts=Parts(open_builder=swapping))
    iteration = found.iterations[1]
    assert iteration.action == "roll back"
    assert iteration.reason.startswith("puzzles fell from ")
    assert iteration.accuracy["puzzles"] < found.iterations[0].accuracy["puzzles"] - 0.2
    assert found.policy == "embedded"
