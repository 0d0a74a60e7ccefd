"""The example of the page on packed training runs, and its table names what there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from packing_worlds import tiny_llama

from selftrain import losses
from tasks.base import Problem
from treesearch.engines.base import FinishReason
from treesearch.events import Added, Step
from treesearch.tree import Tree

PAGE = Path(__file__).parents[2] / "docs" / "packed-training.md"


def test_the_example_trains_the_model() -> None:
    tree = Tree(problem=Problem(id="p", question="q"))
    for parent, ids in ((0, (5, 6)), (0, (7, 8)), (1, (9, 1)), (1, (10, 1))):
        finish = FinishReason.END if ids[-1] == 1 else FinishReason.STOP
        tree.commit([Added(parent, Step("text", ids, (-4.0, -4.0), finish), 1.0)])
    model = tiny_llama()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    block = re.search(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert block is not None
    world: dict[str, Any] = {"tree": tree, "prompt_ids": [3, 4], "end_id": 1, "model": model}
    exec(compile(block.group(1), PAGE.name, "exec"), world)
    assert any(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


def test_every_name_of_the_losses_in_the_tables_exists_and_none_is_missing() -> None:
    section = PAGE.read_text(encoding="utf-8").split("## Losses\n")[1].split("## What it costs")[0]
    named = set(re.findall(r"`([a-z_]+)`", section)) - {"sigmoid", "hinge", "ipo", "lengths"}
    helpers = {"Kind", "bald", "centred", "implicit_reward", "nft_omega", "reduce", "spread"}
    assert named == set(losses.__all__) - helpers
