"""`self-reward`: one token behind the end of a solution, one request, one value token."""

from __future__ import annotations

import asyncio
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_worlds import WALK
from values_worlds import PLENTY, ReadingEngine, done, policy_for, score, step, values

from prm.values.self_reward import SelfReward
from tasks.errors import UsageError
from treesearch.budget import Cost, Usage
from treesearch.engines.base import EngineError, FinishReason
from treesearch.events import Step
from treesearch.values.base import Path

VALUE = SelfReward(token="@")


@settings(deadline=None)
@given(st.floats(-40, 0), st.floats(0.01, 2), st.floats(-40, 0))
def test_the_value_is_beta_times_the_log_probability_less_its_reference(
    logprob: float, beta: float, c_ref: float
) -> None:
    engine = ReadingEngine(logprob=lambda prompt, completion: logprob)
    value = SelfReward(token="@", beta=beta, c_ref=c_ref)
    assert values(score(value, [done("3")], policy_for(engine))) == [
        pytest.approx(beta * (logprob - c_ref), abs=1e-6)
    ]


def test_the_token_is_read_behind_the_end_of_text_and_costs_one_value_token_and_one_call() -> None:
    seen: list[tuple[tuple[int, ...], tuple[int, ...]]] = []

    class Ids(ReadingEngine):
        async def logprobs(self, prompt_ids, completion_ids) -> list[float]:
            seen.append((tuple(prompt_ids), tuple(completion_ids)))
            return await super().logprobs(prompt_ids, completion_ids)

    policy = policy_for(Ids())
    path = done("3")
    usage = score(VALUE, [path], policy).usage
    ((prompt, completion),) = seen
    assert prompt == tuple(policy.prompt_ids(WALK, path))
    assert prompt[-1] == policy.engine.tokenizer.eos_token_id
    assert completion == (ord("@") + 8,)
    assert usage == Usage(value_tokens=1, prompt_tokens=len(prompt), calls=1)


def test_an_end_of_text_token_that_the_back_end_hid_is_put_back() -> None:
    engine = ReadingEngine()
    hidden = Step("#### 3", tuple(engine.tokenizer.encode("#### 3")), (-0.1,) * 6, FinishReason.END)
    policy = policy_for(engine)
    assert (
        score(VALUE, [(hidden,)], policy).usage.prompt_tokens == len(policy.prompt_ids(WALK, (hidden,))) + 1
    )


def test_only_finished_paths_are_asked_about() -> None:
    engine = ReadingEngine()
    got = score(
        VALUE, [(step("a\n"),), done("3"), (), (step("cut", FinishReason.LENGTH),)], policy_for(engine)
    )
    assert [value is None for value in values(got)] == [True, False, True, True]
    assert len(engine.read) == 1


@settings(max_examples=60, deadline=None)
@given(tokens=st.integers(0, 6), calls=st.integers(0, 6), finished=st.lists(st.booleans(), max_size=6))
def test_it_stays_inside_its_grant_and_gives_one_score_a_path(
    tokens: int, calls: int, finished: list[bool]
) -> None:
    engine = ReadingEngine(disorder=1)
    paths: list[Path] = [done(str(at)) if end else (step("x\n"),) for at, end in enumerate(finished)]
    policy = policy_for(engine)
    got = score(VALUE, paths, policy, grant=Cost(tokens=tokens, calls=calls))
    assert len(got.scores) == len(paths)
    assert got.usage.tokens == got.usage.calls == len(engine.read) <= min(tokens, calls)
    assert len(engine.read) == min(tokens, calls, sum(finished))
    cost = VALUE.cost(policy, (), len(paths))
    assert score(VALUE, paths, policy_for(), grant=cost) == score(VALUE, paths, policy_for(), grant=PLENTY)


def test_the_token_is_a_text_of_one_token_or_an_id() -> None:
    tokenizer = ReadingEngine().tokenizer
    assert SelfReward(token="@").token_id(tokenizer) == ord("@") + 8
    assert SelfReward(token="77").token_id(tokenizer) == 77
    with pytest.raises(UsageError, match=r"makes 16 of '<\|vision_start\|>'"):
        SelfReward().token_id(tokenizer)
    with pytest.raises(UsageError, match=r"value\.token"):
        asyncio.run(SelfReward().load(policy_for()))


def test_an_engine_that_scores_no_given_text_is_refused_when_the_search_begins() -> None:
    engine = ReadingEngine(fails="the server cannot score a given text")
    with pytest.raises(UsageError, match=r"self-reward needs.*cannot score a given text"):
        asyncio.run(VALUE.load(policy_for(engine)))
    assert asyncio.run(VALUE.load(policy_for())) is VALUE


def test_a_failure_is_raised_and_no_request_is_left_running() -> None:
    engine = ReadingEngine(fails="down", disorder=2)
    with pytest.raises(EngineError, match="down"):
        score(VALUE, [done("1"), done("2"), done("3")], policy_for(engine))
    assert engine.active == 0


def test_cancelling_leaves_no_request_running() -> None:
    engine = ReadingEngine(disorder=3)

    async def cancelled() -> None:
        paths = [done(str(number)) for number in range(5)]
        job = asyncio.ensure_future(
            VALUE.score(policy_for(engine), WALK, paths, grant=PLENTY, seed=0, known=0)
        )
        while not engine.active:
            await asyncio.sleep(0)
        job.cancel()
        await asyncio.wait([job])
        assert job.cancelled()

    asyncio.run(cancelled())
    assert engine.active == 0


@pytest.mark.parametrize("wrong", [{"token": ""}, {"beta": 0}, {"beta": float("inf")}, {"c_ref": 1.0}])
def test_a_wrong_setting_is_refused_by_name(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        SelfReward(**wrong)  # type: ignore[arg-type]


def test_it_is_frozen_and_no_oracle() -> None:
    assert not VALUE.oracle(policy_for())
    with pytest.raises(FrozenInstanceError):
        VALUE.beta = 1.0  # type: ignore[misc]


def test_a_real_engine_gives_the_log_probability_of_the_token_behind_the_end(tmp_path) -> None:
    pytest.importorskip("transformers")
    import torch
    from tiny_models import write_llama
    from transformers import AutoModelForCausalLM

    from treesearch.engines.transformers import TransformersEngine

    folder = str(write_llama(tmp_path))
    engine = TransformersEngine.open(folder, device="cpu", threads=1)
    policy = policy_for(engine)
    ids = (*engine.tokenizer.encode("#### 5"), 1)
    path = (Step("#### 5", ids, (-1.0,) * len(ids), FinishReason.END, None, "5", "5"),)
    value = SelfReward(token="<pad>", beta=0.5, c_ref=-10.0)

    async def both() -> float | None:
        try:
            loaded = await value.load(policy)
            scores = await loaded.score(policy, WALK, [path], grant=PLENTY, seed=0, known=0)
            return scores.scores[0].value
        finally:
            await engine.close()

    got = asyncio.run(both())
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.inference_mode():
        logits = model(torch.tensor([policy.prompt_ids(WALK, path)])).logits[0, -1]
    assert got == pytest.approx(0.5 * (float(logits.log_softmax(-1)[2]) + 10), abs=1e-4)
