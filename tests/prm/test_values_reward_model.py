"""`prm` and `embedded` as values of a search: what they ask, count and give, under every algorithm."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prm_models import CHATML, byte_level, write_causal
from toy_worlds import ALGORITHMS, SCENARIOS, WALK, UnrulyEngine, run, search, variants

from prm.aggregates import aggregate
from prm.conventions import find as find_convention
from prm.registry import ScorerSettings, embedded_folder, open_scorer, scorer_hash
from prm.scoring.base import StepScores
from prm.scoring.generative import GenerativeScorer, JudgeOptions
from prm.values import reward_model
from prm.values.reward_model import LoadedPRM, PRMValue
from tasks.base import Problem
from tasks.errors import UsageError
from treesearch.atomic import write_json
from treesearch.budget import Budget, Cost
from treesearch.engines.base import EngineError, EngineUsage, FinishReason, Sample, SamplingParams
from treesearch.engines.hf_tokenizer import HFTokenizer
from treesearch.events import Step
from treesearch.registry import find, summary
from treesearch.tree import Tree

PLENTY = Cost(tokens=10**6, calls=10**6, nodes=10**6)
SCENARIO = SCENARIOS["log-probability"]
HEAD = 7


def step(text: str, finish: FinishReason = FinishReason.STOP) -> Step:
    return Step(text, tuple(map(ord, text)), (-0.1,) * len(text), finish)


TOKENIZER = byte_level(template=CHATML)
PATH = (step("3 + 4 = 7.\n"), step("The answer is 7.\n"))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Folders of two models with one tokenizer."""
    made = tmp_path_factory.mktemp("pair")
    return [str(write_causal(made / str(seed), TOKENIZER, kind="qwen2", seed=seed)) for seed in (1, 2)]


def open_pair(model: str, reference: str, **given: Any) -> Any:
    """The log-ratio of two models in this process."""
    how = {"device": "cpu", "dtype": "float32", "threads": 1, "family": "eurusprm"}
    return open_scorer(model, {**how, "reference": reference, **given})


def read_by_both(scorer: Any, texts: list[str]) -> int:
    """Tokens that the models of a scorer which holds nothing yet really read."""
    return asyncio.run(scorer.score(WALK.question, texts)).tokens


class Reader:
    """Scores steps by their text; a question is `HEAD` tokens, a step its characters and two more."""

    name = "reader"
    max_context = 10**6

    def __init__(self) -> None:
        self.asked: list[tuple[str, tuple[str, ...]]] = []
        self.fails_with = ""

    def sizes(self, question: str, steps: Sequence[str]) -> list[int]:
        return [HEAD, *(len(step) + 2 for step in steps)]

    async def score(self, question: str, steps: Sequence[str]) -> StepScores:
        self.asked.append((question, tuple(steps)))
        await asyncio.sleep(0)
        if self.fails_with:
            raise EngineError(self.fails_with)
        scores = tuple(zlib.crc32(f"{question}{step}".encode()) % 1001 / 1000 for step in steps)
        return StepScores(scores, 999)

    async def close(self) -> None:
        return None


def loaded(scorer: Any = None, **given: Any) -> LoadedPRM:
    value = PRMValue(prm="somewhere", **given)
    return LoadedPRM(settings=value, scorer=scorer or Reader(), policy=SCENARIO.policy())


def score(value: LoadedPRM, paths: list[tuple[Step, ...]], *, grant: Cost = PLENTY, known: int = 0) -> Any:
    policy = SCENARIO.policy()
    return asyncio.run(value.score(policy, WALK, paths, grant=grant, seed=0, known=known))


def test_it_needs_a_model_and_names_the_nearest_aggregate() -> None:
    with pytest.raises(UsageError, match=r"value\.prm=FOLDER_OR_HUB_ID"):
        PRMValue()
    with pytest.raises(UsageError, match="did you mean 'last'"):
        PRMValue(prm="x", aggregate="lst")
    with pytest.raises(UsageError, match="aggregate"):
        PRMValue(prm="x", aggregate="mean_logit")  # it may be infinite
    assert find("value", "prm") is PRMValue
    assert summary("value", "prm")


def test_before_it_is_loaded_it_does_not_score() -> None:
    with pytest.raises(UsageError, match="holds no model yet"):
        asyncio.run(PRMValue(prm="x").score(SCENARIO.policy(), WALK, [], grant=PLENTY, seed=0, known=0))


def test_a_model_that_is_not_there_is_an_error_when_the_search_begins() -> None:
    from tasks.errors import SearchError

    with pytest.raises(SearchError, match="/nowhere/at/all"):
        asyncio.run(PRMValue(prm="/nowhere/at/all", family="math-shepherd").load(SCENARIO.policy()))


def test_searches_that_begin_together_open_a_model_once_and_a_failure_is_no_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[str] = []
    failing = True

    def slow(name: str, settings: dict[str, Any]) -> Reader:
        opened.append(name)
        time.sleep(0.05)
        if failing:
            raise UsageError("it did not open")
        return Reader()

    monkeypatch.setattr(reward_model, "open_scorer", slow)
    monkeypatch.setattr(reward_model, "_open", {})
    value, policy = PRMValue(prm="shared"), SCENARIO.policy()

    async def together() -> list[Any]:
        loads = [value.load(policy) for _ in range(4)]
        return await asyncio.gather(*loads, PRMValue(prm="other").load(policy), return_exceptions=True)

    assert all(isinstance(each, UsageError) for each in asyncio.run(together()))
    failing = False
    opened.clear()
    *shared, other = [each.scorer for each in asyncio.run(together())]
    assert sorted(opened) == ["other", "shared"]
    assert all(each is shared[0] for each in shared)
    assert other is not shared[0]
    assert asyncio.run(value.load(policy)).scorer is shared[0]
    assert len(opened) == 2


@pytest.mark.parametrize("how", ["last", "min", "max", "mean", "product", "geometric_mean"])
def test_the_value_of_a_path_aggregates_the_scores_of_its_steps(how: str) -> None:
    reader = Reader()
    path = (step("one\n"), step("two\n"), step("three\n"))
    (got,) = score(loaded(reader, aggregate=how), [path]).scores
    scores = asyncio.run(reader.score(WALK.question, ["one\n", "two\n", "three\n"])).scores
    assert got.value == pytest.approx(aggregate(scores, how), abs=1e-6)
    assert reader.asked[0] == (WALK.question, ("one\n", "two\n", "three\n"))


def test_new_steps_are_value_tokens_and_what_was_known_is_prompt() -> None:
    path = (step("one\n"), step("two\n"))
    usage = score(loaded(), [path], known=1).usage
    assert (usage.value_tokens, usage.prompt_tokens, usage.calls) == (6, HEAD + 6, 1)
    usage = score(loaded(), [path, path]).usage
    assert (usage.value_tokens, usage.prompt_tokens, usage.calls) == (2 * 12, 2 * HEAD, 1)


def test_a_path_without_text_has_no_value_and_costs_nothing() -> None:
    reader = Reader()
    got = score(loaded(reader), [(step("", FinishReason.END),), (step(" \n"), step("two\n"))])
    assert got.scores[0].value is None
    assert got.scores[1].value is not None
    assert reader.asked == [(WALK.question, ("two\n",))]
    known = score(loaded(reader), [(step(" \n"), step("two\n"), step("six\n"))], known=2).usage
    assert (known.value_tokens, known.prompt_tokens) == (6, HEAD + 6)


@given(tokens=st.integers(0, 60), calls=st.integers(0, 2), count=st.integers(0, 5))
def test_it_stays_inside_its_grant_and_gives_one_score_a_path(tokens: int, calls: int, count: int) -> None:
    paths = [(step("a" * index + "\n"),) for index in range(count)]
    got = score(loaded(), paths, grant=Cost(tokens=tokens, calls=calls))
    assert len(got.scores) == count
    assert got.usage.tokens <= tokens
    assert got.usage.calls <= calls
    assert (got.usage.calls > 0) == any(each.value is not None for each in got.scores)


def test_a_path_longer_than_the_model_s_context_has_no_value_and_other_failures_are_raised() -> None:
    reader = Reader()
    reader.max_context = HEAD + 6
    got = score(loaded(reader), [(step("one\n"),), (step("three\n"),)])
    assert (got.scores[0].value is not None, got.scores[1].value) == (True, None)
    assert got.usage.value_tokens == 6
    reader.fails_with = "the model failed"
    with pytest.raises(EngineError, match="the model failed"):
        score(loaded(reader), [(step("one\n"),)])


def test_settings_of_the_model_are_settings_of_the_value() -> None:
    value = PRMValue(prm="x", family="math-shepherd", combine="worst", cache_mb=7)
    assert isinstance(value, ScorerSettings)
    assert (value.options.cache_mb, value.combine) == (7, "worst")
    assert replace(value, aggregate="min").aggregate == "min"
    assert not value.oracle(SCENARIO.policy())


@pytest.mark.parametrize("name", ALGORITHMS)
@settings(max_examples=25, deadline=None)
@given(data=st.data(), tokens=st.integers(1, 1500), seed=st.integers(0, 10**6))
def test_every_algorithm_keeps_its_budget_with_it_and_repeats_itself_from_any_prefix(
    name: str, data: st.DataObject, tokens: int, seed: int
) -> None:
    algorithm = data.draw(st.sampled_from(variants(name, in_flight=data.draw(st.integers(1, 8)))))
    scenario = replace(SCENARIO, value=loaded())
    budget = Budget(tokens=tokens)
    whole, records, engine = search(scenario, algorithm, budget, seed=seed)
    assert whole.usage.tokens <= tokens
    assert engine.usage.generated_tokens >= whole.usage.generated_tokens
    scored = any(node.value is not None for node in whole.nodes)
    assert (whole.usage.value_tokens > 0) == scored
    end = data.draw(st.integers(0, len(records)))
    tree = Tree.fold(scenario.problem, records[:end], seed=seed, budget=budget)
    run(algorithm, tree, scenario.policy(UnrulyEngine(disorder=seed)), scenario.value_for(algorithm))
    assert [node.value for node in tree.nodes] == [node.value for node in whole.nodes]
    assert tree.usage == whole.usage


class Writer:
    """An engine that writes an analysis of one to three letters and finds every word as likely as its ids."""

    name = model = "writer"
    max_context = 100_000

    def __init__(self) -> None:
        self.tokenizer, self.usage, self.longest = HFTokenizer(TOKENIZER), EngineUsage(), 0

    async def sample(self, prompt_ids: Sequence[int], n: int, params: SamplingParams) -> list[Sample]:
        texts = ["abc"[: 1 + (params.seed + number) % 3] for number in range(n)]
        self.usage.prompt_tokens += len(prompt_ids)
        self.usage.generated_tokens += sum(map(len, texts))
        return [
            Sample(token_ids=tuple(map(ord, text)), text=text, logprobs=(), finish=FinishReason.STOP)
            for text in texts
        ]

    async def logprobs(self, prompt_ids: Sequence[int], completion_ids: Sequence[int]) -> list[float]:
        self.usage.prompt_tokens += len(prompt_ids)
        self.usage.generated_tokens += len(completion_ids)
        self.longest = max(self.longest, len(prompt_ids) + len(completion_ids))
        return [-(1 + zlib.crc32(str((*prompt_ids, *completion_ids)).encode()) % 7) for _ in completion_ids]

    async def close(self) -> None:
        return None


def judge(family: str, engine: Any = None, *, samples: int = 2, max_tokens: int = 10) -> Any:
    """A generative judge that remembers nothing yet."""
    options = JudgeOptions(samples=samples, max_tokens=max_tokens)
    return GenerativeScorer(engine or Writer(), find_convention(family), options=options)


def words_of(family: str) -> int:
    """Tokens of a family's verdict words."""
    readout: Any = find_convention(family).readout
    return sum(len(TOKENIZER.encode(word)) for word in (readout.positive, readout.negative))


@pytest.mark.parametrize("family", ["genprm", "thinkprm"])
def test_what_a_judge_writes_and_its_verdict_words_are_value_tokens_and_its_prompts_are_prompt_tokens(
    family: str,
) -> None:
    engine = Writer()
    scorer = judge(family, engine)
    usage = score(loaded(scorer), [PATH]).usage
    assert usage.value_tokens == engine.usage.generated_tokens
    assert usage.prompt_tokens == engine.usage.prompt_tokens
    assert usage.calls == 1
    first = asyncio.run(judge(family).score(WALK.question, [PATH[0].text]))
    both = asyncio.run(scorer.score(WALK.question, [each.text for each in PATH]))
    assert (both.written[:1], both.prompted[:1], both.tokens) == (first.written, first.prompted, 0)
    assert sum(both.written) + sum(both.prompted) == usage.value_tokens + usage.prompt_tokens
    letters = [count - 2 * words_of(family) for count in both.written]
    assert all(2 <= count <= 6 for count in letters)  # two samples of one to three letters


@pytest.mark.parametrize("family", ["genprm", "thinkprm"])
def test_the_count_of_a_judge_does_not_depend_on_what_it_remembers(family: str) -> None:
    warm = loaded(judge(family))
    score(warm, [PATH[:1]])
    grown = score(warm, [PATH], known=1)
    again = score(warm, [PATH], known=1)
    restarted = score(loaded(judge(family)), [PATH], known=1)
    assert grown == again == restarted
    whole = score(warm, [PATH]).usage
    first = score(warm, [PATH[:1]]).usage
    assert whole.value_tokens == first.value_tokens + grown.usage.value_tokens
    assert whole.prompt_tokens == first.prompt_tokens + grown.usage.prompt_tokens


@pytest.mark.parametrize("family", ["genprm", "thinkprm"])
def test_a_path_that_a_judge_has_no_room_for_has_no_value_and_what_it_wrote_is_counted(family: str) -> None:
    class Small(Writer):
        max_context = 0

        async def sample(self, prompt_ids: Sequence[int], n: int, params: SamplingParams) -> list[Sample]:
            assert len(prompt_ids) + params.max_tokens <= self.max_context
            return await super().sample(prompt_ids, n, params)

    wide = Writer()
    score(loaded(judge(family, wide)), [PATH[:1]])
    longest = wide.longest
    engine = Small()
    engine.max_context = longest + 40
    value = loaded(judge(family, engine))
    paths = [PATH[:1], (*PATH, step("5" * 200))]
    found = score(value, paths)
    assert found.scores[0].value is not None
    assert found.scores[1].value is None
    assert found.usage.value_tokens + found.usage.prompt_tokens > 0
    assert score(value, paths) == found  # what it remembers changes nothing
    grown = score(value, [paths[1]], known=1)
    fresh = Small()
    fresh.max_context = engine.max_context
    assert score(loaded(judge(family, fresh)), [paths[1]], known=1) == grown
    with pytest.raises(EngineError, match=r"context of \d+ tokens, which step [23] of 3 does not fit"):
        asyncio.run(judge(family, fresh).score(WALK.question, [each.text for each in paths[1]]))


def test_the_most_that_a_judge_may_write_about_new_steps_is_reserved() -> None:
    value, policy = loaded(judge("genprm")), SCENARIO.policy()
    each = 2 * (10 + words_of("genprm"))
    assert value.cost(policy, PATH, 3) == Cost(tokens=3 * each, calls=1)
    room = policy.room(PATH[:1], whole=True)
    assert value.cost(policy, PATH[:1], 3, finished=True) == Cost(tokens=3 * room * each, calls=1)
    for known, new in ((0, 2), (1, 1)):
        enough = Cost(tokens=new * each, calls=1)
        short = Cost(tokens=new * each - 1, calls=1)
        assert score(value, [PATH], grant=enough, known=known).scores[0].value is not None
        assert score(value, [PATH], grant=short, known=known).scores[0].value is None


@pytest.mark.parametrize("name", ["best-first", "beam"])
@settings(max_examples=6, deadline=None)
@given(data=st.data(), tokens=st.integers(1, 30_000), seed=st.integers(0, 10**6))
def test_a_search_with_a_judge_repeats_itself_after_a_kill_with_an_empty_memory(
    name: str, data: st.DataObject, tokens: int, seed: int
) -> None:
    algorithm = data.draw(st.sampled_from(variants(name)))

    def fresh() -> Any:
        return loaded(judge("genprm", samples=1, max_tokens=2000), samples=1, max_tokens=2000)

    scenario = replace(SCENARIO, value=fresh())
    budget = Budget(tokens=tokens)
    whole, records, _ = search(scenario, algorithm, budget, seed=seed)
    assert whole.usage.tokens <= tokens
    scored = any(node.value is not None for node in whole.nodes)
    assert (whole.usage.value_tokens > 0) == scored
    end = data.draw(st.integers(0, len(records)))
    tree = Tree.fold(scenario.problem, records[:end], seed=seed, budget=budget)
    resumed = replace(scenario, value=fresh())
    run(algorithm, tree, resumed.policy(UnrulyEngine(disorder=seed)), resumed.value_for(algorithm))
    assert [node.value for node in tree.nodes] == [node.value for node in whole.nodes]
    assert tree.usage == whole.usage


def test_a_log_ratio_is_charged_for_reading_and_a_path_beyond_its_context_has_no_value(pair: Any) -> None:
    scorer = open_pair(*pair, max_context=400)
    texts = [path_step.text for path_step in PATH]
    head, first, second = scorer.sizes(WALK.question, texts)
    assert (scorer.max_context, head + first + second) == (400, read_by_both(scorer, texts) / 2)
    value = loaded(scorer)
    long = (step("3 + 4 = 7. " * 200 + "\n"),)
    got = score(value, [PATH, long], known=1)
    assert (got.scores[0].value is not None, got.scores[1].value) == (True, None)
    assert got.usage == score(value, [PATH, long], known=1).usage  # whatever is kept by now
    covered = got.usage.value_tokens
    assert score(value, [PATH], grant=Cost(tokens=covered, calls=1), known=1).scores == got.scores[:1]
    assert score(value, [PATH], grant=Cost(tokens=covered - 1, calls=1), known=1).scores[0].value is None
    assert value.cost(SCENARIO.policy(), PATH[:1], 1).tokens < 2048
    asyncio.run(scorer.close())


def test_what_both_models_of_a_log_ratio_read_is_charged_and_its_own_reference_reads_once(pair: Any) -> None:
    policy, texts = SCENARIO.policy(), [each.text for each in PATH]
    costs = []
    for reference, readers in ((pair[1], 2), (pair[0], 1)):
        scorer = open_pair(pair[0], reference)
        read, sizes = read_by_both(scorer, texts), scorer.sizes(WALK.question, texts)
        value = loaded(scorer)
        usage = score(value, [PATH], known=1).usage
        assert scorer.readers == readers
        assert (usage.value_tokens, usage.prompt_tokens) == (readers * sizes[2], readers * sum(sizes[:2]))
        assert usage.value_tokens + usage.prompt_tokens == read
        costs.append(value.cost(policy, PATH[:1], 3).tokens)
        asyncio.run(scorer.close())
    assert costs[0] == 2 * costs[1]


def test_a_log_ratio_on_the_policy_s_own_tokens_is_charged_for_both_models() -> None:
    class ByIds(Reader):
        readers = 2

        async def score_ids(
            self, prompt_ids: Sequence[int], steps_ids: Sequence[Sequence[int]]
        ) -> StepScores:
            return StepScores((0.5,) * len(steps_ids), 0)

    value, policy = loaded(ByIds()), SCENARIO.policy()
    value._by_ids = True
    usage = score(value, [PATH], known=1).usage
    head, first, second = len(policy.prompt_ids(WALK)), *(len(each.token_ids) + 1 for each in PATH)
    assert (usage.value_tokens, usage.prompt_tokens) == (2 * second, 2 * (head + first))
    assert value.cost(policy, PATH[:1], 3).tokens == 3 * 2 * (policy.room(PATH[:1], whole=False) + 1)


def test_the_question_that_is_scored_is_the_problem_s_and_never_its_gold() -> None:
    reader = Reader()
    problem = Problem(id="p", question="How far?", gold="the gold answer 77")
    policy = SCENARIO.policy()
    value = loaded(reader)
    asyncio.run(value.score(policy, problem, [(step("x\n"),)], grant=PLENTY, seed=0, known=0))
    assert "77" not in str(reader.asked)


def test_its_hash_is_of_all_that_gives_the_scores_and_not_of_where_it_lies(
    pair: list[str], tmp_path: Path
) -> None:
    shipped = scorer_hash("embedded", ScorerSettings())
    copy = tmp_path / "copy"
    shutil.copytree(embedded_folder(), copy)
    assert scorer_hash(str(copy), ScorerSettings()) == shipped
    card = json.loads((copy / "prm.json").read_text())
    card["trained"]["held_out"] = {}
    write_json(copy / "prm.json", card)
    assert scorer_hash(str(copy), ScorerSettings()) == shipped
    card["calibration"]["a"] += 0.1
    write_json(copy / "prm.json", card)
    assert scorer_hash(str(copy), ScorerSettings()) != shipped
    ratios = {scorer_hash(pair[0], ScorerSettings(reference=other)) for other in pair}
    assert len(ratios | {scorer_hash(pair[0], ScorerSettings())}) == 3
