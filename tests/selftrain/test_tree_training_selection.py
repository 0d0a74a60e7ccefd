"""Which records and settings are taken: by kind of record, grade, length, stored log-probs and range."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any

import pytest
from tree_training_worlds import rich_tree, rich_trees, tree_of

from selftrain.builders import builder_names
from selftrain.data.record import Advantages, Pair, Trace, TrainingTree
from selftrain.training import TrainConfig
from selftrain.training.config import BUILT_IN, shared_settings
from selftrain.training.objectives import OBJECTIVES, beta_of, objective_of
from selftrain.training.selection import Selected, select
from tasks.errors import DataError, UsageError

TREE = rich_tree(0)


def chosen_of(trees: list[TrainingTree], **given: Any) -> Selected:
    return select(trees, TrainConfig(**given), context=160, vocabulary=400)


def test_only_the_objectives_kind_of_record_is_kept_and_trees_without_any_are_counted() -> None:
    bare = tree_of("bare", [(0, "a.")])
    found = chosen_of([*rich_trees(3), bare], objective="dpo")
    assert found.counts == {
        "kept.trees": 3,
        "kept.pairs": 9,
        "kept.traces": 0,
        "kept.states": 0,
        "dropped.tree-without-records": 1,
    }
    assert all(tree.traces == tree.advantages == tree.targets == () for tree in found.trees)


def test_traces_are_kept_beside_pairs_only_where_their_likelihood_is_added() -> None:
    assert chosen_of(rich_trees(2), objective="dpo", sft_weight=0.1).counts["kept.traces"] == 0
    found = chosen_of(rich_trees(2), objective="dpo", sft_weight=0.1, sft_on="traces")
    assert (found.counts["kept.pairs"], found.counts["kept.traces"]) == (6, 2)
    assert found.counts["dropped.graded-wrong"] == 4


def test_wrong_solutions_are_not_imitated_and_ungraded_ones_are_not_weighed() -> None:
    tree = replace(TREE, traces=(Trace(node=3), Trace(node=4, right=False), Trace(node=5, right=True)))
    found = chosen_of([tree], objective="sft")
    assert [trace.node for trace in found.trees[0].traces] == [3, 5]
    assert found.counts["dropped.graded-wrong"] == 1
    assert chosen_of([tree], objective="implicit-ce").counts["dropped.ungraded"] == 1


def test_nft_leaves_out_problems_that_are_all_right_or_all_wrong() -> None:
    easy = replace(TREE, traces=(Trace(node=3, right=True), Trace(node=4, right=True)))
    hard = replace(TREE, traces=(Trace(node=5, right=False),))
    found = chosen_of([TREE, easy, hard], objective="nft")
    assert (found.counts["kept.trees"], found.counts["dropped.graded-alike"]) == (1, 3)


def test_records_without_weight_or_tokens_are_dropped_and_counted() -> None:
    tree = tree_of("p", [(0, "a\n"), (0, "b\n"), (0, ""), (0, "")])
    pairs = (Pair(above=0, chosen=1, rejected=2), Pair(above=0, chosen=1, rejected=2, weight=0.0))
    empty = Pair(above=0, chosen=3, rejected=4)
    one_empty = Pair(above=0, chosen=1, rejected=3)
    found = chosen_of([replace(tree, pairs=(*pairs, empty, one_empty))], objective="simpo")
    assert found.trees[0].pairs == (pairs[0], one_empty)
    assert (found.counts["dropped.weight-zero"], found.counts["dropped.empty"]) == (1, 1)


def test_missing_stored_log_probs_are_refused_or_dropped_and_do_not_matter_against_the_base() -> None:
    logprobs = list(TREE.tree.logprobs)
    logprobs[4] = None
    tree = replace(TREE, tree=replace(TREE.tree, logprobs=tuple(logprobs)))
    with pytest.raises(
        DataError, match=r"1 records are without stored log-probs; set unscored=drop .*reference=base"
    ):
        chosen_of([tree], objective="off-policy-dpo")
    found = chosen_of([tree], objective="off-policy-dpo", unscored="drop")
    assert (found.counts["kept.pairs"], found.counts["dropped.unscored"]) == (2, 1)
    assert chosen_of([tree], objective="dpo").counts["kept.pairs"] == 3
    without = replace(TREE, tree=replace(TREE.tree, logprobs=()))
    with pytest.raises(DataError, match=r"none of 1 trees has any that can be used .*unscored 3"):
        chosen_of([without], objective="off-policy-dpo", unscored="drop")


def test_records_longer_than_the_context_or_a_row_are_refused_or_dropped() -> None:
    config = TrainConfig(objective="sft", too_long="drop")
    longer = tree_of("p", [(0, "a" * 50 + ".")], traces=(Trace(node=1),))
    with pytest.raises(DataError, match="1 records are longer than 30 tokens; set too_long=drop"):
        select([longer, TREE], TrainConfig(objective="sft"), context=30, vocabulary=400)
    found = select([longer, TREE], config, context=30, vocabulary=400)
    assert found.counts["dropped.too-long"] == 1
    found = select([longer, TREE], replace(config, row_tokens=25), context=160, vocabulary=400)
    assert found.counts["dropped.too-long"] == 1


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ({"weight": -1.0}, r"weight -1, not in \[0, inf\]"),
        ({"smoothing": 0.7}, r"smoothing .* 0.7, not in \[0, 0.5\]"),
        ({"weight": math.nan}, "weight nan"),
    ],
)
def test_terms_out_of_range_are_refused_with_the_problem(pair: dict[str, float], message: str) -> None:
    tree = replace(TREE, pairs=(Pair(above=0, chosen=1, rejected=2, **pair),))  # pyright: ignore[reportArgumentType]
    with pytest.raises(DataError, match=f"'p0'.*{message}"):
        chosen_of([tree], objective="dpo")


def test_an_uncertainty_at_its_bound_is_taken_though_rounding_put_it_above() -> None:
    tree = replace(TREE, pairs=(Pair(above=0, chosen=1, rejected=2, smoothing=0.5 + 5e-7),))
    assert chosen_of([tree], objective="upo").counts["kept.pairs"] == 1


@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_data_without_such_records_is_refused_with_the_builders_that_make_them(name: str) -> None:
    bare = tree_of("bare", [(0, "a.")])
    builders = ", ".join(OBJECTIVES[name].made_by)
    with pytest.raises(
        DataError, match=f"learns from {OBJECTIVES[name].records}, and none of 1 .*: {builders}"
    ):
        chosen_of([bare], objective=name)
    assert set(OBJECTIVES[name].made_by) <= set(builder_names())


def test_ids_of_another_tokenizer_are_refused() -> None:
    with pytest.raises(DataError, match=r"has token .* the model knows 50: .*another tokenizer"):
        select([TREE], TrainConfig(objective="dpo"), context=160, vocabulary=50)
    segments = (TREE.tree.segments[0], (-7, *TREE.tree.segments[1][1:]), *TREE.tree.segments[2:])
    tree = replace(TREE, tree=replace(TREE.tree, segments=segments))
    with pytest.raises(DataError, match="has token -7"):
        chosen_of([tree], objective="dpo")


@pytest.mark.parametrize(("weight", "power"), [(1e-50, 1.0), (1e-5, 100.0)])
def test_a_weight_that_is_0_in_float32_is_none(weight: float, power: float) -> None:
    tree = replace(TREE, traces=(replace(TREE.traces[0], weight=weight), TREE.traces[0]))
    found = chosen_of([tree], objective="sft", weight_power=power)
    assert (found.counts["kept.traces"], found.counts["dropped.weight-zero"]) == (1, 1)


@pytest.mark.parametrize(("weight", "power"), [(1e39, 1.0), (1e10, 40.0)])
def test_a_weight_that_is_infinite_in_float32_is_refused(weight: float, power: float) -> None:
    tree = replace(TREE, traces=(replace(TREE.traces[0], weight=weight),))
    with pytest.raises(DataError, match="a record has weight"):
        chosen_of([tree], objective="sft", weight_power=power)


def test_every_objective_of_the_settings_is_in_the_table() -> None:
    assert set(OBJECTIVES) == set(BUILT_IN)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"objective": "sft", "beta": 0.1}, "'sft' has no use for beta; it is for dpo,"),
        ({"objective": "dpo", "gamma": 0.5}, "'dpo' has no use for gamma; it is for simpo"),
        ({"objective": "simpo", "reference": "base"}, "'simpo' takes reference none, not 'base'"),
        ({"objective": "off-policy-dpo", "reference": "base"}, "takes reference stored, not 'base'"),
        ({"objective": "nft", "sft_weight": 0.1}, "has no use for sft_weight"),
        ({"objective": "spin", "smoothing_scale": 0.0}, "has no use for smoothing_scale"),
        ({"objective": "dpo", "sft_on": "traces"}, "set its sft_weight too"),
        ({"objective": "dpo", "reference": "base", "unscored": "drop"}, "about stored log-probs"),
    ],
)
def test_a_setting_that_the_objective_does_not_use_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        objective_of(TrainConfig(**given))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epochs": 0}, "epochs must be above 0, got 0"),
        ({"beta": -0.1}, "beta must be above 0"),
        ({"holdout": 1.0}, "holdout must be below 1"),
        ({"learning_rate": math.nan}, "learning_rate must be above 0"),
        ({"epochs": math.inf}, "epochs must be at least 0 and finite"),
        ({"row_tokens": -1}, "row_tokens must be at least 0"),
        ({"lora_alpha": 32.0}, "lora_alpha is a setting of LoRA; set lora_rank"),
        ({"merge_lora": False}, "merge_lora is a setting of LoRA"),
        ({"shard": "fsdp", "lora_rank": 4}, "shard=fsdp is for training the model itself"),
    ],
)
def test_settings_out_of_range_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TrainConfig(**given)


def test_a_scale_that_is_not_given_is_the_published_one() -> None:
    published = {name: beta_of(TrainConfig(objective=name)) for name in ("dpo", "implicit-ce", "simpo")}  # pyright: ignore[reportArgumentType]
    assert published == {"dpo": 0.1, "implicit-ce": 0.05, "simpo": 2.0}
    assert beta_of(TrainConfig(objective="dpo", beta=0.3)) == 0.3


def test_every_shared_setting_reaches_the_parts_that_read_it() -> None:
    given: dict[str, Any] = {
        "epochs": 3.0,
        "learning_rate": 0.25,
        "weight_decay": 0.5,
        "warmup": 0.125,
        "decay": "linear",
        "clip": 7.0,
        "lora_rank": 4,
        "lora_alpha": 3.0,
        "lora_targets": "q_proj",
        "lora_dropout": 0.1,
        "seed": 9,
        "checkpoint_every": 7,
        "log_every": 3,
        "sink": "wandb",
        "sink_project": "trees",
    }
    found = shared_settings(TrainConfig(batch_trees=5, **given))
    assert {name: getattr(found, name) for name in given} == given
    assert found.batch_size == 5
    common = {field.name for field in fields(found)} & {field.name for field in fields(TrainConfig)}
    assert set(given) == common - {"beta", "holdout", "evaluate_every", "precision", "device"} - {
        "gradient_checkpointing",
        "too_long",
    }


def test_the_advantages_of_a_state_are_trained_on_together_or_not_at_all() -> None:
    tree = replace(TREE, advantages=(Advantages(state=0, nodes=(1, 2), advantages=(0.5, -0.5)),))
    logprobs = (*TREE.tree.logprobs[:2], None, *TREE.tree.logprobs[3:])
    partly = replace(tree, tree=replace(tree.tree, logprobs=logprobs))
    found = chosen_of([tree, partly], objective="direct-advantage", reference="stored", unscored="drop")
    assert (found.counts["kept.states"], found.counts["dropped.unscored"]) == (1, 1)
