"""Whole runs on a small task: they learn, can be killed and gone on with, and write a model."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import write_llama
from training_worlds import FAST, base_model, run, separable_pairs, separable_rows, shuffled_labels

from prm.checkpoint import read_card
from prm.training import Progress, StepRow, TrainConfig, train
from prm.training.heads import step_examples
from prm.training.layout import Layout
from prm.training.loop import CHECKPOINT
from prm.training.metrics import METRICS
from prm.training.split import split_by_problem
from prm.training.state import load_state
from prm.training.trainer import BEST
from tasks.errors import DataError, UsageError
from treesearch.engines.hf_load import load


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    threads = torch.get_num_threads()
    yield base_model(tmp_path_factory.mktemp("base"))
    torch.set_num_threads(threads)


def _summary(rows: Any, base: Path, out: Path, **settings: Any) -> dict[str, Any]:
    found = run(rows, base, out, **settings).summary
    assert found is not None
    return dict(found)


@pytest.mark.parametrize("head", ["value-bce", "value-mse", "step", "two-token"])
def test_labels_that_the_text_explains_are_learned(base: Path, tmp_path: Path, head: str):
    held_out = _summary(separable_rows(160), base, tmp_path, head=head, holdout=0.3)["held_out"]
    assert held_out["auroc"] > 0.97
    assert held_out["accuracy"] > 0.9
    assert set(held_out["by_depth"]) == {"1", "2", "3"}


def test_shuffled_labels_drop_to_chance(base: Path, tmp_path: Path):
    held_out = _summary(shuffled_labels(separable_rows(240)), base, tmp_path, holdout=0.4)["held_out"]
    assert held_out["n"] >= 140
    assert 0.35 < held_out["auroc"] < 0.65


@pytest.mark.parametrize("head", ["value-bce", "value-mse", "step"])
def test_soft_labels_are_regressed_to_their_values(base: Path, tmp_path: Path, head: str):
    rows = separable_rows(200, label=lambda right: 0.8 if right else 0.3)
    held_out = _summary(rows, base, tmp_path, head=head, holdout=0.3, epochs=10)["held_out"]
    assert held_out["brier"] < 0.01
    assert held_out["ece"] < 0.08


@pytest.mark.parametrize("head", ["pairwise", "outcome-bt", "implicit-dpo", "step-dpo"])
def test_pairs_that_the_text_explains_are_ordered(base: Path, tmp_path: Path, head: str):
    beta = {"beta": 1.0} if head.endswith("-dpo") else {}
    held_out = _summary(separable_pairs(120), base, tmp_path, head=head, holdout=0.3, **beta)["held_out"]
    assert held_out["accuracy"] > 0.9


@pytest.mark.parametrize(
    ("head", "settings"), [("ranking", {}), ("outcome-bce", {}), ("implicit-ce", {"beta": 1.0})]
)
def test_the_other_heads_of_solutions_learn_too(
    base: Path, tmp_path: Path, head: str, settings: dict[str, Any]
):
    summary = _summary(separable_rows(160), base, tmp_path, head=head, holdout=0.3, **settings)
    assert summary["held_out"]["auroc"] > 0.85


def test_a_step_dpo_model_starts_as_its_reference_with_every_q_value_zero(base: Path, tmp_path: Path):
    seen: list[Progress] = []
    rows = separable_pairs(40)
    config = TrainConfig(head="step-dpo", holdout=0.0, batch_size=40, epochs=1)
    train(rows, base=str(base), out=tmp_path, config=config, on_progress=seen.append)
    assert seen[0].loss == pytest.approx(0.693147, abs=1e-5)


def test_references_stored_in_the_pairs_are_used_as_they_are(base: Path, tmp_path: Path):
    rows = [replace(row, ref_chosen_logp=-7.25, ref_rejected_logp=-1.5) for row in separable_pairs(40)]
    run(rows, base, tmp_path, head="step-dpo", epochs=1)
    stored = load_file(tmp_path / "reference.safetensors")["reference_log_probs"]
    assert stored.tolist() == [-7.25, -1.5] * 40


def _weights(out: Path) -> dict[str, torch.Tensor]:
    tensors = load_file(out / CHECKPOINT)
    return {name: tensor for name, tensor in tensors.items() if not name.startswith("step/")}


@pytest.mark.parametrize("stop_at", [1, 7])
def test_a_stopped_and_resumed_run_ends_with_the_same_weights_bit_for_bit(
    base: Path, tmp_path: Path, stop_at: int
):
    rows = separable_rows(120)
    settings = {"holdout": 0.2, "epochs": 5, "select": "loss", "members": 2, "evaluate_every": 4}
    whole = _summary(rows, base, tmp_path / "whole", **settings)
    seen: list[Progress] = []
    config = TrainConfig(**(FAST | settings))
    for limit in (stop_at, 10_000):
        outcome = train(
            rows,
            base=str(base),
            out=tmp_path / "parts",
            config=config,
            on_progress=seen.append,
            stop=lambda limit=limit: bool(seen) and seen[-1].step >= limit,
        )
        assert outcome.finished == (limit > stop_at)
    assert [progress.step for progress in seen] == list(range(1, whole["steps"] + 1))
    one, other = _weights(tmp_path / "whole"), _weights(tmp_path / "parts")
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert (tmp_path / "whole" / BEST).read_bytes() == (tmp_path / "parts" / BEST).read_bytes()
    kept = [json.loads(line)["step"] for line in (tmp_path / "parts" / METRICS).read_text().splitlines()]
    assert kept == sorted(set(kept))


_CHILD = """
import sys
sys.path[:0] = sys.argv[3:]
import torch
torch.set_num_threads(1)
from pathlib import Path
from training_worlds import run, separable_rows
run(separable_rows(120), Path(sys.argv[1]), Path(sys.argv[2]), epochs=10, checkpoint_every=5)
"""


def test_a_run_that_was_killed_goes_on_from_its_checkpoint_and_ends_with_the_same_weights(
    base: Path, tmp_path: Path
):
    here = Path(__file__).parent
    out = tmp_path / "killed"
    command = [sys.executable, "-c", _CHILD, str(base), str(out), str(here), str(here.parent / "treesearch")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        until = time.monotonic() + 90
        while not (out / CHECKPOINT).exists() and time.monotonic() < until and child.poll() is None:
            time.sleep(0.02)
        child.send_signal(signal.SIGKILL)
    assert (out / CHECKPOINT).exists()
    assert not (out / "summary.json").exists()
    settings = {"epochs": 10, "checkpoint_every": 5}
    assert run(separable_rows(120), base, out, **settings).finished
    run(separable_rows(120), base, tmp_path / "whole", **settings)
    one, other = _weights(out), _weights(tmp_path / "whole")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_lines_of_a_run_that_was_killed_before_its_first_checkpoint_are_not_kept(base: Path, tmp_path: Path):
    lines = [json.dumps({"step": step, "loss": 1.0}) for step in (1, 2)]
    (tmp_path / METRICS).write_text("\n".join([*lines, '{"step": 3, "lo']))
    summary = _summary(separable_rows(40), base, tmp_path, epochs=2, log_every=1, holdout=0.0)
    kept = [json.loads(line)["step"] for line in (tmp_path / METRICS).read_text().splitlines()]
    assert kept == list(range(1, summary["steps"] + 1))


def test_a_finished_run_is_not_trained_again(base: Path, tmp_path: Path):
    rows = separable_rows(40)
    first = _summary(rows, base, tmp_path, epochs=1)
    before = (tmp_path / CHECKPOINT).stat().st_mtime_ns
    assert _summary(rows, base, tmp_path, epochs=1) == first
    assert (tmp_path / CHECKPOINT).stat().st_mtime_ns == before


def test_another_config_other_data_and_another_base_are_refused_with_what_differs(base: Path, tmp_path: Path):
    rows = separable_rows(40)
    run(rows, base, tmp_path / "run", epochs=1)
    with pytest.raises(UsageError, match=r"seed is 0 there and 3 here"):
        run(rows, base, tmp_path / "run", epochs=1, seed=3)
    with pytest.raises(UsageError, match=r"data is '[0-9a-f]+' there"):
        run(rows[1:], base, tmp_path / "run", epochs=1)
    with pytest.raises(UsageError, match="base weights is"):
        run(rows, write_llama(tmp_path / "other", seed=5), tmp_path / "run", epochs=1)


def test_a_base_that_is_not_there_leaves_no_run_behind(base: Path, tmp_path: Path):
    with pytest.raises(UsageError, match="does not exist"):
        run(separable_rows(8), tmp_path / "bse", tmp_path / "out", epochs=1)
    assert run(separable_rows(8), base, tmp_path / "out", epochs=1).finished


def test_a_holdout_that_leaves_a_side_empty_leaves_no_run_behind(base: Path, tmp_path: Path):
    with pytest.raises(UsageError, match="leaves a side empty"):
        run(separable_rows(4), base, tmp_path / "out", holdout=0.1, epochs=1)
    assert run(separable_rows(4), base, tmp_path / "out", holdout=0.0, epochs=1).finished


@pytest.mark.parametrize("name", ["summary.json", "checkpoint.safetensors"])
def test_a_folder_with_a_runs_files_and_no_run_is_refused(base: Path, tmp_path: Path, name: str):
    (tmp_path / name).write_text("{}")
    with pytest.raises(UsageError, match=f"has a {name} but no run.json"):
        run(separable_rows(8), base, tmp_path, epochs=1)


def test_the_folder_of_a_search_is_no_training_run(base: Path, tmp_path: Path):
    (tmp_path / "run.json").write_text('{"schema": 1, "config": {}}')
    with pytest.raises(DataError, match=r"not a training run .it says no base, data"):
        run(separable_rows(8), base, tmp_path, epochs=1)


def test_what_nothing_can_be_learned_from_is_refused(base: Path, tmp_path: Path):
    pairs = [replace(pair, weight=0.0) for pair in separable_pairs(8)]
    with pytest.raises(DataError, match="has a label or weight to learn from"):
        run(pairs, base, tmp_path / "out", head="pairwise", epochs=1)
    row = StepRow(id="a", prompt="q", steps=("a",), labels=(1.0,), prompt_ids=(5,), step_ids=((100_000,),))
    with pytest.raises(DataError, match=r"problem 'a' has token 100000, the model knows .*another tokenizer"):
        run([row], base, tmp_path / "out", epochs=1)
    assert not (tmp_path / "out").exists()


def test_how_often_to_log_may_change_when_a_run_goes_on(base: Path, tmp_path: Path):
    rows = separable_rows(40)
    run(rows, base, tmp_path, epochs=1)
    assert run(rows, base, tmp_path, epochs=1, log_every=1, checkpoint_every=7).finished


def test_masked_steps_change_nothing(base: Path, tmp_path: Path):
    rows = [
        StepRow(id=str(n), prompt=f"q{n}", steps=("a1", "b2", "a3"), labels=(1.0, 0.0, late))
        for n, late in ((0, 0.0), (1, 1.0))
    ]
    other = [StepRow(id=row.id, prompt=row.prompt, steps=row.steps, labels=(1.0, 0.0, None)) for row in rows]
    run(rows, base, tmp_path / "masked", mask_after_error=True, epochs=3)
    run(other, base, tmp_path / "without", epochs=3)
    one, two = _weights(tmp_path / "masked"), _weights(tmp_path / "without")
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_members_of_an_ensemble_differ_and_agree_on_what_the_text_explains(base: Path, tmp_path: Path):
    summary = _summary(separable_rows(160), base, tmp_path, members=3, holdout=0.3)
    assert summary["held_out"]["auroc"] > 0.97
    head = load_file(tmp_path / "model" / "head.safetensors")
    assert head["head.weight"].shape == (3, 32)
    gaps = [(head["head.weight"][i] - head["head.weight"][j]).norm() for i, j in ((0, 1), (0, 2), (1, 2))]
    assert min(gaps) > 0.1


@pytest.mark.parametrize(("head", "members"), [("value-bce", 2), ("step", 2), ("two-token", 1)])
def test_the_written_model_gives_the_scores_that_training_measured(
    base: Path, tmp_path: Path, head: str, members: int
):
    rows = separable_rows(60)
    summary = _summary(rows, base, tmp_path, head=head, members=members, epochs=2, holdout=0.2)
    card = read_card(tmp_path / "model")
    assert (card.convention, card.head.kind, card.head.outputs) == ("steps", "value", members)
    assert card.trained["held_out"] == summary["held_out"]
    model, tokenizer = load(str(tmp_path / "model"), device="cpu", dtype="float32")
    tensors = load_file(tmp_path / "model" / "head.safetensors")
    examples = step_examples(rows, TrainConfig(), Layout(tokenizer, keep_ends=False))
    errors: list[float] = []
    for example in split_by_problem(examples, holdout=0.2, seed=0).test:
        ids = torch.tensor([[token for segment in example.paths[0] for token in segment]])
        hidden = model(ids, output_hidden_states=True).hidden_states[-1][0]
        ends = torch.tensor([len(segment) for segment in example.paths[0]]).cumsum(0)[1:] - 1
        logits = hidden[ends] @ tensors["head.weight"].T + tensors["head.bias"]
        for score, read in zip(logits.sigmoid().mean(1).tolist(), example.reads, strict=True):
            errors.append((score - (read.target or 0.0)) ** 2)
    assert sum(errors) / len(errors) == pytest.approx(summary["held_out"]["brier"], abs=1e-5)


@pytest.mark.parametrize("kind", ["platt", "isotonic"])
def test_a_calibration_is_fitted_on_one_half_and_reported_on_the_other(base: Path, tmp_path: Path, kind: str):
    rows = separable_rows(160, label=lambda right: 0.7 if right else 0.2)
    summary = _summary(rows, base, tmp_path, calibration=kind, holdout=0.5, right_weight=8.0)
    found = summary["calibration"]
    assert found["kind"] == kind
    assert found["before"]["ece"] == summary["held_out"]["ece"]
    assert found["before"]["ece"] > 0.15
    assert found["after"]["ece"] < 0.1
    calibration = read_card(tmp_path / "model").calibration
    assert calibration is not None
    assert calibration.kind == kind


def test_training_stops_early_and_exports_the_best_weights(base: Path, tmp_path: Path):
    rows = shuffled_labels(separable_rows(120))
    settings = {"holdout": 0.3, "epochs": 40, "select": "loss", "patience": 2, "evaluate_every": 3}
    summary = _summary(rows, base, tmp_path, **settings)
    assert summary["steps"] < 40 * 3
    assert summary["steps"] == summary["best"]["step"] + 6
    best = load_file(tmp_path / BEST)
    head = load_file(tmp_path / "model" / "head.safetensors")
    assert torch.equal(best["weight/heads.0.weight"], head["head.weight"])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_frozen_backbone_stays_as_it_was(base: Path, tmp_path: Path, precision: str):
    run(separable_rows(60), base, tmp_path, freeze="backbone", epochs=2, precision=precision)
    before, after = (load_file(folder / "model.safetensors") for folder in (base, tmp_path / "model"))
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert set(_weights(tmp_path)) >= {"weight/heads.0.weight", "weight/heads.0.bias"}


def test_rows_longer_than_the_model_are_refused_or_dropped_and_counted(base: Path, tmp_path: Path):
    long = StepRow(id="long", prompt="q" * 300, steps=("a1",), labels=(1.0,))
    rows = [*separable_rows(40), long]
    with pytest.raises(DataError, match="1 of 41 rows are longer than 160 tokens"):
        run(rows, base, tmp_path / "refused", epochs=1)
    assert not (tmp_path / "refused").exists()
    assert _summary(rows, base, tmp_path / "dropped", epochs=1, too_long="drop")["dropped_rows"] == 1


def test_bfloat16_passes_keep_float32_weights_and_learn(base: Path, tmp_path: Path):
    summary = _summary(separable_rows(80), base, tmp_path, precision="bfloat16", holdout=0.3, epochs=8)
    assert all(tensor.dtype == torch.float32 for tensor in _weights(tmp_path).values())
    assert summary["held_out"]["auroc"] > 0.9


def test_rows_of_the_wrong_kind_are_refused(base: Path, tmp_path: Path):
    with pytest.raises(UsageError, match="learns from PairRow, row 1 is a StepRow"):
        run(separable_rows(4), base, tmp_path, head="pairwise")


def test_a_checkpoint_of_another_model_is_refused(base: Path, tmp_path: Path):
    run(separable_rows(40), base, tmp_path, epochs=1)
    parameter = torch.nn.Parameter(torch.zeros(3))
    with pytest.raises(DataError, match="holds no weight 'other'"):
        load_state(tmp_path / CHECKPOINT, {"other": parameter}, torch.optim.AdamW([parameter]))
    (tmp_path / CHECKPOINT).write_bytes(b"garbage")
    with pytest.raises(DataError, match="not a training checkpoint"):
        load_state(tmp_path / CHECKPOINT, {}, torch.optim.AdamW([parameter]))
