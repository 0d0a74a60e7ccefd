"""Samples without replacement: the right distribution, none twice, and honest counts."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from dataclasses import replace

import pytest
import torch
from tiny_models import write_llama

from tasks.base import Problem
from tasks.errors import UsageError
from tasks.math import MathTask
from treesearch.algorithms.sampling import Greedy
from treesearch.api import fit_policy
from treesearch.engines.base import FinishReason, Sample, SamplingParams
from treesearch.engines.hf_distinct import Beams
from treesearch.engines.hf_sampling import kept
from treesearch.engines.scripted import ScriptedEngine
from treesearch.engines.transformers import TransformersEngine
from treesearch.policy import Policy, PolicyConfig
from treesearch.values.free import LogProb

DEPTH, TOKENS = 3, 3
PARAMS = SamplingParams(max_tokens=10, seed=3, distinct=True)


def next_logits(prefix: tuple[int, ...]) -> torch.Tensor:
    """Any fixed distribution over three tokens for each prefix."""
    return torch.randn(TOKENS, generator=torch.Generator().manual_seed(hash(prefix) % 1000)) * 1.5


def drawn(n: int, seed: int, **changes: object) -> list[tuple[int, ...]]:
    """Texts of three tokens, or of one where it is token 0, from `Beams` alone."""
    params = replace(PARAMS, seed=seed, **changes)
    beams = Beams(n, params)
    texts: dict[int, tuple[int, ...]] = {0: ()}
    while not beams.complete:
        moves = beams.advance(torch.stack([next_logits(texts[slot]) for slot in beams.slots]))
        texts = {move.slot: (*texts[move.source], move.token) for move in moves}
        for slot, text in texts.items():
            if text == (0,) or len(text) == DEPTH:
                beams.finish(
                    slot,
                    Sample(token_ids=text, text="", logprobs=(0.0,) * len(text), finish=FinishReason.STOP),
                )
    return [sample.token_ids for sample in beams.samples()]


def probabilities(temperature: float = 1.0) -> dict[tuple[int, ...], float]:
    """Of every text that `drawn` can give."""
    texts = [(0,), *(text for text in itertools.product(range(TOKENS), repeat=DEPTH) if text[0])]
    found = {}
    for text in texts:
        logp = [
            torch.log_softmax(next_logits(text[:i]) / temperature, -1)[token] for i, token in enumerate(text)
        ]
        found[text] = float(torch.stack(logp).sum().exp())
    return found


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_draws_are_those_of_sampling_until_something_new_comes(temperature):
    chances, seeds = probabilities(temperature), 3000
    assert sum(chances.values()) == pytest.approx(1.0)
    first, second = Counter[tuple[int, ...]](), Counter[tuple[int, ...]]()
    for seed in range(seeds):
        one, two, _ = drawn(3, seed, temperature=temperature)
        first[one] += 1
        second[two] += 1
    for text, chance in chances.items():
        after = sum(p * chance / (1 - p) for other, p in chances.items() if other != text)
        for count, expected in ((first[text], chance), (second[text], after)):
            spread = (expected * (1 - expected) / seeds) ** 0.5
            assert abs(count / seeds - expected) < 4.5 * spread, text


def test_all_texts_come_once_where_more_are_asked_for_than_there_are():
    found = drawn(40, seed=1)
    assert sorted(found) == sorted(probabilities())


def test_top_k_and_top_p_leave_texts_out():
    assert len(drawn(8, seed=1, top_k=1)) == 1
    assert drawn(8, seed=1, top_k=1) == drawn(8, seed=1, top_p=1e-6)
    logits = torch.tensor([[0.0, 3.0, 1.0, 2.0]])
    assert kept(logits, 2, 1.0).isinf().tolist() == [[True, False, True, False]]
    shares = torch.softmax(logits, -1)[0]
    assert kept(logits, 0, float(shares[1]) + 0.01).isinf().tolist() == [[True, False, True, False]]
    assert torch.equal(kept(logits, 0, 1.0), logits)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    torch.set_num_threads(1)
    opened = TransformersEngine.open(
        str(write_llama(tmp_path_factory.mktemp("llama"))), device="cpu", max_sequences=24
    )
    yield opened
    asyncio.run(opened.close())


def sample(engine, n: int, text: str = "Tom has 12 apples.\n", **changes: object) -> list[Sample]:
    ids = engine.tokenizer.encode(text, special=True)
    return asyncio.run(engine.sample(ids, n, replace(PARAMS, **changes)))


def test_samples_differ_and_their_log_probabilities_are_the_models(engine):
    ids = engine.tokenizer.encode("Tom has 12 apples.\n", special=True)
    found = sample(engine, 12)
    assert len({one.token_ids for one in found}) == 12
    for one in found:
        assert one.text == engine.tokenizer.decode(one.token_ids)
        again = asyncio.run(engine.logprobs(ids, one.token_ids))
        assert one.logprobs == pytest.approx(again, abs=1e-4)


def test_a_request_does_not_depend_on_what_runs_beside_it(engine):
    alone = [one.token_ids for one in sample(engine, 6, stop=("a",))]
    ids = engine.tokenizer.encode("Tom has 12 apples.\n", special=True)
    params = replace(PARAMS, stop=("a",))

    async def crowd():
        plain = replace(params, distinct=False, max_tokens=7)
        beside = [engine.sample(ids[:-1], 5, plain), engine.sample(ids[:-2], 7, replace(params, seed=9))]
        return (await asyncio.gather(beside[0], engine.sample(ids, 6, params), beside[1]))[1]

    assert [one.token_ids for one in asyncio.run(crowd())] == alone


def test_what_was_given_up_is_counted_and_only_that(engine):
    before = engine.usage.generated_tokens
    found = sample(engine, 9, stop=("a", "e", "o"))
    assert found[0].generated_tokens == engine.usage.generated_tokens - before
    assert [one.generated_tokens for one in found[1:]] == [None] * 8
    assert found[0].generated_tokens <= 9 * max(len(one.token_ids) for one in found)


def test_self_certainty_is_that_of_each_samples_own_tokens(engine):
    for one in sample(engine, 6, certainty=True):
        assert len(one.certainty) == len(one.token_ids)
    plain = sample(engine, 1, certainty=True, temperature=1e-4)[0]
    likeliest = sample(engine, 6, certainty=True, temperature=1e-4)[0]
    assert likeliest.token_ids == plain.token_ids
    assert likeliest.certainty == pytest.approx(plain.certainty, abs=1e-4)


def test_more_than_fit_and_greedy_ones_are_refused(engine):
    with pytest.raises(UsageError, match="max_sequences is 24"):
        sample(engine, 25)
    with pytest.raises(UsageError, match="temperature above 0"):
        sample(engine, 2, temperature=0.0)
    with pytest.raises(UsageError, match=r"policy\.temperature above 0"):
        PolicyConfig(distinct=True, temperature=0.0)


def test_a_policy_asks_for_different_steps_and_for_independent_solutions(engine):
    problem = Problem(id="p", task="math", question="Tom has 12 apples.", gold="12")
    policy = Policy(engine=engine, task=MathTask(), config=PolicyConfig(distinct=True, temperature=1.0))
    reply = asyncio.run(policy.propose(problem, (), 8, max_tokens=5, seed=0))
    assert len({chain[0].token_ids for chain in reply.chains}) == 8
    whole = asyncio.run(policy.complete(problem, (), 8, max_tokens=5, seed=0))
    plain = replace(PARAMS, distinct=False, seed=0, max_tokens=5)
    expected = asyncio.run(engine.sample(policy.prompt_ids(problem), 8, plain))
    assert [tuple(i for s in chain for i in s.token_ids) for chain in whole.chains] == [
        one.token_ids for one in expected
    ]


def test_an_engine_that_cannot_is_named_before_the_search():
    policy = Policy(engine=ScriptedEngine(), task=MathTask(), config=PolicyConfig(distinct=True))
    with pytest.raises(UsageError, match="engine 'scripted' cannot sample without replacement"):
        fit_policy(policy, Greedy(), LogProb())
    with pytest.raises(UsageError, match="engine 'scripted'"):
        asyncio.run(policy.engine.sample([1], 2, PARAMS))


def test_a_cancelled_request_gives_its_rows_back(engine):
    ids = engine.tokenizer.encode("Tom has 12 apples.\n", special=True)

    async def cancelled():
        task = asyncio.create_task(engine.sample(ids, 24, replace(PARAMS, max_tokens=200)))
        await asyncio.sleep(0.05)
        task.cancel()
        return await engine.sample(ids, 24, PARAMS)

    assert len({one.token_ids for one in asyncio.run(cancelled())}) == 24
