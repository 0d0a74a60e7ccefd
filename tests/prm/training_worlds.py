"""A small separable task and a tiny model that can learn it in a few seconds."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tiny_models import write_llama

from prm.training import Outcome, PairRow, StepRow, TrainConfig, train

FAST: dict[str, Any] = {
    "epochs": 6,
    "batch_size": 32,
    "learning_rate": 1e-2,
    "head_learning_rate": 1e-2,
    "holdout": 0.0,
}


def base_model(folder: Path) -> Path:
    """The tiny backbone that all tests train."""
    torch.set_num_threads(1)  # more threads than free cores make small passes many times slower
    return write_llama(folder)


def step_text(right: bool, number: int) -> str:
    """A step that says whether it is right: by a letter early in it."""
    return f"{'a' if right else 'b'}{number % 10}"


def separable_rows(
    count: int, *, seed: int = 0, label: Callable[[bool], float] = float, problems: int = 0
) -> list[StepRow]:
    """Solutions of 3 steps; a step's label is a function of whether its text is right, half of them are."""
    draw = random.Random(seed)
    rows: list[StepRow] = []
    for index in range(count):
        right = [draw.random() < 0.5 for _ in range(3)]
        problem = index % (problems or max(1, count // 4))
        rows.append(
            StepRow(
                id=f"p{problem}",
                prompt=f"question {problem}",
                steps=tuple(step_text(one, draw.randrange(10)) for one in right),
                labels=tuple(label(one) for one in right),
            )
        )
    return rows


def shuffled_labels(rows: list[StepRow], *, seed: int = 1) -> list[StepRow]:
    """The same rows with all labels dealt out anew."""
    labels = [label for row in rows for label in row.labels]
    random.Random(seed).shuffle(labels)
    dealt = iter(labels)
    return [
        StepRow(id=row.id, prompt=row.prompt, steps=row.steps, labels=tuple(next(dealt) for _ in row.steps))
        for row in rows
    ]


def separable_pairs(count: int, *, seed: int = 0, problems: int = 0) -> list[PairRow]:
    """A right step against a wrong one behind the same prefix of one step."""
    draw = random.Random(seed)
    return [
        PairRow(
            id=f"p{index % (problems or max(1, count // 4))}",
            prompt=f"question {index % (problems or max(1, count // 4))}",
            prefix=(step_text(True, draw.randrange(10)),),
            chosen=(step_text(True, draw.randrange(10)),),
            rejected=(step_text(False, draw.randrange(10)),),
        )
        for index in range(count)
    ]


def run(rows: Any, base: Path, out: Path, **settings: Any) -> Outcome:
    """`train` with the fast settings."""
    if settings.get("head") in ("implicit-ce", "implicit-dpo", "step-dpo"):
        settings = {"head_learning_rate": TrainConfig.head_learning_rate} | settings
    return train(rows, base=str(base), out=out, config=TrainConfig(**(FAST | settings)))
