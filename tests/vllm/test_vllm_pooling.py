"""Scores of the vLLM pooler against the same models run by transformers, in float32."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import CONTEXT, byte_level_tokenizer
from transformers import Qwen2Config, Qwen2ForSequenceClassification, Qwen2ForTokenClassification

from tasks.errors import UsageError
from treesearch.engines.base import EngineError
from treesearch.engines.vllm_pooling import VLLMPooler, open_pooler

ARGS = "--enforce-eager --distributed-executor-backend uni"
LABELS = 3
TOLERANCE = 1e-4
"""Of raw scores of a size around 1: two float32 programs that add in another order."""


def write(kind: type, folder: Path) -> Path:
    """A Qwen2 of two layers with a head of three labels."""
    torch.manual_seed(3)
    tokenizer = byte_level_tokenizer()
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=64,  # vLLM's attention on a CPU takes heads of 32 and more
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=CONTEXT,
        initializer_range=0.25,
        num_labels=LABELS,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
    )
    kind(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def texts() -> list[list[int]]:
    rng = random.Random(5)
    return [[rng.randrange(3, 300) for _ in range(rng.randrange(2, 60))] for _ in range(6)]


def scores(pooler: VLLMPooler) -> list[np.ndarray]:
    async def together() -> list[np.ndarray]:
        return await asyncio.gather(*(pooler.score(ids) for ids in texts()))

    return asyncio.run(together())


@pytest.fixture(scope="module")
def sequence(tmp_path_factory) -> Path:
    return write(Qwen2ForSequenceClassification, tmp_path_factory.mktemp("sequence"))


@pytest.fixture(scope="module")
def classifier(sequence) -> Iterator[VLLMPooler]:
    opened = open_pooler(str(sequence), task="classify", args=ARGS, dtype="float32")
    yield opened
    asyncio.run(opened.close())


@torch.inference_mode()
def expected(kind: type, folder: Path) -> list[np.ndarray]:
    model = kind.from_pretrained(folder, dtype=torch.float32).eval()
    return [model(torch.tensor([ids])).logits[0].numpy() for ids in texts()]


def test_a_classifier_gives_its_raw_scores_at_the_last_token(classifier, sequence):
    for got, wanted in zip(
        scores(classifier), expected(Qwen2ForSequenceClassification, sequence), strict=True
    ):
        assert (got.shape, got.dtype) == ((LABELS,), np.float32)
        np.testing.assert_allclose(got, wanted, atol=TOLERANCE)
    assert np.ptp([got[0] for got in scores(classifier)]) > 0.1


def test_requests_and_tokens_are_counted(classifier):
    requests, tokens = classifier.usage.requests, classifier.usage.prompt_tokens
    scores(classifier)
    assert classifier.usage.requests == requests + 6
    assert classifier.usage.prompt_tokens == tokens + sum(map(len, texts()))


def test_texts_that_do_not_fit_are_errors_and_others_go_on(classifier):
    assert classifier.max_context == CONTEXT
    with pytest.raises(EngineError, match=f"{CONTEXT + 1} tokens"):
        asyncio.run(classifier.score([5] * (CONTEXT + 1)))
    with pytest.raises(EngineError, match="token id 5000"):
        asyncio.run(classifier.score([5, 5000]))
    assert asyncio.run(classifier.score([5] * CONTEXT)).shape == (LABELS,)


def test_a_cancelled_score_leaves_vllm(classifier):
    async def run() -> None:
        tasks = [asyncio.ensure_future(classifier.score([5] * CONTEXT)) for _ in range(20)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(each, asyncio.CancelledError) for each in done] == [True, False] * 10

    asyncio.run(run())
    asyncio.run(classifier.score([5]))
    assert classifier._client._llm.get_num_unfinished_requests() == 0


def test_a_token_classifier_gives_a_row_for_every_token_and_probabilities_on_demand(tmp_path):
    folder = write(Qwen2ForTokenClassification, tmp_path)
    wanted = expected(Qwen2ForTokenClassification, folder)
    pooler = open_pooler(str(folder), task="token_classify", args=ARGS, dtype="float32")
    try:
        for got, logits, ids in zip(scores(pooler), wanted, texts(), strict=True):
            assert (got.shape, got.dtype) == ((len(ids), LABELS), np.float32)
            np.testing.assert_allclose(got, logits, atol=TOLERANCE)
        pooler.activation = True
        for got, logits in zip(scores(pooler), wanted, strict=True):
            np.testing.assert_allclose(got, torch.tensor(logits).softmax(-1).numpy(), atol=TOLERANCE)
    finally:
        asyncio.run(pooler.close())


def test_a_task_that_the_model_cannot_do_is_a_usage_error(sequence):
    with pytest.raises(UsageError, match=r"cannot do the pooling task 'embed'; it does: .*classify"):
        open_pooler(str(sequence), task="embed", args=ARGS, dtype="float32")
