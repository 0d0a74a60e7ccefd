"""`judge` in a search: grants, costs, determinism, cancellation; settings, opening and closing."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judge_worlds import (
    MODES,
    PATHS,
    Meta,
    by_digit,
    grading,
    mixed_script,
    opened,
    shown,
)
from toy_worlds import SCENARIOS, WALK, UnrulyEngine, run, search, tree_bytes, variants
from values_worlds import PLENTY, ReadingEngine, done, policy_for, score, step, values

from prm.registry import ScorerSettings, scorer_hash
from prm.values.judge import Judge, OpenJudge
from prm.values.judge_bench import Price, share
from prm.values.judge_prompt import prompt_ids, verdict_prompt, word_ids
from tasks.errors import UsageError
from treesearch.budget import Budget, Cost
from treesearch.engines.base import EngineError, Sample, SamplingParams
from treesearch.tree import Tree
from treesearch.values.base import Path

# -- grants, costs, determinism, cancellation ---------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(
    given=st.sampled_from(MODES),
    tokens=st.one_of(st.integers(0, 60), st.integers(0, 400)),
    calls=st.integers(0, 12),
    count=st.integers(0, 4),
    seed=st.integers(0, 99),
)
def test_it_stays_inside_any_grant_gives_one_score_a_path_and_repeats_itself(
    given: dict[str, Any], tokens: int, calls: int, count: int, seed: int
) -> None:
    found = []
    for disorder in (None, seed):
        engine = ReadingEngine(script=mixed_script, disorder=disorder)
        judge = opened(engine, ranked_by=Meta() if "meta" in given else None, **given)
        got = score(judge, PATHS[:count], grant=Cost(tokens=tokens, calls=calls), seed=seed)
        found.append(got)
        assert len(got.scores) == count
        assert got.usage.tokens <= tokens
        assert got.usage.calls <= calls
        assert got.usage.generated_tokens == 0
        assert engine.usage.requests + len(engine.read) <= got.usage.calls
        assert all(value is None or 0 <= value <= 1 for value in values(got))
        if "meta" not in given:
            words = 7 * len(engine.read) // 2
            assert engine.usage.generated_tokens + words == got.usage.value_tokens
            assert engine.usage.requests + len(engine.read) == got.usage.calls
    assert found[0] == found[1]


@pytest.mark.parametrize("given", MODES, ids=lambda given: "-".join(map(str, given.values())))
def test_the_announced_cost_is_never_passed_and_covers_all(given: dict[str, Any]) -> None:
    def judge() -> OpenJudge:
        return opened(
            ReadingEngine(script=mixed_script), ranked_by=Meta() if "meta" in given else None, **given
        )

    cost = judge().cost(policy_for(), (), len(PATHS))
    assert score(judge(), PATHS, grant=cost) == score(judge(), PATHS, grant=PLENTY)
    if "meta" not in given:
        assert Judge(**given).cost(policy_for(), (), len(PATHS)) == cost


def test_what_is_left_buys_fewer_judgements_rather_than_shorter_ones() -> None:
    price = Price(rate=1, extra=7, calls=2, once=1)
    assert price.most(3, 30) == Cost(tokens=3 * 37, calls=7)
    assert price.most(0, 0) == Cost()
    assert price.affordable(Cost(tokens=200, calls=99), 3, 30) == (3, 30)
    assert price.affordable(Cost(tokens=80, calls=99), 3, 30) == (2, 30)
    assert price.affordable(Cost(tokens=20, calls=99), 3, 30) == (1, 13)
    assert price.affordable(Cost(tokens=7, calls=99), 3, 30) == (0, 0)
    assert price.affordable(Cost(tokens=200, calls=4), 3, 30) == (1, 30)
    assert price.affordable(Cost(tokens=200, calls=2), 3, 30) == (0, 0)
    assert price.affordable(Cost(tokens=200, calls=0), 3, 30) == (0, 0)


def test_another_seed_draws_other_judgements() -> None:
    engine = ReadingEngine(script=grading(by_digit, noise=1))
    got = {tuple(values(score(opened(engine, mode="grades"), PATHS[:3], seed=seed))) for seed in range(6)}
    assert len(got) > 1


@pytest.mark.parametrize("given", MODES[:3], ids=lambda given: given["mode"])
def test_cancelling_leaves_no_request_running(given: dict[str, Any]) -> None:
    for moment in range(12):
        engine = ReadingEngine(script=mixed_script, disorder=moment)

        async def cancelled(engine: ReadingEngine = engine, moment: int = moment) -> None:
            judge = opened(engine, **given)
            job = asyncio.ensure_future(judge.score(policy_for(), WALK, PATHS, grant=PLENTY, seed=0, known=0))
            for _ in range(moment + 1):
                await asyncio.sleep(0)
            job.cancel()
            await asyncio.wait([job])
            assert job.cancelled() or job.result()

        asyncio.run(cancelled())
        assert engine.active == 0


@pytest.mark.parametrize("name", ["beam", "mcts", "best-first", "best-of-n"])
@settings(max_examples=15, deadline=None)
@given(data=st.data(), tokens=st.integers(1, 1200), seed=st.integers(0, 10**6))
def test_a_search_keeps_its_budget_by_the_engine_s_own_count_and_goes_on_from_any_prefix(
    name: str, data: st.DataObject, tokens: int, seed: int
) -> None:
    def script(prompt: str, at: int) -> str:
        if "Scores:" not in prompt:
            return SCENARIOS["no value"].script(prompt, at)
        return mixed_script(prompt, at) if len(shown(prompt)) < 5 else "too many"

    algorithm = data.draw(st.sampled_from(variants(name, in_flight=data.draw(st.integers(1, 6)))))
    value = Judge(mode="grades", k=2, max_tokens=40, group=4)
    scenario = replace(SCENARIOS["no value"], value=value, script=script)
    budget = Budget(tokens=tokens)
    whole, records, engine = search(scenario, algorithm, budget, seed=seed)
    assert engine.usage.generated_tokens <= tokens
    if not whole.cancelled:
        assert engine.usage.generated_tokens == whole.usage.tokens
        assert engine.usage.prompt_tokens == whole.usage.prompt_tokens
        assert engine.usage.requests == whole.usage.calls
    end = data.draw(st.integers(0, len(records)))
    tree = Tree.fold(scenario.problem, records[:end], seed=seed, budget=budget)
    run(algorithm, tree, scenario.policy(UnrulyEngine(disorder=seed)), value)
    assert tree_bytes(tree) == tree_bytes(whole)


# -- settings, opening and closing --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"mode": "vote"}, "value.mode"),
        ({"k": 0}, r"value\.k must"),
        ({"mode": "verdict", "k": 2}, r"value\.k=2; use mode=critique"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"group": 0}, "group"),
        ({"temperature": -1.0}, "temperature"),
        ({"positive": "Yes", "negative": "yes "}, "positive"),
        ({"positive": ""}, "positive"),
        ({"mode": "grades", "meta": "x"}, "k_meta"),
        ({"mode": "grades", "k": 2, "k_meta": 1}, "meta"),
        ({"mode": "grades", "k": 2, "k_meta": 3, "meta": "x"}, "k_meta must be in 0..k"),
        ({"mode": "critique", "k": 2, "k_meta": 1, "meta": "x"}, "mode=grades"),
        ({"engine_settings": "device"}, "KEY=VALUE"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Judge(**wrong)


def test_a_judge_of_its_own_model_does_not_score_before_it_is_loaded() -> None:
    with pytest.raises(UsageError, match="holds no model yet"):
        score(Judge(model="somewhere"), [done("3")])
    assert not Judge().oracle(policy_for())


def test_an_engine_that_scores_no_given_text_is_refused_for_verdicts_and_does_for_grades() -> None:
    policy = policy_for(ReadingEngine(fails="the server cannot score a given text"))
    with pytest.raises(UsageError, match="judge, mode verdict, needs"):
        asyncio.run(Judge().load(policy))
    assert asyncio.run(Judge(mode="grades").load(policy)).bench.engine is policy.engine


def test_the_policy_s_own_model_judges_by_default_and_is_left_open() -> None:
    class Closes(ReadingEngine):
        async def close(self) -> None:
            raise AssertionError("not the judge's to close")

    policy = policy_for(Closes())
    loaded = asyncio.run(Judge().load(policy))
    assert loaded.bench.engine is policy.engine
    asyncio.run(loaded.close())
    assert loaded.model_hash == ""
    assert loaded.name == "judge"


def test_another_model_is_opened_with_its_settings_and_closed_again() -> None:
    judge = Judge(mode="grades", model="other", engine="scripted", engine_settings="latency_s=0.0,seed=7")
    policy = policy_for()
    loaded = asyncio.run(judge.load(policy))
    assert loaded.bench.engine is not policy.engine
    assert (loaded.bench.engine.name, loaded.bench.engine.model) == ("scripted", "other")
    closed: list[str] = []

    async def note() -> None:
        closed.append("engine")

    loaded.bench.engine.close = note  # type: ignore[method-assign]
    loaded.bench.meta = meta = Meta()
    asyncio.run(loaded.close())
    assert (closed, meta.closed) == (["engine"], 1)
    with pytest.raises(UsageError, match="latency"):
        asyncio.run(replace(judge, engine_settings="latencys=1").load(policy))


def test_where_the_scalar_model_cannot_be_opened_the_judge_is_closed_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tasks.errors import SearchError
    from treesearch.engines.scripted import ScriptedEngine

    closed: list[str] = []

    async def note(self: ScriptedEngine) -> None:
        closed.append(self.model)

    monkeypatch.setattr(ScriptedEngine, "close", note)
    judge = Judge(
        mode="grades",
        k=2,
        k_meta=1,
        meta="/nowhere/at/all",
        meta_settings="family=math-shepherd",
        model="other",
        engine="scripted",
    )
    with pytest.raises(SearchError, match="/nowhere/at/all"):
        asyncio.run(judge.load(policy_for()))
    assert closed == ["other"]


def test_its_hash_is_of_the_scalar_model_too() -> None:
    given = {"mode": "grades", "k": 2, "k_meta": 1, "meta": "embedded"}
    judge = opened(ReadingEngine(), ranked_by=Meta(), **given)
    assert judge.model_hash == "+" + scorer_hash("embedded", ScorerSettings())


def test_a_failing_judge_fails_the_score() -> None:
    class Broken(ReadingEngine):
        async def sample(self, prompt_ids: Any, n: int, params: SamplingParams) -> list[Sample]:
            raise EngineError("down")

    with pytest.raises(EngineError, match="down"):
        score(opened(Broken(), mode="grades", k=3), PATHS)


def test_a_server_s_own_count_of_the_prompt_is_what_is_counted() -> None:
    class Billed(ReadingEngine):
        async def sample(self, prompt_ids: Any, n: int, params: SamplingParams) -> list[Sample]:
            found = await super().sample(prompt_ids, n, params)
            return [replace(sample, prompt_tokens=5) for sample in found]

    engine = Billed(script=grading(by_digit))
    assert score(opened(engine, mode="grades", k=3), PATHS).usage.prompt_tokens == 15


def test_a_judge_on_a_real_model_reads_its_own_log_probabilities(tmp_path) -> None:
    pytest.importorskip("transformers")
    import torch
    from tiny_models import write_qwen
    from transformers import AutoModelForCausalLM

    from treesearch.engines.transformers import TransformersEngine

    folder = str(write_qwen(tmp_path))
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    engine = TransformersEngine.open(folder, device="cpu", threads=1)
    engine.max_context = 2000  # the tiny model's positions go on without end
    path: Path = (step("x\n"),)
    judge = Judge()
    policy = policy_for(engine)

    async def judged() -> float | None:
        try:
            ready = await judge.load(policy)
            got = await ready.score(policy, WALK, [path], grant=PLENTY, seed=0, known=0)
            return got.scores[0].value
        finally:
            await engine.close()

    got = asyncio.run(judged())
    user = verdict_prompt(WALK, path, positive="yes", negative="no")
    prompt = prompt_ids(engine.tokenizer, user, "Verdict:")
    sums = []
    for word in ("yes", "no"):
        ids = word_ids(engine.tokenizer, word)
        with torch.inference_mode():
            logits = loaded(torch.tensor([[*prompt, *ids]])).logits[0].log_softmax(-1)
        sums.append(sum(float(logits[len(prompt) - 1 + at, token]) for at, token in enumerate(ids)))
    assert got == pytest.approx(share(*sums), abs=1e-4)
