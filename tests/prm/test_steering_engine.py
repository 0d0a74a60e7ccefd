"""The engine `steered`: the contract of every engine, and what steering does to samples."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("transformers")
import torch
from steering_worlds import PARAMS, by_last, ids_of, prompt, sample
from tiny_models import write_llama

from prm.steering.engine import SteeredEngine
from prm.steering.logits import steer
from prm.steering.options import SteeringOptions
from prm.steering.values import FunctionValue, Ids, Mixed
from tasks.errors import UsageError
from tasks.math import MathTask
from treesearch.api import asolve
from treesearch.budget import Budget
from treesearch.engines.base import Engine, EngineError, FinishReason, Sample
from treesearch.engines.hf_load import load
from treesearch.engines.transformers import TransformersEngine
from treesearch.events import StopReason
from treesearch.policy import Policy

torch.set_num_threads(1)
Opened = Any


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    return load(str(write_llama(tmp_path_factory.mktemp("llama"))), device="cpu", dtype="auto")


@pytest.fixture
def opened(llama: tuple[Any, Any]) -> Iterator[Opened]:
    """Opens engines on the tiny llama, and closes them at the end."""
    engines: list[SteeredEngine] = []

    def make(value: Any = by_last, **given: Any) -> SteeredEngine:
        options = SteeringOptions(threads=1, device="cpu", **given)
        engines.append(SteeredEngine(*llama, value, options=options, source="tiny"))
        return engines[-1]

    yield make
    for engine in engines:
        asyncio.run(engine.close())


def test_it_is_an_engine_with_a_name_and_both_hashes(opened: Opened) -> None:
    engine = opened()
    assert isinstance(engine, Engine)
    assert (engine.name, engine.model, engine.max_context) == ("steered", "tiny", 160)


@pytest.mark.parametrize(
    ("value", "given"),
    [
        (by_last, {"beta": 0.0}),
        (lambda sequences: [0.7] * len(sequences), {"beta": 3.0}),
        (lambda sequences: [0.1] * len(sequences), {"beta": 7.0, "top_k": 308}),
    ],
    ids=["beta 0", "a constant value", "a constant value of every token"],
)
@pytest.mark.parametrize("changes", [{}, {"temperature": 0.0}, {"top_p": 0.7, "top_k": 9}], ids=str)
def test_without_a_value_that_differs_it_writes_what_the_plain_engine_writes(
    opened: Opened, llama: tuple[Any, Any], value: Any, given: dict[str, Any], changes: dict[str, Any]
) -> None:
    plain = TransformersEngine(*llama)
    wanted = sample(plain, 5, max_tokens=20, certainty=True, **changes)
    asyncio.run(plain.close())
    got = sample(opened(value, **given), 5, max_tokens=20, certainty=True, **changes)
    assert ids_of(got) == ids_of(wanted)
    for one, other in zip(got, wanted, strict=True):
        assert (one.text, one.finish) == (other.text, other.finish)
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)
        assert one.certainty == pytest.approx(other.certainty, abs=1e-4)


def test_a_value_draws_the_samples_its_way_and_more_so_the_larger_beta(opened: Opened) -> None:
    shares = []
    for beta in (0.0, 3.0, 50.0):
        tokens = [token for each in sample(opened(beta=beta), 8, max_tokens=20) for token in each.token_ids]
        shares.append(sum(token % 2 for token in tokens) / len(tokens))
    assert shares[0] < shares[1] < shares[2]


def test_the_first_token_follows_the_formula(opened: Opened, llama: tuple[Any, Any]) -> None:
    engine = opened(beta=2.0, top_k=6, others="drop")
    model, _ = llama
    with torch.inference_mode():
        logits = model(torch.tensor([prompt(engine)])).logits[:, -1]
    top = logits.topk(6, dim=-1).indices
    p = torch.softmax(steer(logits, top, 2.0 * (top % 2).double(), others="drop"), -1)[0]
    drawn = [each.token_ids[0] for each in sample(engine, 2000, max_tokens=1)]
    assert set(drawn) <= set(top[0].tolist())
    for token in top[0].tolist():
        share = drawn.count(token) / 2000
        assert share == pytest.approx(float(p[token]), abs=4 * math.sqrt(0.25 / 2000))


def test_log_probabilities_are_those_of_the_base_model_at_temperature_one(opened: Opened) -> None:
    engine = opened(beta=20.0)
    for got in sample(engine, 3, temperature=0.6):
        base = asyncio.run(engine.logprobs(prompt(engine), got.token_ids))
        assert got.logprobs == pytest.approx(base, abs=1e-4)
        assert max(got.logprobs) <= 0


@pytest.mark.parametrize("n", [1, 2, 5, 33])
def test_a_request_is_answered_with_exactly_n_samples_also_in_parts(opened: Opened, n: int) -> None:
    whole, parts = opened(), opened(max_sequences=4)
    assert len(sample(whole, n)) == n
    assert ids_of(sample(parts, n)) == ids_of(sample(whole, n))


def test_the_same_request_is_answered_the_same_another_seed_otherwise_and_a_smaller_one_first(
    opened: Opened,
) -> None:
    engine = opened()
    first = sample(engine, 6)
    assert ids_of(sample(engine, 6)) == ids_of(first)
    assert ids_of(sample(engine, 6, seed=4)) != ids_of(first)
    assert ids_of(first)[:2] == ids_of(sample(engine, 2))
    one, two = sample(engine, 2, temperature=0.0, seed=1)
    assert one.token_ids == two.token_ids == sample(engine, temperature=0.0, seed=2)[0].token_ids


@pytest.mark.parametrize("max_tokens", [1, 2, 30])
def test_a_sample_is_no_longer_than_asked_and_says_when_it_was_cut(opened: Opened, max_tokens: int) -> None:
    engine = opened()
    for got in sample(engine, 8, max_tokens=max_tokens):
        assert 1 <= len(got.token_ids) <= max_tokens
        assert len(got.logprobs) == len(got.token_ids)
        assert got.certainty == ()
        assert got.text == engine.tokenizer.decode(got.token_ids)
        assert (got.token_ids[-1] == engine.tokenizer.eos_token_id) == (got.finish is FinishReason.END)
        if got.finish is FinishReason.LENGTH:
            assert len(got.token_ids) == max_tokens


def test_a_row_that_ends_leaves_and_the_others_go_on_as_if_alone(opened: Opened) -> None:
    def likes_the_end(sequences: Sequence[Ids]) -> list[float]:
        return [float(ids[-1] == 1) for ids in sequences]

    how: dict[str, Any] = {"beta": 4.0, "top_k": 308}
    got = sample(opened(likes_the_end, **how), 12, max_tokens=25)
    assert FinishReason.END in {each.finish for each in got}
    assert len({len(each.token_ids) for each in got}) > 2
    alone = opened(likes_the_end, max_sequences=1, **how)
    assert ids_of(sample(alone, 12, max_tokens=25)) == ids_of(got)


def test_a_stop_string_ends_a_sample_and_stays_in_it(opened: Opened) -> None:
    engine = opened()
    free = sample(engine, temperature=0.0, max_tokens=30)[0]
    stop = free.text[3:5]
    got = sample(engine, temperature=0.0, max_tokens=30, stop=(stop, "never written"))[0]
    assert got.finish is FinishReason.STOP
    assert stop in got.text
    assert free.token_ids[: len(got.token_ids)] == got.token_ids
    assert stop not in engine.tokenizer.decode(got.token_ids[:-1])
    token = free.token_ids[2]
    cut = sample(engine, temperature=0.0, max_tokens=30, stop_token_ids=(token,))[0]
    assert (cut.finish, cut.token_ids[-1]) == (FinishReason.STOP, token)


@pytest.mark.parametrize(("changes", "each"), [({}, 21), ({"top_k": 3}, 4), ({"beta": 0.0}, 1)])
def test_usage_counts_requests_prompts_once_and_what_is_written_with_what_the_value_read(
    opened: Opened, changes: dict[str, Any], each: int
) -> None:
    engine = opened(**changes)
    got = sample(engine, 5)
    written = sum(len(one.token_ids) for one in got)
    assert engine.usage.requests == 1
    assert engine.usage.prompt_tokens == len(prompt(engine))
    assert engine.tokens_each == each
    assert engine.usage.generated_tokens == got[0].generated_tokens == written * each


@pytest.mark.parametrize("algorithm", ["best-of-n", "beam", "mcts", "best-first", "dvts"])
def test_what_the_value_reads_is_on_the_budget_of_a_search(opened: Opened, algorithm: str) -> None:
    engine = opened(top_k=3)
    policy = Policy(engine=engine, task=MathTask())
    found = asyncio.run(
        asolve("1 + 1?", policy=policy, algorithm=algorithm, value="none", budget=Budget(tokens=203))
    )
    written = sum(len(node.step.token_ids) for node in found.tree.nodes if node.step is not None)
    assert 4 * written <= found.usage.generated_tokens <= 203
    assert found.usage.generated_tokens % 4 == 0
    assert engine.usage.generated_tokens == found.usage.generated_tokens
    if found.stop_reason is StopReason.BUDGET_TOKENS:
        assert found.usage.generated_tokens > 203 - 4


def test_many_requests_at_once_are_each_answered_as_if_alone(opened: Opened) -> None:
    engine = opened()
    texts = [f"Tom has {number} apples.\n" for number in range(6)]

    async def together() -> list[list[Sample]]:
        return await asyncio.gather(*(engine.sample(prompt(engine, text), 1, PARAMS) for text in texts))

    got = asyncio.run(together())
    for text, found in zip(texts, got, strict=True):
        assert ids_of(found) == ids_of(sample(engine, text=text))


def test_a_cancelled_request_frees_the_engine_at_once_and_what_it_wrote_is_counted(opened: Opened) -> None:
    calls = 0
    started = asyncio.Event()

    async def run() -> list[Sample]:
        loop = asyncio.get_running_loop()

        def counting(sequences: Sequence[Ids]) -> list[float]:
            nonlocal calls
            calls += 1
            if calls == 3:
                loop.call_soon_threadsafe(started.set)
            return by_last(sequences)

        engine = opened(counting)
        long = replace(PARAMS, max_tokens=140)
        first = asyncio.ensure_future(engine.sample(prompt(engine), 1, long))
        second = asyncio.ensure_future(engine.sample(prompt(engine), 1, long))
        third = asyncio.ensure_future(engine.sample(prompt(engine), 2, PARAMS))
        await started.wait()
        first.cancel()
        second.cancel()
        done = await asyncio.gather(first, second, third, return_exceptions=True)
        assert [isinstance(each, asyncio.CancelledError) for each in done] == [True, True, False]
        assert 3 * engine.tokens_each <= engine.usage.generated_tokens < 140 * engine.tokens_each
        assert not engine._open
        return done[2]

    assert len(asyncio.run(run())) == 2


def test_closing_fails_open_requests_and_later_ones(opened: Opened) -> None:
    engine = opened()

    async def run() -> list[Any]:
        long = replace(PARAMS, max_tokens=140)
        jobs = [asyncio.ensure_future(engine.sample(prompt(engine), 4, long)) for _ in range(3)]
        await asyncio.sleep(0.01)
        await engine.close()
        return await asyncio.gather(*jobs, return_exceptions=True)

    assert all(isinstance(each, EngineError) and "closed" in str(each) for each in asyncio.run(run()))
    with pytest.raises(EngineError, match="closed"):
        sample(engine)


def test_what_cannot_be_asked_is_refused(opened: Opened) -> None:
    engine = opened()
    long = prompt(engine, "1 + 1 = 2\n" * 60)
    with pytest.raises(EngineError, match="160"):
        asyncio.run(engine.sample(long, 1, PARAMS))
    with pytest.raises(EngineError, match="160"):
        asyncio.run(engine.logprobs(long, [5]))
    with pytest.raises(EngineError, match="vocabulary of 308"):
        asyncio.run(engine.sample([999], 1, PARAMS))
    for wrong in ({"max_tokens": 0}, {"temperature": -1.0}, {"top_p": 0.0}, {"top_k": -1}, {"stop": ("",)}):
        with pytest.raises(UsageError, match=next(iter(wrong)).split("_")[0]):
            sample(engine, **wrong)
    with pytest.raises(UsageError, match="n must be"):
        sample(engine, 0)
    assert asyncio.run(engine.logprobs(prompt(engine), [])) == []
    assert len(asyncio.run(engine.sample([], 1, PARAMS))) == 1
    near = prompt(engine, "1 + 1 = 2\n" * 15)[:157]
    (cut,) = asyncio.run(engine.sample(near, 1, replace(PARAMS, max_tokens=50)))
    assert len(cut.token_ids) <= 160 - len(near)


def test_a_value_that_fails_or_gives_nonsense_fails_its_request_alone(opened: Opened) -> None:
    mood: list[Any] = [lambda ids: 1 / 0]
    engine = opened(lambda sequences: [mood[0](ids) for ids in sequences])
    with pytest.raises(EngineError, match="ZeroDivisionError"):
        sample(engine)
    mood[0] = lambda ids: math.nan
    with pytest.raises(EngineError, match="not finite"):
        sample(engine)
    mood[0] = lambda ids: 1.0
    assert len(sample(engine)) == 1
    with pytest.raises(UsageError, match="one number a sequence"):
        sample(opened(lambda sequences: [1.0]))


def test_several_values_are_composed_by_their_weights(opened: Opened) -> None:
    def other(sequences: Sequence[Ids]) -> list[float]:
        return [ids[-1] % 5 / 5 for ids in sequences]

    def both(sequences: Sequence[Ids]) -> list[float]:
        return [one + 0.5 * two for one, two in zip(by_last(sequences), other(sequences), strict=True)]

    mixed = Mixed([(1.0, FunctionValue(by_last)), (0.5, FunctionValue(other))])
    assert ids_of(sample(opened(mixed), 6)) == ids_of(sample(opened(both), 6))
