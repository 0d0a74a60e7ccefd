"""Whole runs of policy training: they learn, can be killed and gone on with, and refuse what differs."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import write_llama
from tree_training_worlds import FAST, base_model, rich_trees, run, summary_of, swapped, tree_of

from prm.training.loop import CHECKPOINT, Progress
from selftrain.data.record import Trace, TrainingTree
from selftrain.training import TrainConfig, train
from selftrain.training.objectives import OBJECTIVES
from selftrain.training.split import split_items
from selftrain.training.units import make_item
from tasks.errors import DataError, UsageError

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft's


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return base_model(tmp_path_factory.mktemp("base"))


def lines_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("objective", list(OBJECTIVES))
def test_one_step_lowers_the_objectives_own_loss(base: Path, tmp_path: Path, objective: str) -> None:
    at_base = {} if OBJECTIVES[objective].references in (("none",), ("stored",)) else {"reference": "base"}
    settings = {"objective": objective, "epochs": 2, "learning_rate": 1e-3} | at_base
    run(rich_trees(6), base, tmp_path, **settings)
    before, after = (line["loss"] for line in lines_of(tmp_path))
    assert after < before - 1e-4


@pytest.mark.parametrize("objective", ["dpo", "spin", "cream"])
def test_the_first_loss_against_the_base_is_log_2_and_the_margins_are_0(
    base: Path, tmp_path: Path, objective: str
) -> None:
    trees = [
        replace(tree, pairs=tuple(replace(pair, offset=0.0) for pair in tree.pairs)) for tree in rich_trees(4)
    ]
    run(trees, base, tmp_path, objective=objective, epochs=1)
    (line,) = lines_of(tmp_path)
    assert line["loss"] == pytest.approx(0.693147, abs=1e-5)
    assert line["margin"] == pytest.approx(0.0, abs=1e-6)


def _held_out_names(trees: list[TrainingTree]) -> set[str]:
    split = split_items([make_item(tree) for tree in trees], holdout=0.3, seed=0)
    return {item.tree.problem for item in split.held_out}


def test_swapped_and_shuffled_pairs_lower_the_accuracy_on_held_out_pairs(base: Path, tmp_path: Path) -> None:
    trees = rich_trees(30)
    held = _held_out_names(trees)
    draw = random.Random(5)
    worlds = {
        "right": trees,
        "swapped": [tree if tree.problem in held else swapped(tree) for tree in trees],
        "shuffled": [
            tree if tree.problem in held or draw.random() < 0.5 else swapped(tree) for tree in trees
        ],
    }
    accuracy: dict[str, float] = {}
    for name, world in worlds.items():
        summary = summary_of(world, base, tmp_path / name, objective="dpo", epochs=3, holdout=0.3)
        assert summary["held_out"]["before"]["accuracy"] == 0.5
        accuracy[name] = summary["held_out"]["after"]["accuracy"]
    assert accuracy["right"] > 0.95
    assert accuracy["swapped"] < 0.05
    assert accuracy["swapped"] + 0.1 < accuracy["shuffled"] < accuracy["right"] - 0.1


def test_supervised_training_on_eight_traces_ends_in_greedy_reproduction(base: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    draw = random.Random(3)
    trees = [
        tree_of(
            f"p{n}",
            [(0, f"{draw.randrange(100)}\n"), (1, f"{draw.randrange(100)}.")],
            traces=(Trace(node=2),),
        )
        for n in range(8)
    ]
    run(trees, base, tmp_path, objective="sft", epochs=80, learning_rate=1e-2, log_every=20)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    for tree in trees:
        prompt, *steps = tree.tree.segments
        wanted = [token for ids in steps for token in ids]
        written = model.generate(torch.tensor([prompt]), max_new_tokens=len(wanted) + 3, do_sample=False)
        assert written[0, len(prompt) :].tolist() == wanted
    assert lines_of(tmp_path)[-1]["chosen_log_prob"] > -0.05


def weights_of(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / CHECKPOINT)


@pytest.mark.parametrize("settings", [{}, {"lora_rank": 2, "lora_dropout": 0.2}], ids=["full", "lora"])
def test_a_stopped_and_resumed_run_ends_with_the_same_weights_bit_for_bit(
    base: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    config = TrainConfig(
        **(FAST | {"objective": "dpo", "epochs": 3, "batch_trees": 4, "holdout": 0.2} | settings)
    )
    trees = rich_trees(15)
    whole = train(trees, base=str(base), out=tmp_path / "whole", config=config)
    seen: list[Progress] = []
    for limit in (1, 5, 10_000):
        outcome = train(
            trees,
            base=str(base),
            out=tmp_path / "parts",
            config=config,
            on_progress=seen.append,
            stop=lambda limit=limit: bool(seen) and seen[-1].step >= limit,
        )
        assert outcome.finished == (limit > 5)
    assert [progress.step for progress in seen] == list(range(1, 10))
    one, other = weights_of(tmp_path / "whole"), weights_of(tmp_path / "parts")
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    timed = {"seconds", "tokens_per_s"}
    shown = [
        [
            {name: value for name, value in line.items() if name not in timed}
            for line in lines_of(tmp_path / out)
        ]
        for out in ("whole", "parts")
    ]
    assert shown[0] == shown[1]
    assert whole.summary is not None
    assert whole.summary["held_out"] == (outcome.summary or {})["held_out"]


_CHILD = """
import sys
sys.path[:0] = sys.argv[3:]
import torch
torch.set_num_threads(1)
from pathlib import Path
from tree_training_worlds import rich_trees, run
run(rich_trees(16), Path(sys.argv[1]), Path(sys.argv[2]), objective="dpo", epochs=200, checkpoint_every=3)
"""


def test_a_run_that_was_killed_goes_on_from_its_checkpoint_and_ends_with_the_same_weights(
    base: Path, tmp_path: Path
) -> None:
    here = Path(__file__).parent
    out = tmp_path / "killed"
    paths = [str(here), str(here.parent / "treesearch"), str(here.parents[1])]
    command = [sys.executable, "-c", _CHILD, str(base), str(out), *paths]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        until = time.monotonic() + 90
        while not (out / CHECKPOINT).exists() and time.monotonic() < until and child.poll() is None:
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    assert not (out / "summary.json").exists()
    step = (out / "metrics.jsonl").read_text().count("\n")
    trees, config = (
        rich_trees(16),
        TrainConfig(**(FAST | {"objective": "dpo", "epochs": 200, "checkpoint_every": 3})),
    )
    for folder in (out, tmp_path / "whole"):
        seen: list[Progress] = []
        train(
            trees,
            base=str(base),
            out=folder,
            config=config,
            on_progress=seen.append,
            stop=lambda seen=seen: bool(seen) and seen[-1].step >= step + 3,
        )
    one, other = weights_of(out), weights_of(tmp_path / "whole")
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert [line["step"] for line in lines_of(out)] == list(range(1, step + 4))


def test_a_step_whose_gradient_is_not_finite_is_not_taken(base: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"objective": "sft", "epochs": 4, "learning_rate": 1e30, "checkpoint_every": 1}
    with pytest.raises(UsageError, match=r"diverged: at step 2 .*lower learning_rate"):
        run(rich_trees(4), base, tmp_path, **settings)
    assert [line["step"] for line in lines_of(tmp_path)] == [1]
    assert (tmp_path / CHECKPOINT).exists()
    assert not (tmp_path / "model").exists()


def test_a_finished_run_is_not_trained_again_and_may_show_and_compute_otherwise(
    base: Path, tmp_path: Path
) -> None:
    first = summary_of(rich_trees(4), base, tmp_path, objective="dpo")
    before = (tmp_path / CHECKPOINT).stat().st_mtime_ns
    other = {"log_every": 5, "pass_tokens": 64, "attention": "eager", "checkpoint_every": 7}
    assert summary_of(rich_trees(4), base, tmp_path, objective="dpo", **other) == first
    assert (tmp_path / CHECKPOINT).stat().st_mtime_ns == before


def test_another_config_other_data_and_another_base_are_refused_with_what_differs(
    base: Path, tmp_path: Path
) -> None:
    trees = rich_trees(4)
    out = tmp_path / "run"
    run(trees, base, out, objective="dpo")
    with pytest.raises(UsageError, match=r"another training run: objective is 'dpo' there and 'spin' here"):
        run(trees, base, out, objective="spin")
    with pytest.raises(UsageError, match=r"data is '[0-9a-f]+' there"):
        run(trees[1:], base, out, objective="dpo")
    with pytest.raises(UsageError, match="base weights is"):
        run(trees, write_llama(tmp_path / "other", seed=5), out, objective="dpo")
    named = [replace(tree, texts=("",) * len(tree.tree), meta={"iteration": 3}) for tree in trees]
    assert run(named, base, out, objective="dpo").finished  # what training does not read may differ


def test_a_resumed_run_is_compared_with_the_base_and_not_with_what_it_has_become(
    base: Path, tmp_path: Path
) -> None:
    trees, config = rich_trees(6), TrainConfig(**(FAST | {"objective": "dpo", "epochs": 6}))
    train(trees, base=str(base), out=tmp_path, config=config, stop=_after(3))
    stored = load_file(tmp_path / "reference.safetensors")["reference_log_probs"]
    (tmp_path / "reference.safetensors").unlink()
    train(trees, base=str(base), out=tmp_path, config=config)
    assert torch.equal(load_file(tmp_path / "reference.safetensors")["reference_log_probs"], stored)
    assert lines_of(tmp_path)[-1]["margin"] > 0.5


def _after(steps: int) -> Any:
    asked = iter(range(steps + 1))
    return lambda: next(asked, steps) >= steps


def test_the_base_with_the_adapter_off_is_the_reference_of_lora(base: Path, tmp_path: Path) -> None:
    found: list[torch.Tensor] = []
    for rank in (0, 2):
        run(rich_trees(3), base, tmp_path / str(rank), objective="dpo", lora_rank=rank)
        found.append(load_file(tmp_path / str(rank) / "reference.safetensors")["reference_log_probs"])
    torch.testing.assert_close(found[0], found[1], equal_nan=True)


def test_references_of_other_data_are_refused(base: Path, tmp_path: Path) -> None:
    config = TrainConfig(**(FAST | {"objective": "dpo"}))
    train(rich_trees(3), base=str(base), out=tmp_path / "one", config=config, stop=lambda: True)
    train(rich_trees(4), base=str(base), out=tmp_path / "two", config=config, stop=lambda: True)
    (tmp_path / "two" / "reference.safetensors").replace(tmp_path / "one" / "reference.safetensors")
    with pytest.raises(DataError, match="holds 24 reference log-probs, the data has 18 edges"):
        train(rich_trees(3), base=str(base), out=tmp_path / "one", config=config)


def test_moments_and_trained_weights_are_float32_in_bfloat16_runs_too(base: Path, tmp_path: Path) -> None:
    for rank in (0, 2):
        out = tmp_path / str(rank)
        run(rich_trees(6), base, out, objective="dpo", precision="bfloat16", lora_rank=rank, epochs=2)
        tensors = weights_of(out)
        assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}
        assert any(name.startswith("exp_avg_sq/") for name in tensors)
        assert lines_of(out)[1]["loss"] < lines_of(out)[0]["loss"]


def test_held_out_problems_are_never_trained_on_and_too_few_problems_are_refused(
    base: Path, tmp_path: Path
) -> None:
    items = [make_item(tree) for tree in (*rich_trees(9), *rich_trees(9, seed=1))]
    split = split_items(items, holdout=0.3, seed=4)
    train_names, held = ({item.tree.problem for item in side} for side in (split.train, split.held_out))
    assert (len(held), len(train_names)) == (3, 6)
    assert not held & train_names
    assert split_items(items, holdout=0.3, seed=5) != split
    with pytest.raises(UsageError, match=r"holdout=0.5 of 1 problems leaves none to train on"):
        run(rich_trees(1), base, tmp_path, objective="dpo", holdout=0.5)


def test_a_line_of_metrics_has_all_figures_and_held_out_ones_once_an_epoch(
    base: Path, tmp_path: Path
) -> None:
    run(rich_trees(10), base, tmp_path, objective="dpo", epochs=2, batch_trees=4, holdout=0.2, log_every=2)
    lines = lines_of(tmp_path)
    assert [line["step"] for line in lines] == [0, 2, 4, 4]
    assert set(lines[1]) == {
        *("step", "loss", "accuracy", "margin", "chosen_log_prob", "rejected_log_prob", "gradient_norm"),
        *("rate", "tokens", "tokens_per_s", "seconds", "held_out"),
    }
    assert set(lines[0]["held_out"]) == {"loss", "accuracy", "margin", "chosen_log_prob", "rejected_log_prob"}
    assert "held_out" not in lines[2]
    assert set(lines[3]) == {"step", "held_out"}


def test_what_is_refused_leaves_no_run_behind(base: Path, tmp_path: Path) -> None:
    bare = [tree_of(f"p{n}", [(0, "a.")], traces=(Trace(node=1),)) for n in range(3)]
    with pytest.raises(DataError, match="'dpo' learns from pairs"):
        run(bare, base, tmp_path, objective="dpo")
    with pytest.raises(UsageError, match="leaves none to train on"):
        run(bare, base, tmp_path, objective="sft", holdout=0.9)
    assert run(bare, base, tmp_path, objective="sft").finished


def test_a_model_that_is_not_the_runs_own_is_not_written_over(base: Path, tmp_path: Path) -> None:
    shutil.copytree(base, tmp_path / "model")
    before = (tmp_path / "model" / "model.safetensors").read_bytes()
    with pytest.raises(UsageError, match=r"has a model but no run\.json"):
        run(rich_trees(3), tmp_path / "model", tmp_path, objective="sft")
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == before


def test_a_folder_is_trained_in_by_one_program_at_a_time(base: Path, tmp_path: Path) -> None:
    tried: list[str] = []

    def meanwhile(progress: Progress) -> None:
        if progress.step == 1:
            with pytest.raises(UsageError, match="another process is working on the run") as caught:
                run(rich_trees(4), base, tmp_path, objective="sft", epochs=2)
            tried.append(str(caught.value))

    settings = TrainConfig(**(FAST | {"objective": "sft", "epochs": 2}))
    train(rich_trees(4), base=str(base), out=tmp_path, config=settings, on_progress=meanwhile)
    assert len(tried) == 1
    steps = [line["step"] for line in lines_of(tmp_path) if "loss" in line]
    assert steps == sorted(set(steps))


@pytest.mark.parametrize(
    ("base_name", "settings", "why"),
    [
        ("http://localhost:1/v1", {}, "is a server's and cannot be trained"),
        (None, {"lora_rank": 4, "lora_targets": "nope"}, "lora_targets='nope'"),
    ],
)
def test_what_cannot_be_trained_leaves_no_run_behind(
    base: Path, tmp_path: Path, base_name: str | None, settings: dict[str, Any], why: str
) -> None:
    config = TrainConfig(**(FAST | {"objective": "sft"} | settings))
    with pytest.raises(UsageError, match=why):
        train(rich_trees(3), base=base_name or str(base), out=tmp_path / "run", config=config)
    assert not (tmp_path / "run").exists()
