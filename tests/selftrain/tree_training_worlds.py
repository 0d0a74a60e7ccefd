"""Small training trees that a tiny model can learn, and runs of the trainer on them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from tiny_models import byte_level_tokenizer, write_llama

from selftrain.data.record import Advantages, Pair, Trace, TrainingTree
from selftrain.packing import TokenTree
from selftrain.training import Outcome, Progress, TrainConfig, train

END = 1
FAST: dict[str, Any] = {
    "batch_trees": 8,
    "learning_rate": 5e-3,
    "warmup": 0.0,
    "decay": "constant",
    "holdout": 0.0,
    "device": "cpu",
}


@cache
def _tokenizer() -> Any:
    return byte_level_tokenizer()


def encode(text: str) -> tuple[int, ...]:
    return tuple(_tokenizer().encode(text, add_special_tokens=False))


def base_model(folder: Path, *, seed: int = 0) -> Path:
    """The tiny model that all tests train."""
    torch.set_num_threads(1)
    return write_llama(folder, seed=seed)


def tree_of(problem: str, steps: Sequence[tuple[int, str]], **records: Any) -> TrainingTree:
    """A tree of steps (parent, text); a full stop at a text's end ends the solution. Stored: -2 a token."""
    segments = [(0, *encode(f"{problem}?\n"))]
    for _, text in steps:
        segments.append((*encode(text), *((END,) if text.endswith(".") else ())))
    return TrainingTree(
        problem=problem,
        tree=TokenTree(
            segments=tuple(segments),
            parents=(-1, *(parent for parent, _ in steps)),
            logprobs=(None, *(tuple(-2.0 for _ in ids) for ids in segments[1:])),
        ),
        texts=(f"{problem}?\n", *(text for _, text in steps)),
        **records,
    )


def rich_tree(number: int, *, seed: int = 0) -> TrainingTree:
    """A tree with records of every kind: steps with ``a`` are good, steps with ``b`` are bad."""
    draw = random.Random(f"{seed}:{number}")
    good, bad = (lambda: f"a{draw.randrange(10)}"), (lambda: f"b{draw.randrange(10)}")
    steps = [(0, good() + "\n"), (0, bad() + "\n"), (1, good() + "."), (1, bad() + "."), (2, bad() + ".")]
    return tree_of(
        f"p{number}",
        steps,
        traces=(Trace(node=3, right=True), Trace(node=4, right=False), Trace(node=5, right=False, weight=2)),
        pairs=(
            Pair(above=0, chosen=1, rejected=2, weight=2.0),
            Pair(above=1, chosen=3, rejected=4, offset=0.1),
            Pair(above=0, chosen=3, rejected=5, smoothing=0.1),
        ),
        advantages=(
            Advantages(state=0, nodes=(1, 2), advantages=(0.5, -0.5)),
            Advantages(state=1, nodes=(3, 4), advantages=(0.2, -0.2)),
        ),
    )


def rich_trees(count: int, *, seed: int = 0) -> list[TrainingTree]:
    return [rich_tree(number, seed=seed) for number in range(count)]


def swapped(tree: TrainingTree) -> TrainingTree:
    """The same tree with the sides of all pairs exchanged."""
    pairs = [replace(pair, chosen=pair.rejected, rejected=pair.chosen) for pair in tree.pairs]
    return replace(tree, pairs=tuple(pairs))


def run(
    trees: Sequence[TrainingTree],
    base: Path,
    out: Path,
    *,
    on_progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] | None = None,
    **settings: Any,
) -> Outcome:
    """`train` with the fast settings."""
    config = TrainConfig(**(FAST | settings))
    return train(trees, base=str(base), out=out, config=config, on_progress=on_progress, stop=stop)


def summary_of(trees: Sequence[TrainingTree], base: Path, out: Path, **settings: Any) -> dict[str, Any]:
    """The summary of a run that must end."""
    found = run(trees, base, out, **settings).summary
    assert found is not None
    return dict(found)
