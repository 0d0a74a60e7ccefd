"""How the tests of steering ask an engine, and a value to steer by."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("transformers")
import torch

from prm.steering.values import Ids
from treesearch.engines.base import Engine, Sample, SamplingParams

torch.set_num_threads(1)
PARAMS = SamplingParams(max_tokens=12, seed=3)


def by_last(sequences: Sequence[Ids]) -> list[float]:
    """A value that likes tokens of odd ids."""
    return [float(ids[-1] % 2) for ids in sequences]


def prompt(engine: Engine, text: str = "Tom has 12 apples.\n") -> list[int]:
    return engine.tokenizer.encode(text, special=True)


def sample(engine: Engine, n: int = 1, text: str = "Tom has 12 apples.\n", **changes: Any) -> list[Sample]:
    return asyncio.run(engine.sample(prompt(engine, text), n, replace(PARAMS, **changes)))


def ids_of(samples: Sequence[Sample]) -> list[tuple[int, ...]]:
    return [each.token_ids for each in samples]
