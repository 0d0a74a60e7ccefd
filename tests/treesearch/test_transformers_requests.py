"""Cancelling, failing and closing, wrong requests and settings of the in-process engine."""

from __future__ import annotations

import asyncio
import hashlib
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_models import write_llama

from tasks.errors import MissingPrerequisiteError, UsageError
from treesearch.engines.base import EngineError, Sample, SamplingParams
from treesearch.engines.transformers import TransformersEngine, TransformersOptions, open_engine

torch.set_num_threads(1)
GREEDY = SamplingParams(max_tokens=24, temperature=0.0)
DRAWN = SamplingParams(max_tokens=24, temperature=0.9, seed=11)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def llama(folder):
    opened = TransformersEngine.open(str(folder), device="cpu", max_sequences=8)
    yield opened
    asyncio.run(opened.close())


def ask(engine: TransformersEngine, prompt: list[int], n: int, params: SamplingParams) -> list[Sample]:
    return asyncio.run(engine.sample(prompt, n, params))


def ids(samples: list[Sample]) -> list[tuple[int, ...]]:
    return [sample.token_ids for sample in samples]


def test_a_cancelled_request_frees_its_row_and_its_tokens_stay_counted(folder):
    engine = TransformersEngine.open(str(folder), device="cpu", max_sequences=1)
    never = replace(DRAWN, max_tokens=100, stop_token_ids=())

    async def run() -> None:
        running = asyncio.ensure_future(engine.sample([5, 6, 7], 50, never))
        queued = asyncio.ensure_future(engine.sample([5, 6, 8], 50, never))
        while engine.usage.generated_tokens < 20:
            await asyncio.sleep(0.005)
        running.cancel()
        queued.cancel()
        await asyncio.gather(running, queued, return_exceptions=True)
        before = engine.usage.generated_tokens
        assert 20 <= before < 50 * 100
        got = await engine.sample([5, 6, 7], 1, replace(GREEDY, max_tokens=5))
        assert len(got[0].token_ids) == 5
        assert before + 5 <= engine.usage.generated_tokens <= before + 8
        assert len(engine._worker._batch) == 0
        assert not engine._worker._futures

    asyncio.run(run())
    assert engine.usage.requests == 3
    asyncio.run(engine.close())


@pytest.mark.parametrize("broken", ["prefill", "decode", "score"])
def test_a_failing_pass_fails_its_requests_and_the_engine_goes_on(folder, monkeypatch, broken):
    engine = TransformersEngine.open(str(folder), device="cpu")
    before = ids(ask(engine, [5, 6, 7], 2, DRAWN))

    def explode(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(engine._worker._decoder, broken, explode)
        asked = engine.logprobs([5], [6]) if broken == "score" else engine.sample([9, 8, 7], 2, DRAWN)
        with pytest.raises(EngineError, match="max_sequences") as caught:
            asyncio.run(asked)
        assert isinstance(caught.value.__cause__, torch.OutOfMemoryError)
    assert ids(ask(engine, [5, 6, 7], 2, DRAWN)) == before
    asyncio.run(engine.close())


def test_close_fails_open_requests_and_later_ones(folder):
    engine = TransformersEngine.open(str(folder), device="cpu", max_sequences=2)

    async def run() -> None:
        tasks = [
            asyncio.ensure_future(engine.sample([5, 6], 40, replace(DRAWN, max_tokens=100))) for _ in range(3)
        ]
        await asyncio.sleep(0.05)
        await engine.close()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(result, EngineError)
        with pytest.raises(EngineError, match="closed"):
            await engine.sample([5], 1, GREEDY)
        await engine.close()

    asyncio.run(run())


def test_the_event_loop_runs_on_while_the_model_writes(llama):
    async def run() -> int:
        ticks = 0
        task = asyncio.ensure_future(llama.sample([5, 6], 8, replace(DRAWN, max_tokens=100)))
        while not task.done():
            await asyncio.sleep(0)
            ticks += 1
        return ticks

    assert asyncio.run(run()) > 50


def test_an_empty_prompt_begins_with_the_begin_token(llama):
    assert ids(ask(llama, [], 2, DRAWN)) == ids(ask(llama, [0], 2, DRAWN))


@pytest.mark.parametrize("token", [-1, 10_000])
def test_a_token_outside_the_vocabulary_is_refused_before_it_reaches_the_model(llama, token):
    with pytest.raises(EngineError, match=str(token)):
        ask(llama, [5, token], 1, GREEDY)


@pytest.mark.parametrize(
    "changes",
    [{"max_tokens": 0}, {"temperature": -1.0}, {"temperature": math.nan}, {"top_p": 0.0}, {"top_p": 1.1},
     {"top_k": -1}, {"stop": ("",)}],
)  # fmt: skip
def test_parameters_out_of_range_are_usage_errors(llama, changes):
    with pytest.raises(UsageError):
        ask(llama, [5], 1, replace(GREEDY, **changes))
    with pytest.raises(UsageError, match="n must be"):
        ask(llama, [5], 0, GREEDY)


def test_wrong_folders_and_settings_say_what_to_do(tmp_path, folder):
    with pytest.raises(UsageError, match="does not exist"):
        TransformersEngine.open(str(tmp_path / "nothing"))
    with pytest.raises(UsageError, match=r"config\.json"):
        TransformersEngine.open(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UsageError, match="save_pretrained"):
        TransformersEngine.open(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(MissingPrerequisiteError, match="could not be loaded"):
        TransformersEngine.open(str(tmp_path))
    with pytest.raises(UsageError, match="dtype"):
        TransformersEngine.open(str(folder), dtype="int3")
    with pytest.raises(UsageError, match="device"):
        TransformersEngine.open(str(folder), device="toaster")
    with pytest.raises(UsageError, match="max_sequences"):
        open_engine(str(folder), {"max_sequences": "0"})
    with pytest.raises(UsageError, match="did you mean 'max_context'"):
        open_engine(str(folder), {"max_contxt": 5})


def test_settings_and_the_hash_of_the_weights_are_recorded(folder):
    engine = open_engine(str(folder), {"max_context": "30", "device": "cpu", "dtype": "bfloat16"})
    weights = (folder / "model.safetensors").read_bytes()
    assert engine.model_hash == hashlib.sha256(b"model.safetensors\n" + weights).hexdigest()
    assert (engine.dtype, engine.device) == ("bfloat16", "cpu")
    assert engine.max_context == 30
    assert len(ask(engine, [5] * 20, 2, replace(DRAWN, max_tokens=20))[0].token_ids) <= 10
    asyncio.run(engine.close())


@pytest.mark.parametrize("field", ["max_sequences", "max_context", "prefix_cache_mb", "threads"])
def test_negative_settings_are_refused(field):
    with pytest.raises(UsageError, match=field):
        TransformersOptions(**{field: -1})
