"""The loss and the gradients of TRL's `DPOTrainer` on terminal pairs are those of packed trees."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from packing_worlds import apart, gradients, tiny_llama
from tiny_models import byte_level_tokenizer

from selftrain.losses import dpo
from selftrain.packing import EdgeIndex, EdgeScorer, TokenTree, backward, pack

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
QUESTION = "Tom has 12 apples and buys 7 more.\n"
ANSWERS = [
    ("12 + 7 = 19\n", "12 - 7 = 5\n"),
    ("so 19 apples", "5"),
    ("the answer is 19", "the answer is 17\n5"),
]


@pytest.fixture
def trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    trl = pytest.importorskip("trl")
    datasets = pytest.importorskip("datasets")
    tokenizer = byte_level_tokenizer()
    model = tiny_llama(vocab_size=len(tokenizer))
    config = trl.DPOConfig(
        output_dir=str(tmp_path),
        beta=0.3,
        per_device_train_batch_size=len(ANSWERS),
        report_to="none",
        bf16=False,
        use_cpu=True,
        gradient_checkpointing=False,
        disable_dropout=True,
    )
    rows = [{"prompt": QUESTION, "chosen": good, "rejected": bad} for good, bad in ANSWERS]
    return trl.DPOTrainer(
        model=model,
        ref_model=copy.deepcopy(model),
        args=config,
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=tokenizer,
    )


def test_loss_and_gradients_equal_those_of_the_dpo_trainer(trainer: Any) -> None:
    tokenizer = trainer.processing_class
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    inputs = trainer.data_collator([trainer.train_dataset[at] for at in range(len(ANSWERS))])
    expected = trainer.compute_loss(trainer.model, inputs)
    expected.backward()
    slope = gradients(trainer.model)
    rows = list(trainer.train_dataset)
    sides = [tuple(row[side]) for row in rows for side in ("chosen_ids", "rejected_ids")]
    assert all(side[-1] == tokenizer.eos_token_id for side in sides)  # terminal: TRL ends every text
    tree = TokenTree(segments=(tuple(rows[0]["prompt_ids"]), *sides), parents=(-1, *[0] * len(sides)))
    (batch,) = pack([tree])
    index = EdgeIndex([tree])
    chosen = index.edges((0, node) for node in range(1, len(tree), 2))
    rejected = index.edges((0, node) for node in range(2, len(tree), 2))
    with torch.no_grad():
        reference = EdgeScorer(trainer.ref_model)(batch).sums

    def loss(sums: torch.Tensor) -> torch.Tensor:
        ratios = sums - reference
        return dpo(ratios[chosen], ratios[rejected], beta=0.3)

    found = backward(EdgeScorer(trainer.model), [batch], loss)
    assert abs(float(found) - float(expected.detach())) <= 1e-5 * abs(float(found))
    assert abs(float(found) - 0.6931) > 0.01
    assert apart(gradients(trainer.model), slope) <= 1e-5
