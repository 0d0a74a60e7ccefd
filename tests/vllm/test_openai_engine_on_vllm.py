"""The openai engine on a real vLLM server: the contract of engines, and the transformers engine's numbers."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import replace

import httpx
import numpy as np
import pytest
import test_engine_contract as contract

from tasks.errors import UsageError
from treesearch.engines.base import FinishReason, SamplingParams
from treesearch.engines.openai import open_engine
from treesearch.policies import embedded_folder

GREEDY = SamplingParams(max_tokens=40, temperature=0.0)
TOLERANCE = 2e-4
"""Of log-probabilities, in nats: two float32 programs that add in another order."""
NOT_SERVED = {"test_every_token_has_a_log_probability_and_a_certainty_only_if_asked"}
QUESTIONS = (
    "Make 24 from 3 5 8 11.\n",
    "Tom has 12 apples and buys 7 more. How many has he?\n",
    "2 + 2 = ?\n",
)

globals().update(
    {
        name: value
        for name, value in vars(contract).items()
        if name.startswith("test_") and name not in NOT_SERVED
    }
)


@pytest.fixture(scope="module")
def engine(server_url):
    opened = open_engine(server_url, {})
    yield opened
    asyncio.run(opened.close())


def ask(engine, text, n, params):
    prompt = engine.tokenizer.encode(text, special=True)
    return asyncio.run(engine.sample(prompt, n, params))


def test_it_finds_out_what_is_served(engine):
    assert engine.model == str(embedded_folder())
    assert engine.tokenizer_folder == str(embedded_folder())
    assert engine.dialect.server == "vllm"
    assert engine.max_context == 256


@pytest.mark.parametrize("stop", [(), ("\n",), ("eft:", "= "), ("ft",)], ids=repr)
def test_greedy_answers_are_those_of_the_transformers_engine(engine, reference, stop):
    params = replace(GREEDY, stop=stop)
    for text in QUESTIONS:
        got, wanted = ask(engine, text, 1, params)[0], ask(reference, text, 1, params)[0]
        assert (got.token_ids, got.text, got.finish) == (wanted.token_ids, wanted.text, wanted.finish)
        np.testing.assert_allclose(got.logprobs, wanted.logprobs, atol=TOLERANCE)
        assert got.prompt_tokens == len(engine.tokenizer.encode(text, special=True))


def test_log_probabilities_are_at_temperature_1_and_equal_scores_of_the_same_text(engine, reference):
    params = SamplingParams(max_tokens=20, temperature=0.5, top_p=0.9, top_k=5, seed=4)
    prompt = engine.tokenizer.encode(QUESTIONS[0], special=True)
    for got in ask(engine, QUESTIONS[0], 3, params):
        scored = asyncio.run(engine.logprobs(prompt, got.token_ids))
        np.testing.assert_allclose(got.logprobs, scored, atol=TOLERANCE)
        wanted = asyncio.run(reference.logprobs(prompt, got.token_ids))
        np.testing.assert_allclose(scored, wanted, atol=TOLERANCE)


def test_the_end_of_the_text_is_told_from_a_stop(engine):
    ended = ask(engine, QUESTIONS[0], 1, replace(GREEDY, max_tokens=100, stop=("never written",)))[0]
    assert ended.finish is FinishReason.END
    assert ended.token_ids[-1] == engine.tokenizer.eos_token_id
    stopped = ask(engine, QUESTIONS[0], 1, replace(GREEDY, stop_token_ids=(ended.token_ids[2],)))[0]
    assert stopped.finish is FinishReason.STOP
    assert stopped.token_ids == ended.token_ids[: len(stopped.token_ids)]


def test_certainty_is_refused(engine):
    with pytest.raises(UsageError, match="self-certainty"):
        ask(engine, QUESTIONS[0], 1, replace(GREEDY, certainty=True))


def metric(server_url: str, name: str) -> float:
    """The sum over a metric of the server."""
    text = httpx.get(server_url.removesuffix("/v1") + "/metrics", timeout=30).text
    found = re.findall(rf"^vllm:{name}\{{.*\}} ([0-9.e+-]+)$", text, re.MULTILINE)
    assert found, name
    return sum(map(float, found))


def test_a_cancelled_request_makes_the_server_stop(engine, server_url):
    prompt = engine.tokenizer.encode(QUESTIONS[0], special=True)
    params = SamplingParams(max_tokens=240, temperature=1.5, seed=1)
    whole = sum(len(sample.token_ids) for sample in asyncio.run(engine.sample(prompt, 150, params)))
    before = metric(server_url, "generation_tokens_total")

    async def cancelled() -> None:
        task = asyncio.ensure_future(engine.sample(prompt, 150, params))
        await asyncio.sleep(0.1)
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    deadline = time.monotonic() + 60
    while metric(server_url, "num_requests_running") + metric(server_url, "num_requests_waiting"):
        assert time.monotonic() < deadline, "the server went on"
        time.sleep(0.1)
    assert metric(server_url, "generation_tokens_total") - before < 0.9 * whole
