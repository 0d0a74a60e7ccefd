"""Two processes that `accelerate launch` starts do what one does, with whole and with sharded weights."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tree_training_worlds import base_model, rich_trees, run

from tasks.errors import UsageError

pytestmark = pytest.mark.timeout(
    450
)  # the two processes import torch at once, which a busy machine takes long for
SETTINGS = {
    "objective": "dpo",
    "sft_weight": 0.1,
    "epochs": 2,
    "batch_trees": 3,
    "pass_tokens": 30,
    "row_tokens": 20,
    "holdout": 0.2,
    "learning_rate": 1e-3,
}
_CHILD = """
import sys
from pathlib import Path

base, out, *paths = sys.argv[1:]
sys.path[:0] = paths
import torch

torch.set_num_threads(1)
from test_tree_training_processes import SETTINGS
from tree_training_worlds import rich_trees, run

run(rich_trees(9), Path(base), Path(out) / "replicated", **SETTINGS)
for steps in (2, 10_000):
    seen = []
    run(
        rich_trees(9),
        Path(base),
        Path(out) / "sharded",
        **SETTINGS,
        shard="fsdp",
        on_progress=seen.append,
        stop=lambda: len(seen) >= steps,
    )
run(rich_trees(1), Path(base), Path(out) / "idle", objective="sft", shard="fsdp")
"""


def _launch(base: Path, out: Path) -> None:
    """Run the child in two processes; the port is one that was free a moment ago."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    here = Path(__file__).parent
    script = out / "child.py"
    script.write_text(_CHILD)
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2"]
    options = ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    command = [*launcher, *options, "--main_process_port", str(port), str(script), str(base), str(out)]
    paths = [str(here), str(here.parent / "treesearch"), str(here.parents[1])]
    environment = os.environ | {
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(here.parents[1]),
    }
    done = subprocess.run(
        [*command, *paths], env=environment, capture_output=True, text=True, timeout=400, check=False
    )
    # The child's own words come first, the launcher's last.
    assert done.returncode == 0, f"{done.stderr[:4000]}\n...\n{done.stderr[-2000:]}"


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs ``one``, ``replicated``, ``sharded`` and ``idle``."""
    pytest.importorskip("accelerate")
    out = tmp_path_factory.mktemp("runs")
    base = base_model(tmp_path_factory.mktemp("base"))
    _launch(base, out)
    run(rich_trees(9), base, out / "one", **SETTINGS)
    run(rich_trees(1), base, out / "alone", objective="sft")
    return out


def _same_course(one: Path, other: Path) -> None:
    lines = [
        [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        for out in (one, other)
    ]
    assert [line["step"] for line in lines[0]] == [line["step"] for line in lines[1]]
    for mine, theirs in zip(*lines, strict=True):
        assert mine.keys() == theirs.keys()
        for name in {"loss", "margin", "gradient_norm", "tokens"} & mine.keys():
            assert theirs[name] == pytest.approx(mine[name], rel=1e-4, abs=2e-5)
        held = (mine.get("held_out", {}), theirs.get("held_out", {}))
        assert held[0] == pytest.approx(held[1], rel=1e-4, abs=2e-5)


@pytest.mark.parametrize(("one", "several"), [("one", "replicated"), ("one", "sharded"), ("alone", "idle")])
def test_two_processes_take_the_steps_that_one_takes(worlds: Path, one: str, several: str) -> None:
    _same_course(worlds / one, worlds / several)
    tensors = [load_file(worlds / name / "model" / "model.safetensors") for name in (one, several)]
    assert tensors[0].keys() == tensors[1].keys()
    for name, tensor in tensors[0].items():
        torch.testing.assert_close(tensors[1][name], tensor, rtol=0.02, atol=5e-4)


def test_checkpoints_of_sharded_and_whole_weights_hold_the_same_tensors(worlds: Path) -> None:
    shapes = [
        {key: value.shape for key, value in load_file(worlds / name / "checkpoint.safetensors").items()}
        for name in ("one", "sharded")
    ]
    assert shapes[0] == shapes[1]


def test_sharding_over_one_process_is_refused(tmp_path: Path) -> None:
    base = base_model(tmp_path / "base")
    with pytest.raises(UsageError, match="shard=fsdp needs several processes: accelerate launch"):
        run(rich_trees(2), base, tmp_path / "run", objective="sft", shard="fsdp")
