"""A step-level Q-value model on searched trees of a world whose Q values are known exactly.

Check of Zhai et al. 2024 (arXiv 2409.09345): among siblings of problems that were not trained on, the trained
Q ranks by the true Q*, and one trained on pairs dealt out at random does not.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from labels_worlds import DEPTH, PROBLEM, ToyTask, toy_policy, truth
from tiny_models import write_llama
from training_worlds import base_model, run

from prm.labels import StepRecord, sibling_pairs, tree_records
from prm.registry import open_scorer
from prm.training import PairRow
from treesearch import MCTS, Budget, solve
from treesearch.values.rollout import RollOutValue

HELD_OUT = [f"Letters {number}?" for number in range(900, 904)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return base_model(tmp_path_factory.mktemp("base"))


def records(number: int) -> list[StepRecord]:
    """Step records of the tree that UCT with graded roll-outs grows over a problem."""
    problem = replace(PROBLEM, id=f"toy-{number}", question=f"Letters {number}?")
    found = solve(
        problem,
        policy=toy_policy(),
        algorithm=MCTS(selection="uct", backup="mean", width=4, max_depth=DEPTH, gate=2.0),
        value=RollOutValue(n=2, judge="grade"),
        budget=Budget(tokens=1_500),
        seed=number,
    )
    return asyncio.run(tree_records(found.tree, ToyTask(), model="toy-model", source="tree:mcts"))


@pytest.fixture(scope="module")
def pairs() -> list[PairRow]:
    found = sibling_pairs(
        [record for number in range(12) for record in records(number)], gap=0.25, rule="tree"
    )
    assert len(found) > 60
    return found


def q_values(folder: Path) -> dict[tuple[str, tuple[str, ...]], float]:
    """Q of the last step of every prefix, by question and prefix."""

    async def job() -> dict[tuple[str, tuple[str, ...]], float]:
        scorer = open_scorer(str(folder), {})
        found: dict[tuple[str, tuple[str, ...]], float] = {}
        try:
            for question in HELD_OUT:
                for solution in product("ab", repeat=DEPTH):
                    for depth, score in enumerate((await scorer.score(question, solution)).scores, 1):
                        found[question, solution[:depth]] = score
        finally:
            await scorer.close()
        return found

    return asyncio.run(job())


def ranking_accuracy(folder: Path) -> float:
    """Share of sibling pairs with different Q* that the model orders as Q* does; a tie is half right."""
    scores = q_values(folder)
    marks: list[float] = []
    for (question, path), score in scores.items():
        other = (*path[:-1], "b")
        if path[-1] == "a" and truth(path) != truth(other):
            marks.append(1.0 if score > scores[question, other] else 0.5 * (score == scores[question, other]))
    assert len(marks) >= 20
    return sum(marks) / len(marks)


def dealt(pairs: Sequence[PairRow], seed: int) -> list[PairRow]:
    """The pairs; of each sort, the same two steps behind the same prefix, half have the worse step chosen."""
    order, seen = list(pairs), Counter[tuple[tuple[str, ...], ...]]()
    random.Random(seed).shuffle(order)
    found: list[PairRow] = []
    for pair in order:
        sort = (pair.prefix, *sorted((pair.chosen, pair.rejected)))
        seen[sort] += 1
        swap = (seen[sort] + seed) % 2 == 0
        found.append(replace(pair, chosen=pair.rejected, rejected=pair.chosen) if swap else pair)
    return found


def test_the_trained_q_ranks_siblings_as_the_true_q_does_and_the_shuffled_control_does_not(
    tmp_path: Path, pairs: list[PairRow]
) -> None:
    """Over several bases, since what noise makes a base prefer depends on its weights."""
    accuracy: dict[str, list[float]] = {"right": [], "dealt": []}
    for seed in range(6):
        base = write_llama(tmp_path / f"base-{seed}", seed=seed)
        for name, rows in {"right": pairs, "dealt": dealt(pairs, seed)}.items():
            folder = tmp_path / f"{name}-{seed}"
            run(rows, base, folder, head="step-dpo", beta=1.0, epochs=3)
            accuracy[name].append(ranking_accuracy(folder / "model"))
    assert min(accuracy["right"]) > 0.9, accuracy
    assert 0.3 < sum(accuracy["dealt"]) / len(accuracy["dealt"]) < 0.7, accuracy


def test_the_q_of_an_untrained_model_is_the_same_for_every_step(
    base: Path, tmp_path: Path, pairs: list[PairRow]
) -> None:
    run(pairs, base, tmp_path, head="step-dpo", epochs=1, learning_rate=1e-12)
    found = q_values(tmp_path / "model").values()
    assert list(found) == pytest.approx([0.5] * len(found), abs=1e-4), (
        "a Q of 0, through the logistic function"
    )
