"""TRL reads what is exported: the pairs' texts, and the ids and mask of traces as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from builder_worlds import Step, opened, searched
from packing_worlds import tiny_llama
from tiny_models import byte_level_tokenizer

from selftrain.data.exports import read_completions, write_completions, write_preferences

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
TOKENIZER = byte_level_tokenizer()


def tree_of_sums() -> Any:
    """Right and wrong steps, in the ids of characters (below 160)."""
    return searched(
        Step(text="1+1\n", value=0.9, rolls=(2, 2)),
        Step(text="1-1\n", value=0.6, rolls=(0, 2)),
        Step(parent=1, text="=2", correct=True, value=0.9),
        Step(parent=1, text="=3", correct=False, value=0.7),
    )


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any, dict[str, Any]]:
    """TRL, datasets, and settings of a trainer on the CPU."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    trl, datasets = pytest.importorskip("trl"), pytest.importorskip("datasets")
    plain = {
        "output_dir": str(tmp_path / "out"),
        "report_to": "none",
        "bf16": False,
        "use_cpu": True,
        "gradient_checkpointing": False,
        "per_device_train_batch_size": 8,
    }
    return trl, datasets, plain


def batch_of(trainer: Any) -> Any:
    return next(iter(trainer.get_train_dataloader()))


def test_the_sft_trainer_learns_the_tokens_of_the_mask_and_no_others(
    tmp_path: Path, library: tuple[Any, Any, dict[str, Any]]
) -> None:
    trl, datasets, plain = library
    write_completions(tmp_path / "rows", opened("self-correction")([tree_of_sums()]).trees)
    trainer = trl.SFTTrainer(
        model=tiny_llama(vocab_size=len(TOKENIZER)),
        args=trl.SFTConfig(**plain),
        train_dataset=datasets.load_from_disk(str(tmp_path / "rows")),
        processing_class=TOKENIZER,
    )
    batch = batch_of(trainer)
    learned = [
        [token for token, label in zip(ids, labels, strict=True) if label != -100]
        for ids, labels in zip(batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True)
    ]
    rows = read_completions(tmp_path / "rows")
    masked = [
        [token for token, learn in zip(row.input_ids, row.completion_mask, strict=True) if learn]
        for row in rows
    ]
    assert sorted(learned) == sorted(masked)
    assert any(0 in row.completion_mask[row.prompt_tokens :] for row in rows)


def test_the_dpo_trainer_reads_the_texts_of_pairs_beside_all_the_other_columns(
    tmp_path: Path, library: tuple[Any, Any, dict[str, Any]]
) -> None:
    trl, datasets, plain = library
    write_preferences(tmp_path / "rows", opened("outcome-dpo")([tree_of_sums()]).trees)
    trainer = trl.DPOTrainer(
        model=tiny_llama(vocab_size=len(TOKENIZER)),
        ref_model=tiny_llama(vocab_size=len(TOKENIZER)),
        args=trl.DPOConfig(**plain),
        train_dataset=datasets.load_from_disk(str(tmp_path / "rows")),
        processing_class=TOKENIZER,
    )
    shown = TOKENIZER.batch_decode(batch_of(trainer)["input_ids"], skip_special_tokens=True)
    assert sorted(shown) == ["Q\n1+1\n=2", "Q\n1+1\n=3"]
