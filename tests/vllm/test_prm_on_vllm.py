"""Step scores with vLLM against the transformers back end, in float32, on tiny random models."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "prm"))  # prm_models, test_conventions_golden

from prm_models import HIDDEN, QUESTION, STEPS, byte_level, random, sentence_pieces, write_causal
from test_conventions_golden import write_qwen_prm, write_skywork
from transformers import AutoModel, AutoTokenizer

from prm.checkpoint import Card, HeadCard, write_checkpoint
from prm.conventions import Token, find, table
from prm.registry import ScorerSettings, open_scorer
from prm.scoring.open import open_published as open_with_transformers
from prm.scoring.options import ScoringOptions
from prm.scoring.vllm_open import mirror_folder, open_published
from treesearch.cli import main
from treesearch.policies import embedded_folder

TOLERANCE = 1e-4
BLOCK = 128
"""Tokens of a block of vLLM's prefix cache on a CPU."""
ARGS = f"--enforce-eager --distributed-executor-backend uni --block-size {BLOCK}"
SETTINGS = ScorerSettings(backend="vllm", dtype="float32", engine_args=ARGS)
OPTIONS = ScoringOptions(device="cpu", dtype="float32", threads=1)
LONG = tuple(f"{step} " + "So it is, and so it goes on. " * 3 for step in STEPS)


def agree(scorer, reference, steps=STEPS, tolerance=TOLERANCE) -> list[int]:
    """Compare on a path that grows; the tokens that vLLM ran for each step."""

    async def run() -> list[int]:
        ran = []
        for count in range(1, len(steps) + 1):
            found = await scorer.score(QUESTION, steps[:count])
            wanted = await reference.score(QUESTION, steps[:count])
            assert found.scores == pytest.approx(wanted.scores, abs=tolerance)
            ran.append(found.tokens)
        together = await asyncio.gather(*(scorer.score(f"{QUESTION} {n}", steps) for n in range(5)))
        for number, found in enumerate(together):
            wanted = await reference.score(f"{QUESTION} {number}", steps)
            assert found.scores == pytest.approx(wanted.scores, abs=tolerance)
        assert max(wanted.scores) - min(wanted.scores) > 10 * TOLERANCE
        await reference.close()
        return ran

    return asyncio.run(run())


def test_two_tokens_become_a_classifier_of_one_row_that_reads_the_prefix_cache(tmp_path):
    folder = write_causal(tmp_path, sentence_pieces())
    tokenizer = AutoTokenizer.from_pretrained(folder)
    expected = {text: tokenizer.encode(text, add_special_tokens=False)[0] for text in ("ки", "+", "-")}
    convention = find("math-shepherd")
    scorer = open_published(str(folder), convention, SETTINGS, expected=expected)
    try:
        reference = open_with_transformers(str(folder), convention, options=OPTIONS, expected=expected)
        ran = agree(scorer, reference, LONG)
        head, *sizes = scorer.sizes(QUESTION, LONG)
        whole = head + sum(sizes)
        assert ran[0] == head + sizes[0]
        assert ran[2] <= sizes[2] + BLOCK < whole
        again = asyncio.run(scorer.score(QUESTION, LONG))
        assert again.tokens == 0
    finally:
        asyncio.run(scorer.close())


def test_probabilities_agree_in_bfloat16(tmp_path):
    """On trained weights: random layers of a large scale amplify the rounding."""
    embedded = embedded_folder()
    tokenizer = AutoTokenizer.from_pretrained(embedded)
    body = AutoModel.from_pretrained(embedded, dtype=torch.float32)
    size = body.config.hidden_size
    write_checkpoint(
        tmp_path / "prm",
        model=body,
        tokenizer=tokenizer,
        card=Card(convention="steps", head=HeadCard(kind="value", outputs=2)),
        head={"head.weight": random(2, size) / 10, "head.bias": random(2, seed=8)},
    )
    scorer = open_scorer(str(tmp_path / "prm"), {"backend": "vllm", "dtype": "bfloat16", "engine_args": ARGS})
    settings = {"device": "cpu", "dtype": "bfloat16", "threads": 1}
    try:
        agree(scorer, open_scorer(str(tmp_path / "prm"), settings), tolerance=1e-2)
    finally:
        asyncio.run(scorer.close())


@pytest.mark.parametrize("native", [True, False], ids=["native class", "last position"])
def test_qwens_process_reward_model_agrees(tmp_path, native):
    folder = write_qwen_prm(tmp_path)
    tag = AutoTokenizer.from_pretrained(folder).convert_tokens_to_ids("<extra_0>")
    convention = find("qwen2.5-math-prm")
    settings = replace(SETTINGS, backend="vllm-native") if native else SETTINGS
    scorer = open_published(str(folder), convention, settings, expected={"<extra_0>": tag})
    try:
        reference = open_with_transformers(
            str(folder), convention, options=OPTIONS, expected={"<extra_0>": tag}
        )
        ran = agree(scorer, reference)
        sizes = scorer.sizes(QUESTION, STEPS)
        assert ran[0] == sum(sizes[:2])
        assert ran[2] == sum(sizes) if native else ran[2] <= sum(sizes)
    finally:
        asyncio.run(scorer.close())


def test_a_head_that_vllm_does_not_have_is_applied_to_the_last_hidden_state(tmp_path):
    folder = write_skywork(tmp_path)
    line_break = AutoTokenizer.from_pretrained(folder).encode("\n")
    convention = find("skywork-o1")
    scorer = open_published(str(folder), convention, SETTINGS, expected={"\n": line_break[0]})
    try:
        agree(
            scorer,
            open_with_transformers(str(folder), convention, options=OPTIONS, expected={"\n": line_break[0]}),
        )
    finally:
        asyncio.run(scorer.close())


def test_a_folder_of_our_own_with_an_ensemble_agrees_and_takes_ids(tmp_path):
    tokenizer = byte_level(bos="<|begin_of_text|>")
    write_causal(tmp_path / "base", tokenizer, tied=True)
    write_checkpoint(
        tmp_path / "prm",
        model=AutoModel.from_pretrained(tmp_path / "base"),
        tokenizer=tokenizer,
        card=Card(convention="steps", head=HeadCard(kind="value", outputs=3)),
        head={"head.weight": random(3, HIDDEN), "head.bias": random(3, seed=8)},
    )
    scorer = open_scorer(str(tmp_path / "prm"), {"backend": "vllm", "dtype": "float32", "engine_args": ARGS})
    settings = {"device": "cpu", "dtype": "float32", "threads": 1}
    try:
        agree(scorer, open_scorer(str(tmp_path / "prm"), settings))
        prompt = tokenizer.encode(QUESTION + "\n")
        steps = [tokenizer.encode(f"{step}\n", add_special_tokens=False) for step in STEPS]
        found = asyncio.run(scorer.score_ids(prompt, steps))
        assert found == asyncio.run(scorer.score(QUESTION, STEPS))
        assert len(found.members[0]) == 3
    finally:
        asyncio.run(scorer.close())


def test_a_mirrored_folder_has_the_body_and_no_head(tmp_path):
    from safetensors.torch import load_file

    folder = write_qwen_prm(tmp_path / "sharded", sharded=True)
    (tmp_path / "mirror").mkdir()
    mirror_folder(folder, tmp_path / "mirror")
    names = {name for file in (tmp_path / "mirror").glob("*.safetensors") for name in load_file(str(file))}
    assert names
    assert not any(name.startswith("score.") for name in names)
    assert (tmp_path / "mirror" / "config.json").is_symlink()


def test_the_command_scores_with_the_native_class(tmp_path, monkeypatch, capsys):
    qwen = find("qwen2.5-math-prm")
    anything = replace(qwen, tag=replace(qwen.tag, token=Token(text="<extra_0>")))  # the tiny vocabulary's id
    monkeypatch.setitem(table.CONVENTIONS, qwen.name, anything)
    folder = write_qwen_prm(tmp_path)
    asked = [part for text in STEPS for part in ("--step", text)]
    found = []
    for backend in ("vllm-native", "transformers"):
        settings = {"backend": backend, "family": qwen.name, "dtype": "float32"}
        settings |= {"engine_args": ARGS} if backend == "vllm-native" else {"device": "cpu"}
        given = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        assert main(["prm", "score", "--prm", str(folder), QUESTION, *asked, *given, "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out)["scores"])
    assert found[0] == pytest.approx(found[1], abs=TOLERANCE)
