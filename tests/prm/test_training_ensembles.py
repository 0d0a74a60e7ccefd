"""LoRA adapters, ensembles of them, and several processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_worlds import base_model, run, separable_pairs, separable_rows

from prm.training.loop import CHECKPOINT
from treesearch.engines.hf_load import load

LORA = {"lora_rank": 4, "learning_rate": 2e-2}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    threads = torch.get_num_threads()
    yield base_model(tmp_path_factory.mktemp("base"))
    torch.set_num_threads(threads)


def test_only_adapters_and_heads_are_trained_and_the_merged_model_is_a_plain_one(base: Path, tmp_path: Path):
    pytest.importorskip("peft")
    summary = run(separable_rows(160), base, tmp_path, holdout=0.3, **LORA).summary
    assert summary is not None
    assert summary["held_out"]["auroc"] > 0.9
    kept = [name for name in load_file(tmp_path / CHECKPOINT) if name.startswith("weight/")]
    assert all(".lora_" in name or name.startswith("weight/heads.") for name in kept)
    model, _ = load(str(tmp_path / "model"), device="cpu", dtype="float32")
    before = load_file(base / "model.safetensors")
    now = model.state_dict()
    assert now.keys() >= before.keys()
    assert not torch.equal(
        now["model.layers.0.mlp.up_proj.weight"], before["model.layers.0.mlp.up_proj.weight"]
    )
    assert torch.equal(now["model.embed_tokens.weight"], before["model.embed_tokens.weight"])


def test_adapters_are_an_ensemble_of_different_models_written_one_by_one(base: Path, tmp_path: Path):
    pytest.importorskip("peft")
    settings = {"adapters": 2, "holdout": 0.3, **LORA}
    summary = run(separable_rows(120), base, tmp_path / "whole", **settings).summary
    assert summary is not None
    assert summary["models"] == ["model-0", "model-1"]
    assert summary["held_out"]["auroc"] > 0.9
    one, other = (load_file(tmp_path / "whole" / name / "model.safetensors") for name in summary["models"])
    assert not torch.equal(
        one["model.layers.0.mlp.up_proj.weight"], other["model.layers.0.mlp.up_proj.weight"]
    )


def test_a_run_with_adapters_resumes_bit_for_bit_dropout_included(base: Path, tmp_path: Path):
    pytest.importorskip("peft")
    from prm.training import Progress, TrainConfig, train

    config = TrainConfig(
        adapters=2, lora_rank=2, lora_dropout=0.3, holdout=0.0, batch_size=16, epochs=2, learning_rate=1e-2
    )
    rows = separable_rows(64)
    train(rows, base=str(base), out=tmp_path / "whole", config=config)
    seen: list[Progress] = []
    for limit in (3, 1000):
        train(
            rows,
            base=str(base),
            out=tmp_path / "parts",
            config=config,
            on_progress=seen.append,
            stop=lambda limit=limit: bool(seen) and seen[-1].step >= limit,
        )
    one, other = (load_file(tmp_path / name / CHECKPOINT) for name in ("whole", "parts"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_step_dpo_takes_the_model_without_its_adapter_as_reference(base: Path, tmp_path: Path):
    pytest.importorskip("peft")
    summary = run(separable_pairs(80), base, tmp_path, head="step-dpo", beta=1.0, holdout=0.3, **LORA).summary
    assert summary is not None
    assert summary["held_out"]["accuracy"] > 0.8


_CHILD = """
import sys
sys.path[:0] = sys.argv[3:]
import torch
torch.set_num_threads(1)
from pathlib import Path
from training_worlds import run, separable_rows
settings = {"epochs": 2, "holdout": 0.2, "microbatch_tokens": 200, "log_every": 1}
run(separable_rows(48), Path(sys.argv[1]), Path(sys.argv[2]), **settings)
"""


def test_two_processes_take_the_steps_that_one_takes(base: Path, tmp_path: Path):
    pytest.importorskip("accelerate")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    here = Path(__file__).parent
    out = tmp_path / "two"
    command = [sys.executable, "-c", _CHILD, str(base), str(out), str(here), str(here.parent / "treesearch")]
    common = os.environ | {
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
    }
    both = [
        subprocess.Popen(command, env=common | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(2)
    ]
    assert [child.wait(timeout=110) for child in both] == [0, 0]
    run(separable_rows(48), base, tmp_path / "one", epochs=2, holdout=0.2, microbatch_tokens=200, log_every=1)
    lines = [
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    ]
    assert [line["step"] for line in lines[0]] == [line["step"] for line in lines[1]]
    for mine, theirs in zip(*lines, strict=True):
        assert theirs["loss"] == pytest.approx(mine["loss"], abs=2e-4)
        assert theirs["tokens"] == mine["tokens"]
