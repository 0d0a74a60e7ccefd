"""The exported policy is an ordinary model folder that a search opens as the base; and sinks of metrics."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tree_training_worlds import base_model, rich_trees, run, summary_of

from prm.training.metrics import METRICS, Metrics
from selftrain.packing import EdgeScorer, pack
from tasks.base import Problem
from tasks.errors import MissingPrerequisiteError
from treesearch.api import open_task
from treesearch.engines.hf_load import load
from treesearch.policies import CARD, open_policy, policy_config

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft's
SETTINGS: dict[str, Any] = {"objective": "dpo", "epochs": 2}
THE_CARD = {"format": "plain", "template": "{question}?\n", "delimiter": "line", "note": "a tiny model"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base that is stored in bfloat16 and has a card."""
    folder = base_model(tmp_path_factory.mktemp("base"))
    model, _ = load(str(folder), device="cpu", dtype="bfloat16")
    model.save_pretrained(folder)
    (folder / CARD).write_text(json.dumps(THE_CARD))
    return folder


def sums_of(folder: Path) -> torch.Tensor:
    model, _ = load(str(folder), device="cpu", dtype="float32")
    with torch.no_grad():
        return EdgeScorer(model)(pack([tree.tree for tree in rich_trees(3)])[0]).sums


@pytest.mark.parametrize("lora_rank", [0, 2])
def test_the_model_folder_has_the_bases_type_tokenizer_and_card(
    base: Path, tmp_path: Path, lora_rank: int
) -> None:
    summary = summary_of(rich_trees(6), base, tmp_path, lora_rank=lora_rank, **SETTINGS)
    folder = tmp_path / "model"
    assert summary["models"] == (["model", "adapter"] if lora_rank else ["model"])
    before, after = (load_file(one / "model.safetensors") for one in (base, folder))
    assert {name: (one.dtype, one.shape) for name, one in after.items()} == {
        name: (torch.bfloat16, one.shape) for name, one in before.items()
    }
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert json.loads((folder / CARD).read_text()) == THE_CARD
    assert json.loads((folder / "config.json").read_text())["dtype"] == "bfloat16"
    _, tokenizer = load(str(base), device="cpu", dtype="float32")
    _, exported = load(str(folder), device="cpu", dtype="float32")
    assert exported.get_vocab() == tokenizer.get_vocab()
    assert exported("p1?\na3.")["input_ids"] == tokenizer("p1?\na3.")["input_ids"]
    assert not list(tmp_path.glob("*.new"))


@pytest.mark.parametrize("cap", [8, 2_000])
def test_the_card_leaves_room_for_the_longest_solution_that_was_imitated(
    base: Path, tmp_path: Path, cap: int
) -> None:
    capped = tmp_path / "base"
    shutil.copytree(base, capped)
    (capped / CARD).write_text(json.dumps(THE_CARD | {"solution_tokens": cap}))
    trees = rich_trees(6)
    longest = max(
        sum(len(one.tree.segments[node]) for node in one.tree.path(trace.node)[1:])
        for one in trees
        for trace in one.traces
    )
    run(trees, capped, tmp_path / "out", objective="sft")
    card = json.loads((tmp_path / "out" / "model" / CARD).read_text())
    assert card == THE_CARD | {"solution_tokens": max(cap, longest)}


def test_a_search_opens_the_trained_policy_as_it_opens_the_base(base: Path, tmp_path: Path) -> None:
    run(rich_trees(6), base, tmp_path, **SETTINGS)
    folder = str(tmp_path / "model")
    assert policy_config(folder, {}) == policy_config(str(base), {})

    async def first_step(name: str) -> str:
        opened = await open_policy(name, open_task("math"), engine_settings={"device": "cpu"})
        try:
            reply = await opened.policy.propose(Problem(id="p", question="p1"), (), 1, max_tokens=3, seed=0)
            assert opened.note == "a tiny model"
            return reply.chains[0][0].text
        finally:
            await opened.policy.engine.close()

    assert asyncio.run(first_step(folder))
    assert asyncio.run(first_step(str(base)))


def test_held_out_figures_are_those_of_the_weights_that_are_written(base: Path, tmp_path: Path) -> None:
    summary = summary_of(rich_trees(8), base, tmp_path / "a", holdout=0.25, objective="sft", epochs=3)
    # the loss of the written model, before any step, is what the summary says
    again = summary_of(rich_trees(8), tmp_path / "a" / "model", tmp_path / "b", holdout=0.25, objective="sft")
    assert again["held_out"]["before"] == pytest.approx(summary["held_out"]["after"], abs=1e-5)


def test_the_merged_model_is_the_base_with_the_adapter_that_is_kept_beside(
    base: Path, tmp_path: Path
) -> None:
    from peft import PeftModel

    run(rich_trees(6), base, tmp_path, lora_rank=2, **SETTINGS)
    assert {file.name for file in (tmp_path / "adapter").iterdir()} >= {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    model, _ = load(str(base), device="cpu", dtype="float32")
    with_adapter = PeftModel.from_pretrained(model, tmp_path / "adapter").eval()
    with torch.no_grad():
        sums = EdgeScorer(with_adapter)(pack([tree.tree for tree in rich_trees(3)])[0]).sums
    merged, plain = sums_of(tmp_path / "model"), sums_of(base)
    assert (merged - sums).abs().nanmean() < 0.1 * (plain - sums).abs().nanmean()


def test_a_base_that_ran_in_bfloat16_under_an_adapter_is_written_as_it_is_stored(
    tmp_path: Path,
) -> None:
    base = base_model(tmp_path / "stored-in-float32")
    run(rich_trees(6), base, tmp_path / "out", lora_rank=2, precision="bfloat16", **SETTINGS)
    before = load_file(base / "model.safetensors")
    after = load_file(tmp_path / "out" / "model" / "model.safetensors")
    assert {tensor.dtype for tensor in before.values()} == {torch.float32}
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if "_proj" in name}


def test_without_merging_only_the_adapter_is_written(base: Path, tmp_path: Path) -> None:
    summary = summary_of(rich_trees(3), base, tmp_path, lora_rank=2, merge_lora=False, **SETTINGS)
    assert summary["models"] == ["adapter"]
    assert not (tmp_path / "model").exists()


def test_an_export_that_was_cut_short_is_written_anew(base: Path, tmp_path: Path) -> None:
    first = summary_of(rich_trees(3), base, tmp_path, holdout=0.3, **SETTINGS)
    lines = (tmp_path / METRICS).read_text()
    weights = load_file(tmp_path / "model" / "model.safetensors")
    (tmp_path / "summary.json").unlink()
    shutil.move(tmp_path / "model", tmp_path / "model.new")
    save_file({"half": torch.zeros(1)}, tmp_path / "model.new" / "model.safetensors")
    second = summary_of(rich_trees(3), base, tmp_path, holdout=0.3, **SETTINGS)
    assert second == first
    assert (tmp_path / METRICS).read_text() == lines
    again = load_file(tmp_path / "model" / "model.safetensors")
    assert all(torch.equal(weights[name], again[name]) for name in weights)


class _Sink(types.ModuleType):
    """The three calls that trackio and wandb share."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.calls: list[tuple[str, Any]] = []

    def init(self, **given: Any) -> None:
        self.calls.append(("init", given))

    def log(self, line: dict[str, Any], step: int) -> None:
        self.calls.append(("log", (step, line)))

    def finish(self) -> None:
        self.calls.append(("finish", None))


@pytest.mark.parametrize("name", ["trackio", "wandb"])
def test_a_sink_gets_every_line_beside_the_file(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    sink = _Sink(name)
    monkeypatch.setitem(sys.modules, name, sink)
    run(rich_trees(6), base, tmp_path / "first", sink=name, sink_project="trees", holdout=0.3, **SETTINGS)
    lines = [json.loads(line) for line in (tmp_path / "first" / METRICS).read_text().splitlines()]
    (opened, given), *logged, (closed, _) = sink.calls
    assert (opened, closed) == ("init", "finish")
    assert (given["project"], given["name"], given["resume"]) == ("trees", "first", "allow")
    assert ("id" in given) == (name == "wandb")
    assert given["config"]["objective"] == "dpo"
    assert [step for _, (step, _) in logged] == [line["step"] for line in lines]
    assert logged[0][1][1]["held_out/loss"] == lines[0]["held_out"]["loss"]
    assert logged[1][1][1]["loss"] == lines[1]["loss"]


@pytest.mark.parametrize("name", ["trackio", "wandb"])
def test_a_sink_that_is_not_installed_is_named_with_the_command(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingPrerequisiteError, match=f"pip install {name}; or sink=none"):
        run(rich_trees(2), base, tmp_path, sink=name, **SETTINGS)


def test_lines_behind_a_step_and_a_torn_one_are_taken_away(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path, writes=True)
    metrics.write({"step": 0, "held_out": {"loss": 1.0}})
    for step in range(1, 4):
        metrics.write({"step": step, "loss": 1.0})
    with (tmp_path / METRICS).open("a") as file:
        file.write('{"step": 1, "held_out": {"loss": 1.0}')
    metrics.cut(2)
    assert [json.loads(line)["step"] for line in (tmp_path / METRICS).read_text().splitlines()] == [0, 1, 2]
    Metrics(tmp_path, writes=False).write({"step": 9})
    assert "9" not in (tmp_path / METRICS).read_text()
