"""Training trees read again under a model: which of them, and that the sums are the model's own."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM
from tree_training_worlds import base_model, rich_tree, rich_trees, summary_of, tree_of

from selftrain.data.record import Trace, TrainingTree
from selftrain.monitors.logprobs import chosen_logprobs
from selftrain.training import TrainConfig
from selftrain.training.log_probs import log_probs_under

CONFIG = TrainConfig(device="cpu")


def tokens(trees: list[TrainingTree]) -> int:
    return sum(len(ids) for tree in trees for ids in tree.tree.segments)


def test_the_sums_are_those_of_the_unpacked_paths_and_only_of_what_records_name(tmp_path: Path) -> None:
    base = base_model(tmp_path / "base")
    tree = replace(rich_tree(0), traces=(Trace(node=4, right=True),), pairs=(), advantages=())
    read, (sums,) = log_probs_under([tree], model=str(base), config=CONFIG, most_tokens=1000)
    assert read == [tree]
    assert [math.isnan(each) for each in sums] == [True, False, True, True, False, True]
    path = [token for node in tree.tree.path(4) for token in tree.tree.segments[node]]
    with torch.no_grad():
        logits = AutoModelForCausalLM.from_pretrained(base)(torch.tensor([path])).logits[0]
    each = torch.log_softmax(logits, -1)[range(len(path) - 1), path[1:]]
    prompt, first = len(tree.tree.segments[0]), len(tree.tree.segments[1])
    assert sums[1] == pytest.approx(float(each[prompt - 1 : prompt + first - 1].sum()), abs=1e-4)
    assert sums[4] == pytest.approx(float(each[prompt + first - 1 :].sum()), abs=1e-4)


def test_the_same_trees_are_read_whatever_their_order_and_no_more_than_asked(tmp_path: Path) -> None:
    base = str(base_model(tmp_path / "base"))
    trees = rich_trees(12)
    half = tokens(trees) // 2
    read, _ = log_probs_under(trees, model=base, config=CONFIG, most_tokens=half)
    other, _ = log_probs_under(trees[::-1], model=base, config=CONFIG, most_tokens=half)
    assert {tree.problem for tree in read} == {tree.problem for tree in other}
    assert 0 < tokens(read) <= half
    one, _ = log_probs_under(trees, model=base, config=CONFIG, most_tokens=1)
    assert len(one) == 1


def test_trees_beyond_the_context_and_without_records_are_not_read(tmp_path: Path) -> None:
    base = str(base_model(tmp_path / "base"))
    long = tree_of("long", [(0, "a" * 5000 + ".")], traces=(Trace(node=1, right=True),))
    plain = tree_of("plain", [(0, "a.")])
    assert log_probs_under([long, plain], model=base, config=CONFIG, most_tokens=10**6) == ([], [])


def test_a_monitor_of_a_trained_model_shows_what_preference_training_did(tmp_path: Path) -> None:
    base, out = base_model(tmp_path / "base"), tmp_path / "run"
    trees = rich_trees(24)
    summary_of(trees, base, out, objective="dpo", epochs=4, sft_weight=1.0)
    before = chosen_logprobs(*log_probs_under(trees, model=str(base), config=CONFIG, most_tokens=10**6))
    after = chosen_logprobs(
        *log_probs_under(trees, model=str(out / "model"), config=CONFIG, most_tokens=10**6)
    )
    assert after["margin.after"] > before["margin.after"] + 1
    assert after["chosen.after"] > before["chosen.after"]
