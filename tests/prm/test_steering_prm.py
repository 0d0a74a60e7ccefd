"""A process-reward model as the value that steers: its scores at tokens, opening, settings."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")
import torch
from steering_worlds import ids_of, prompt, sample
from tiny_models import byte_level_tokenizer, write_llama, write_qwen

from prm.checkpoint import Card, HeadCard, write_checkpoint
from prm.registry import ScorerSettings, open_scorer, scorer_hash
from prm.steering.engine import open_engine
from prm.steering.options import SteeringOptions
from prm.steering.prm import PRMTokenValue
from tasks.errors import UsageError

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def prm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A process-reward model on another tiny llama, two members, calibrated by nothing."""
    from transformers import AutoModel, AutoTokenizer

    folder = tmp_path_factory.mktemp("value")
    source = str(write_llama(folder / "backbone", seed=5))
    torch.manual_seed(6)
    head = {"head.weight": torch.randn(2, 32), "head.bias": torch.randn(2)}
    write_checkpoint(
        folder / "prm",
        model=AutoModel.from_pretrained(source),
        tokenizer=AutoTokenizer.from_pretrained(source),
        card=Card(convention="steps", head=HeadCard(kind="value", outputs=2)),
        head=head,
    )
    return folder / "prm"


def full_score(folder: Path, prompt_ids: Sequence[int], ids: Sequence[int]) -> float:
    """The scorer's own score of one step whose ids are `ids`, behind the prompt."""

    async def score() -> float:
        scorer: Any = open_scorer(str(folder), {"device": "cpu", "threads": 1, "cache_mb": 0})
        try:
            return (await scorer.score_ids(prompt_ids, [ids])).scores[-1]
        finally:
            await scorer.close()

    return asyncio.run(score())


def test_the_value_of_a_candidate_is_the_score_read_at_it_in_a_full_pass(prm_folder: Path) -> None:
    from prm.scoring.options import ScoringOptions

    value = PRMTokenValue.open(str(prm_folder), options=ScoringOptions(device="cpu"))
    tokenizer = value.tokenizer
    start = tuple(tokenizer.encode("Tom has 12 apples.\n"))
    texts = ("Now he has 5.", "12 + 7 = 19", "so it is 4")
    written = [tuple(tokenizer.encode(text, add_special_tokens=False)[:4]) for text in texts]
    newline = value.line_break
    with torch.inference_mode():
        watch = value.begin(start, 3)
        for at in range(4):
            candidates = torch.tensor([[ids[at], newline, 1] for ids in written])
            got = watch.values(candidates)
            for row, ids in enumerate(written):
                hidden = value.model(torch.tensor([[*start, *ids[: at + 1]]])).last_hidden_state[:, -1]
                (numbers,) = value.head(hidden).tolist()
                wanted = value.reading.score(value.reading.members(numbers))
                assert float(got[row, 0]) == pytest.approx(wanted, abs=1e-5)
                if at:
                    closed = full_score(prm_folder, start, [*ids[:at], newline])
                    assert float(got[row, 1]) == pytest.approx(closed, abs=1e-5)
                    assert float(got[row, 2]) == pytest.approx(closed, abs=1e-5)  # the end is read as one
            watch.write([ids[at] for ids in written])
            if at == 2:
                watch.keep([2, 0])
                written = [written[2], written[0]]


def test_an_end_behind_a_line_break_is_the_row_itself(prm_folder: Path) -> None:
    value = PRMTokenValue.open(str(prm_folder))
    tokenizer = value.tokenizer
    start = tuple(tokenizer.encode("Tom has 12 apples.\n"))
    line = tokenizer.encode("Now he has 5.\n", add_special_tokens=False)
    with torch.inference_mode():
        watch = value.begin(start, 1)
        for token in line:
            watch.values(torch.tensor([[token]]))
            watch.write([token])
        got = float(watch.values(torch.tensor([[1]]))[0, 0])
    assert got == pytest.approx(full_score(prm_folder, start, line), abs=1e-5)


def test_the_engine_by_name_steers_towards_what_the_model_scores_high(
    prm_folder: Path, tmp_path: Path
) -> None:
    folder = str(write_llama(tmp_path))
    means = []
    for beta in (0.0, 60.0):
        engine = open_engine(folder, {"value": str(prm_folder), "beta": beta, "threads": 1, "device": "cpu"})
        found = sample(engine, 6, max_tokens=8)
        means.append(
            sum(full_score(prm_folder, prompt(engine), each.token_ids) for each in found) / len(found)
        )
        assert ids_of(found) == ids_of(sample(engine, 6, max_tokens=8))
        assert len(engine.model_hash.split("+")) == 2
        asyncio.run(engine.close())
    assert means[1] > means[0]


def test_two_models_are_composed_and_their_weights_count(prm_folder: Path, tmp_path: Path) -> None:
    folder = str(write_llama(tmp_path))
    found = []
    for settings_of in (
        {"value": str(prm_folder), "beta": 8.0},
        {"value": f"{prm_folder};{prm_folder}", "weights": "0.25;0.75", "beta": 8.0},
    ):
        engine = open_engine(folder, {**settings_of, "threads": 1, "device": "cpu"})
        found.append(ids_of(sample(engine, 4)))
        asyncio.run(engine.close())
    assert found[0] == found[1]


def test_a_model_that_cannot_steer_this_policy_is_refused(prm_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"engine\.value=FOLDER"):
        open_engine("x", {})
    with pytest.raises(UsageError, match="did you mean 'beta'"):
        open_engine("x", {"betta": 1})
    plain = str(write_qwen(tmp_path / "qwen"))
    with pytest.raises(UsageError, match="search prm train"):
        open_engine(plain, {"value": plain})
    from transformers import AutoTokenizer

    renamed = AutoTokenizer.from_pretrained(plain)
    renamed.add_tokens(["<more>"])
    renamed.save_pretrained(plain)
    with pytest.raises(UsageError, match="another vocabulary"):
        open_engine(plain, {"value": str(prm_folder)})
    assert len(byte_level_tokenizer()) == 308


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"beta": -1.0}, "beta"),
        ({"beta": math.inf}, "beta"),
        ({"top_k": 0}, "top_k"),
        ({"max_sequences": 0}, "max_sequences"),
        ({"max_context": -1}, "max_context"),
        ({"threads": -1}, "threads"),
        ({"others": "forget"}, "others"),
        ({"value": "a;b", "weights": "1"}, "weights needs one number a value"),
        ({"value": "a", "weights": "much"}, "weights must be numbers"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SteeringOptions(**wrong)


def test_values_and_weights_are_lists_in_a_line() -> None:
    options = SteeringOptions(value="a; b;", weights="2;0.5")
    assert (options.folders, options.scales) == (["a", "b"], [2.0, 0.5])
    assert SteeringOptions(value="a;b").scales == [1.0, 1.0]


def test_the_model_that_ships_steers_by_its_name() -> None:
    value = PRMTokenValue.open("embedded")
    assert value.model_hash == scorer_hash("embedded", ScorerSettings())
    assert value.reads(5) == 6
