"""What `treesearch.engines.base` promises, held by every engine. A new engine adds one line to `ENGINES`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from tasks.errors import UsageError
from treesearch.engines.base import Engine, EngineError, FinishReason, Sample, SamplingParams, Tokenizer


def open_transformers(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    pytest.importorskip("transformers")
    import torch
    from tiny_models import write_llama

    from treesearch.engines.transformers import TransformersEngine

    torch.set_num_threads(1)
    folder = write_llama(tmp_path_factory.mktemp("llama"))
    return TransformersEngine.open(str(folder), device="cpu", max_sequences=16)


def open_scripted(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    from treesearch.engines.scripted import ScriptedEngine

    return ScriptedEngine(latency_s=0.001)


def open_openai(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    from fake_server import FakeServer

    from treesearch.engines.http_client import HttpClient
    from treesearch.engines.openai_dialect import DIALECTS
    from treesearch.engines.openai_engine import OpenAIEngine, ServedModel
    from treesearch.engines.scripted import CharTokenizer

    server = FakeServer(kind="vllm", max_model_len=2000, latency_s=0.002).__enter__()

    class Served(OpenAIEngine):
        async def close(self) -> None:
            await super().close()
            server.__exit__()

    served = ServedModel(name="toy", dialect=DIALECTS["vllm"], max_context=2000)
    return Served(HttpClient(server.url), served, tokenizer=CharTokenizer())


def open_steered(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    pytest.importorskip("transformers")
    from tiny_models import write_llama

    from prm.steering.engine import SteeredEngine
    from prm.steering.options import SteeringOptions
    from treesearch.engines.hf_load import load

    folder = str(write_llama(tmp_path_factory.mktemp("llama")))
    options = SteeringOptions(device="cpu", threads=1, max_sequences=16)
    loaded = load(folder, device="cpu", dtype="auto")
    return SteeredEngine(
        *loaded, lambda ids: [each[-1] % 7 / 7 for each in ids], options=options, source=folder
    )


ENGINES: dict[str, Callable[[pytest.TempPathFactory], Engine]] = {
    "transformers": open_transformers,
    "scripted": open_scripted,
    "openai": open_openai,
    "steered": open_steered,
}
PARAMS = SamplingParams(max_tokens=12, seed=3)


@pytest.fixture(scope="module", params=ENGINES)
def engine(request, tmp_path_factory) -> Iterator[Engine]:
    opened = ENGINES[request.param](tmp_path_factory)
    yield opened
    asyncio.run(opened.close())


def prompt(engine: Engine, text: str = "Tom has 12 apples.\n") -> list[int]:
    return engine.tokenizer.encode(text, special=True)


def sample(engine: Engine, n: int = 1, text: str = "Tom has 12 apples.\n", **changes: object) -> list[Sample]:
    return asyncio.run(engine.sample(prompt(engine, text), n, replace(PARAMS, **changes)))


def test_it_has_what_the_protocols_ask_for(engine):
    assert isinstance(engine, Engine)
    assert isinstance(engine.tokenizer, Tokenizer)
    assert engine.name
    assert engine.max_context > 0


@pytest.mark.parametrize("n", [1, 2, 5, 33])
def test_a_request_is_answered_with_exactly_n_samples(engine, n):
    assert len(sample(engine, n)) == n


def test_the_same_request_is_answered_the_same_and_another_seed_otherwise(engine):
    first = sample(engine, 6)
    assert [s.token_ids for s in sample(engine, 6)] == [s.token_ids for s in first]
    assert [s.token_ids for s in sample(engine, 6, seed=4)] != [s.token_ids for s in first]
    assert len({s.token_ids for s in first}) > 1


def test_the_first_samples_of_a_larger_request_are_those_of_a_smaller_one(engine):
    assert [s.token_ids for s in sample(engine, 6)][:2] == [s.token_ids for s in sample(engine, 2)]


def test_greedy_sampling_ignores_the_seed(engine):
    one, two = sample(engine, 2, temperature=0.0, seed=1)
    assert one.token_ids == two.token_ids == sample(engine, temperature=0.0, seed=2)[0].token_ids


@pytest.mark.parametrize("max_tokens", [1, 2, 30])
def test_a_sample_is_no_longer_than_asked_and_says_when_it_was_cut(engine, max_tokens):
    for got in sample(engine, 8, max_tokens=max_tokens):
        assert 1 <= len(got.token_ids) <= max_tokens
        if got.finish is FinishReason.LENGTH:
            assert len(got.token_ids) == max_tokens
        else:
            assert got.finish is FinishReason.END


def test_every_token_has_a_log_probability_and_a_certainty_only_if_asked(engine):
    for got in sample(engine, 4):
        assert len(got.logprobs) == len(got.token_ids)
        assert max(got.logprobs) <= 0
        assert got.certainty == ()
    if not getattr(engine, "gives_certainty", True):
        with pytest.raises(UsageError, match="self-certainty"):
            sample(engine, 4, certainty=True)
        return
    for got in sample(engine, 4, certainty=True):
        assert len(got.certainty) == len(got.token_ids)
        assert min(got.certainty) >= 0


def test_the_text_is_that_of_the_ids(engine):
    for got in sample(engine, 8, max_tokens=30):
        assert got.text == engine.tokenizer.decode(got.token_ids)
        ended = got.token_ids[-1] == engine.tokenizer.eos_token_id
        assert ended == (got.finish is FinishReason.END)


def test_a_stop_string_ends_a_sample_and_stays_in_it(engine):
    free = sample(engine, temperature=0.0, max_tokens=30)[0]
    stop = free.text[3:5]
    got = sample(engine, temperature=0.0, max_tokens=30, stop=(stop, "never written"))[0]
    assert got.finish is FinishReason.STOP
    assert stop in got.text
    assert free.token_ids[: len(got.token_ids)] == got.token_ids
    assert stop not in engine.tokenizer.decode(got.token_ids[:-1])


def test_usage_counts_requests_prompts_once_and_generated_tokens(engine):
    before = replace(engine.usage)
    written = sum(len(got.token_ids) for got in sample(engine, 5))
    taken = written * getattr(engine, "tokens_each", 1)
    assert engine.usage.requests == before.requests + 1
    assert engine.usage.prompt_tokens == before.prompt_tokens + len(prompt(engine))
    assert engine.usage.generated_tokens == before.generated_tokens + taken


def test_log_probabilities_come_one_for_each_token_of_the_completion(engine):
    completion = engine.tokenizer.encode("Now he has 5.")
    got = asyncio.run(engine.logprobs(prompt(engine), completion))
    assert len(got) == len(completion)
    assert max(got) <= 0
    assert asyncio.run(engine.logprobs(prompt(engine), [])) == []


def test_many_requests_at_once_are_each_answered_as_if_alone(engine):
    texts = [f"Tom has {number} apples.\n" for number in range(40)]

    async def together() -> list[list[Sample]]:
        asked = (engine.sample(prompt(engine, text), 1, PARAMS) for text in texts)
        return await asyncio.gather(*asked)

    got = asyncio.run(together())
    for number in (0, 17, 39):
        assert got[number][0].token_ids == sample(engine, text=texts[number])[0].token_ids


def test_a_cancelled_request_leaves_the_others_and_later_ones_alone(engine):
    async def run() -> list[Sample]:
        tasks = [
            asyncio.ensure_future(engine.sample(prompt(engine), 4, replace(PARAMS, max_tokens=60, seed=seed)))
            for seed in range(4)
        ]
        await asyncio.sleep(0)
        tasks[0].cancel()
        tasks[2].cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(item, asyncio.CancelledError) for item in done] == [True, False, True, False]
        return await engine.sample(prompt(engine), 2, PARAMS)

    assert len(asyncio.run(run())) == 2


def test_a_prompt_longer_than_the_context_is_an_error_and_others_go_on(engine):
    if engine.max_context > 100_000:
        pytest.skip("this engine has no bound worth the name")
    long = prompt(engine, "1 + 1 = 2\n" * engine.max_context)
    with pytest.raises(EngineError, match=str(engine.max_context)):
        asyncio.run(engine.sample(long, 1, PARAMS))
    assert len(sample(engine)) == 1
