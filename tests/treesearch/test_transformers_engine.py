"""The in-process engine against plain forward passes and `generate` of the same tiny models."""

from __future__ import annotations

import asyncio
import math
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import CONTEXT, write_llama, write_qwen
from transformers import AutoModelForCausalLM

from treesearch.engines.base import EngineError, FinishReason, Sample, SamplingParams
from treesearch.engines.transformers import TransformersEngine

torch.set_num_threads(1)
GREEDY = SamplingParams(max_tokens=24, temperature=0.0)
DRAWN = SamplingParams(max_tokens=24, temperature=0.9, seed=11)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {"llama": write_llama(root / "llama"), "qwen": write_qwen(root / "qwen")}


@pytest.fixture(scope="module", params=["llama", "qwen"])
def engine(request, folders):
    opened = TransformersEngine.open(str(folders[request.param]), device="cpu", max_sequences=24)
    yield opened
    asyncio.run(opened.close())


@pytest.fixture(scope="module")
def llama(folders):
    opened = TransformersEngine.open(str(folders["llama"]), device="cpu", max_sequences=8)
    yield opened
    asyncio.run(opened.close())


@pytest.fixture(scope="module")
def plain(engine):
    """The same model, loaded apart from the engine."""
    return AutoModelForCausalLM.from_pretrained(engine.model, dtype=torch.float32).eval()


def prompts(count: int, *, longest: int = 40, seed: int = 0) -> list[list[int]]:
    rng = random.Random(seed)
    return [[rng.randrange(3, 300) for _ in range(rng.randrange(1, longest))] for _ in range(count)]


def ask(engine: TransformersEngine, prompt: list[int], n: int, params: SamplingParams) -> list[Sample]:
    return asyncio.run(engine.sample(prompt, n, params))


def ids(samples: list[Sample]) -> list[tuple[int, ...]]:
    return [sample.token_ids for sample in samples]


def expected_greedy(plain, prompt: list[int], new: int) -> tuple[int, ...]:
    with torch.inference_mode():
        tokens = torch.tensor([prompt])
        out = plain.generate(
            tokens, attention_mask=torch.ones_like(tokens), do_sample=False, max_new_tokens=new, top_k=None
        )
    return tuple(out[0, len(prompt) :].tolist())


def log_softmax(plain, token_ids: list[int]) -> torch.Tensor:
    with torch.inference_mode():
        return torch.log_softmax(plain(torch.tensor([token_ids])).logits[0].float(), dim=-1)


# --- tokens ---------------------------------------------------------------------------------------------


def test_greedy_is_what_generate_writes_also_when_requests_arrive_ragged(engine, plain):
    asked = prompts(30)
    lengths = [1 + 5 * (number % 6) for number in range(30)]

    async def one(number: int) -> list[Sample]:
        await asyncio.sleep(0.003 * (number % 7))
        return await engine.sample(asked[number], 1, replace(GREEDY, max_tokens=lengths[number]))

    async def run() -> list[list[Sample]]:
        return await asyncio.gather(*(one(number) for number in range(30)))

    for number, samples in enumerate(asyncio.run(run())):
        assert samples[0].token_ids == expected_greedy(plain, asked[number], lengths[number])


def test_a_sample_that_writes_an_end_token_is_finished(engine, plain):
    ends = {1, 40} if "qwen" in engine.model else {1}
    found: set[int] = set()
    for prompt in prompts(12, seed=5):
        for sample in ask(engine, prompt, 24, SamplingParams(max_tokens=60, temperature=2.0, seed=2)):
            assert not ends & set(sample.token_ids[:-1])
            assert (sample.token_ids[-1] in ends) == (sample.finish is FinishReason.END)
            found |= ends & {sample.token_ids[-1]}
    assert found == ends


def test_draws_do_not_depend_on_what_else_is_in_the_batch(engine):
    asked = prompts(20, seed=1)
    alone = [
        ids(ask(engine, prompt, 2, replace(DRAWN, seed=number))) for number, prompt in enumerate(asked[:5])
    ]

    async def crowd() -> list[list[Sample]]:
        mixed = [replace(DRAWN, seed=number) for number in range(5)]
        mixed += [
            replace(DRAWN, seed=9, temperature=(number % 3) / 2, top_k=number % 4) for number in range(5, 20)
        ]
        return await asyncio.gather(
            *(engine.sample(p, 2, params) for p, params in zip(asked, mixed, strict=True))
        )

    assert [ids(samples) for samples in asyncio.run(crowd())][:5] == alone


def test_200_ragged_requests_all_finish_within_their_limits(engine):
    asked = prompts(200, seed=3)

    async def one(number: int) -> list[Sample]:
        await asyncio.sleep(random.Random(number).random() * 0.2)
        params = replace(DRAWN, max_tokens=1 + number % 30, seed=number, stop=("a",) if number % 3 else ())
        return await engine.sample(asked[number], 1 + number % 3, params)

    async def run() -> list[list[Sample]]:
        return await asyncio.gather(*(one(number) for number in range(200)))

    for number, samples in enumerate(asyncio.run(run())):
        assert len(samples) == 1 + number % 3
        assert all(1 <= len(sample.token_ids) <= 1 + number % 30 for sample in samples)


def test_one_request_runs_its_prompt_once_even_if_it_has_more_samples_than_rows(folders, monkeypatch):
    engine = TransformersEngine.open(str(folders["llama"]), device="cpu", max_sequences=8, prefix_cache_mb=0)
    decoder = engine._worker._decoder
    run: list[int] = []
    prefill = decoder.prefill
    monkeypatch.setattr(
        decoder, "prefill", lambda first, parts: (run.append(len(parts)), prefill(first, parts))
    )
    prompt = prompts(1, seed=8)[0] * 3
    many = ask(engine, prompt, 30, DRAWN)
    assert run == [1]
    assert engine.usage.prompt_tokens == len(prompt)
    assert ids(many)[:3] == ids(ask(engine, prompt, 3, DRAWN))
    asyncio.run(engine.close())


def test_a_child_of_a_finished_sample_needs_no_pass_over_its_prompt(llama, plain_llama, monkeypatch):
    decoder = llama._worker._decoder
    run: list[list[int]] = []
    prefill, extend = decoder.prefill, decoder.extend
    monkeypatch.setattr(decoder, "prefill", lambda f, p: (run.append([len(x) for x in p]), prefill(f, p)))
    monkeypatch.setattr(decoder, "extend", lambda f, p, s: (run.append([len(x) for x in p]), extend(f, p, s)))
    prompt = prompts(1, seed=21)[0] + [7] * 10
    step = ask(llama, prompt, 1, replace(GREEDY, max_tokens=6))[0]
    child = [*prompt, *step.token_ids]
    assert run == [[len(prompt) - 1]]
    assert ask(llama, child, 2, GREEDY)[0].token_ids == expected_greedy(plain_llama, child, 24)
    assert len(run) == 1
    edited = [*child[:-2], 50, 51, 52]
    assert ask(llama, edited, 1, GREEDY)[0].token_ids == expected_greedy(plain_llama, edited, 24)
    sibling = [*prompt, 60, 61, 62]
    assert ask(llama, sibling, 1, GREEDY)[0].token_ids == expected_greedy(plain_llama, sibling, 24)
    assert run[1:] == [[7], [3]]


@pytest.fixture(scope="module")
def plain_llama(folders):
    return AutoModelForCausalLM.from_pretrained(folders["llama"], dtype=torch.float32).eval()


def test_the_prefix_store_stays_within_its_limit(folders):
    engine = TransformersEngine.open(str(folders["llama"]), device="cpu", prefix_cache_mb=1)
    store = engine._worker._batch._prefixes
    store.limit_bytes = 40_000
    for prompt in prompts(12, seed=30):
        ask(engine, prompt, 4, DRAWN)
    assert 0 < store.held_bytes <= 40_000
    assert {place[0] for place in store._ends.values()} == set(store._entries)
    asyncio.run(engine.close())


# --- stops ----------------------------------------------------------------------------------------------


def test_stop_strings_are_found_at_the_first_token_that_completes_them(engine):
    prompt = prompts(1, seed=4)[0]
    free = ask(engine, prompt, 1, replace(DRAWN, max_tokens=60, temperature=1.5))[0]
    rng = random.Random(0)
    spanning = 0
    for _ in range(60):
        start = rng.randrange(len(free.text) - 6)
        stop = free.text[start : start + rng.randrange(1, 6)]
        if "\ufffd" in stop:
            continue
        texts = [
            engine.tokenizer.continuation(free.token_ids[:end]) for end in range(len(free.token_ids) + 1)
        ]
        first = next(end for end, text in enumerate(texts) if stop in text)
        spanning += stop not in engine.tokenizer.continuation([free.token_ids[first - 1]])
        got = ask(engine, prompt, 1, replace(DRAWN, max_tokens=60, temperature=1.5, stop=(stop, "%%%")))[0]
        assert got.token_ids == free.token_ids[:first]
        assert got.text == texts[first]
        assert got.finish is FinishReason.STOP
    assert spanning > 3


def test_stop_token_ids_end_a_sample(engine):
    free = ask(engine, [5, 6], 1, GREEDY)[0]
    stop = free.token_ids[4]
    got = ask(engine, [5, 6], 1, replace(GREEDY, stop_token_ids=(stop,)))[0]
    assert got.finish is FinishReason.STOP
    assert got.token_ids == free.token_ids[: free.token_ids.index(stop) + 1]


def test_a_sample_ends_where_the_context_is_full(engine):
    prompt = [5] * (CONTEXT - 3)
    got = ask(engine, prompt, 1, replace(GREEDY, max_tokens=50))[0]
    assert len(got.token_ids) == 3 or got.finish is FinishReason.END
    with pytest.raises(EngineError, match=f"{CONTEXT} tokens .* no room"):
        ask(engine, [5] * CONTEXT, 1, GREEDY)


# --- probabilities --------------------------------------------------------------------------------------


def test_log_probabilities_are_those_of_a_plain_forward_pass_at_temperature_1(engine, plain):
    prompt = prompts(1, seed=6)[0] + [9]
    for sample in ask(engine, prompt, 3, replace(DRAWN, temperature=0.4, top_p=0.8)):
        logp = log_softmax(plain, [*prompt, *sample.token_ids])
        want = [float(logp[len(prompt) - 1 + i, t]) for i, t in enumerate(sample.token_ids)]
        assert sample.logprobs == pytest.approx(want, abs=1e-4)
        assert asyncio.run(engine.logprobs(prompt, sample.token_ids)) == pytest.approx(want, abs=1e-4)


def test_ragged_log_prob_requests_are_batched_and_aligned(engine, plain, monkeypatch):
    decoder = engine._worker._decoder
    passes: list[int] = []
    score = decoder.score
    monkeypatch.setattr(decoder, "score", lambda p, c: (passes.append(len(p)), score(p, c))[1])
    pairs = list(zip(prompts(12, seed=1), prompts(12, seed=2), strict=True))

    async def run() -> list[list[float]]:
        return await asyncio.gather(*(engine.logprobs(p, c) for p, c in pairs))

    for (prompt, completion), got in zip(pairs, asyncio.run(run()), strict=True):
        logp = log_softmax(plain, prompt + completion)
        want = [float(logp[len(prompt) - 1 + i, t]) for i, t in enumerate(completion)]
        assert got == pytest.approx(want, abs=1e-4)
    assert len(passes) < 12


def test_certainty_is_the_mean_divergence_from_uniform_of_the_distribution_behind_each_token(engine, plain):
    prompt = prompts(1, seed=7)[0] + [9]
    sample = ask(engine, prompt, 1, replace(DRAWN, certainty=True))[0]
    probs = log_softmax(plain, [*prompt, *sample.token_ids]).double().exp()
    want = [
        float(-torch.log(probs.shape[1] * probs[len(prompt) - 1 + i]).mean())
        for i in range(len(sample.token_ids))
    ]
    assert sample.certainty == pytest.approx(want, abs=1e-4)
    assert sample.certainty[:-1] != pytest.approx(want[1:], abs=1e-2)


def test_many_samples_follow_the_model_s_distribution(engine, plain):
    prompt = prompts(1, seed=9)[0] + [9]
    probs = log_softmax(plain, prompt)[-1].exp().numpy()
    drawn = [sample.token_ids[0] for sample in ask(engine, prompt, 1500, SamplingParams(max_tokens=1))]
    counts = np.bincount(drawn, minlength=len(probs))
    common = probs * 1500 >= 5
    expected = np.append(probs[common], probs[~common].sum()) * 1500
    seen = np.append(counts[common], counts[~common].sum())
    statistic = float(((seen - expected) ** 2 / expected).sum())
    freedom = len(expected) - 1
    assert statistic < freedom + 5 * math.sqrt(2 * freedom)
