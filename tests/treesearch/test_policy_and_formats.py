"""Prompts, delimiters, steps: token ids are joined and never encoded again; the gold is in no prompt."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_worlds import ALGORITHMS, SCENARIOS, WALK, Scenario, search, variants

from tasks.base import Problem
from tasks.errors import UsageError
from tasks.math import MathTask
from treesearch.budget import Budget
from treesearch.engines.base import FinishReason, Sample, SamplingParams
from treesearch.engines.scripted import CharTokenizer, ScriptedEngine
from treesearch.events import Step
from treesearch.formats import delimiter
from treesearch.policy import Policy, PolicyConfig, cut_points, normalised_logprob, priors
from treesearch.values.free import Verifier
from treesearch.values.rollout import RollOutValue


@pytest.mark.parametrize(
    ("name", "stop", "tokens"),
    [
        ("line", ("\n",), 0),
        ("blank-line", ("\n\n",), 0),
        ("step-tag", ("</step>",), 0),
        ("tag:thought", ("</thought>",), 0),
        ("tokens:16", (), 16),
        ("text:;", (";",), 0),
        ("text:\\n\\n", ("\n\n",), 0),
        ("text:。", ("。",), 0),
        ("text:é→", ("é→",), 0),
    ],
)
def test_a_delimiter_is_read_by_name(name: str, stop: tuple[str, ...], tokens: int) -> None:
    found = delimiter(name)
    assert (found.stop, found.tokens) == (stop, tokens)


@pytest.mark.parametrize(
    "name", ["", "lines", "tag:", "tag:a b", "tokens:0", "tokens:x", "tokens:²", "text:"]
)
def test_a_wrong_delimiter_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="unknown delimiter"):
        delimiter(name)
    with pytest.raises(UsageError, match="unknown delimiter"):
        PolicyConfig(delimiter=name)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("step_tokens", 0),
        ("solution_tokens", 0),
        ("temperature", -0.1),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("top_k", -1),
        ("format", "poem"),
        ("template", "no place for it"),
    ],
)
def test_a_wrong_policy_setting_is_refused_by_name(name: str, wrong: object) -> None:
    with pytest.raises(UsageError, match=name):
        PolicyConfig(**{name: wrong})  # type: ignore[arg-type]


# -- cutting ------------------------------------------------------------------------------------------


@given(
    text=st.text("ab\n;", max_size=40),
    ended=st.booleans(),
    stops=st.sampled_from([(), ("\n",), ("\n\n",), (";", "\n"), ("a\n",)]),
    every=st.sampled_from([0, 0, 1, 3, 7]),
)
def test_cut_points_tile_the_ids_exactly_and_their_texts_join_to_the_whole(
    text: str, ended: bool, stops: tuple[str, ...], every: int
) -> None:
    tokenizer = CharTokenizer()
    ids = tokenizer.encode(text) + [1] * ended
    cuts = cut_points(ids, stops, every, tokenizer)
    assert [start for start, _, _ in cuts] == [0, *[end for _, end, _ in cuts[:-1]]]
    assert cuts[-1][1] == len(ids)
    assert "".join(part for _, _, part in cuts) == text
    for start, end, part in cuts:
        assert tokenizer.decode(ids[start:end]) == part
        assert end > start or not ids
    for _, _, part in cuts[:-1]:
        assert any(part.endswith(stop) for stop in stops) or (every and len(part) == every)
        assert not any(stop in part[:-1] for stop in stops)
        assert not every or len(part) <= every


# -- ids ----------------------------------------------------------------------------------------------


class LossyTokenizer(CharTokenizer):
    """Decodes many ids to one character, so that encoding a text again would give other ids."""

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        if "step" in text:
            raise AssertionError(f"a step was encoded again: {text!r}")
        return super().encode(text, special=special)

    def decode(self, token_ids: Sequence[int]) -> str:
        return super().decode([token % 1000 if token > 1000 else token for token in token_ids])


class LossyEngine(ScriptedEngine):
    """Writes every character with an id that only this sample uses."""

    seen: list[tuple[int, ...]]

    async def sample(self, prompt_ids: Sequence[int], n: int, params: SamplingParams) -> list[Sample]:
        self.seen.append(tuple(prompt_ids))
        made = await super().sample(prompt_ids, n, params)
        shift = 1000 * (1 + len(self.seen))
        return [
            Sample(
                token_ids=tuple(i if i == 1 else i + shift for i in sample.token_ids),
                text=sample.text,
                logprobs=sample.logprobs,
                finish=sample.finish,
            )
            for sample in made
        ]


@pytest.mark.parametrize("name", ALGORITHMS)
def test_prompts_are_the_questions_ids_and_the_steps_own_ids_never_encoded_again(name: str) -> None:
    engine = LossyEngine(tokenizer=LossyTokenizer())
    engine.seen = []
    policy = Policy(
        engine=engine,
        task=MathTask(),
        config=PolicyConfig(step_tokens=40, solution_tokens=110, format="plain"),
    )
    scenario = SCENARIOS["default value"]
    algorithm = variants(name)[0]
    tree = scenario.tree(Budget(tokens=500))
    asyncio.run(_search(algorithm, tree, policy, scenario))
    question = tuple(CharTokenizer().encode("How far?\n"))
    paths = {
        question + tuple(i for step in tree.path(node.id) for i in step.token_ids) for node in tree.nodes
    }
    assert engine.seen[0] == question
    assert all(seen[: len(question)] == question for seen in engine.seen)
    if name not in ("rest-mcts",):  # its greedy roll-outs go on from steps that are no nodes
        assert set(engine.seen) <= paths


async def _search(algorithm: object, tree: object, policy: Policy, scenario: Scenario) -> None:
    await algorithm(tree, policy, scenario.value_for(algorithm))  # type: ignore[operator,arg-type]


def test_a_solutions_steps_join_to_what_the_model_wrote() -> None:
    engine = ScriptedEngine()
    policy = Policy(engine=engine, task=MathTask(), config=PolicyConfig(solution_tokens=300))
    params = SamplingParams(max_tokens=300, temperature=0.8, seed=5)
    (sample,) = asyncio.run(engine.sample(policy.prompt_ids(WALK), 1, params))
    ((*steps,),) = asyncio.run(policy.complete(WALK, (), 1, max_tokens=300, seed=5)).chains
    assert "".join(step.text for step in steps) == sample.text
    assert tuple(i for step in steps for i in step.token_ids) == sample.token_ids
    assert len(steps) > 2
    assert [step.finish for step in steps] == [FinishReason.STOP] * (len(steps) - 1) + [FinishReason.END]
    assert all(step.answer is None for step in steps[:-1])
    assert steps[-1].answer == sample.text.split("#### ")[1]


def test_a_solution_cut_by_its_length_has_no_answer() -> None:
    policy = Policy(engine=ScriptedEngine(), task=MathTask())
    (steps,) = asyncio.run(policy.complete(WALK, (), 1, max_tokens=15, seed=5)).chains
    assert steps[-1].finish is FinishReason.LENGTH
    assert steps[-1].answer is None


def test_an_empty_completion_is_one_empty_step() -> None:
    assert cut_points([], ("\n",), 0, CharTokenizer()) == [(0, 0, "")]


def test_room_is_what_the_caps_leave() -> None:
    policy = Policy(
        engine=ScriptedEngine(), task=MathTask(), config=PolicyConfig(step_tokens=20, solution_tokens=50)
    )
    path = (Step("x" * 35, tuple(range(35)), (), FinishReason.STOP),)
    assert (policy.room((), whole=False), policy.room((), whole=True)) == (20, 50)
    assert (policy.room(path, whole=False), policy.room(path, whole=True)) == (15, 15)
    assert policy.room(path * 2, whole=False) == 0
    fixed = Policy(engine=ScriptedEngine(), task=MathTask(), config=PolicyConfig(delimiter="tokens:8"))
    assert fixed.room((), whole=False) == 8


# -- prompts ------------------------------------------------------------------------------------------


class ChatTokenizer(CharTokenizer):
    """A tokenizer with a chat template."""

    def chat(self, messages: Sequence[dict[str, str]]) -> list[int] | None:
        text = "".join(f"<{message['role']}>{message['content']}" for message in messages)
        return self.encode(text + "<assistant>")


def prompt(problem: Problem, tokenizer: CharTokenizer, **config: object) -> str:
    policy = Policy(
        engine=ScriptedEngine(tokenizer=tokenizer),
        task=MathTask(),
        config=PolicyConfig(**config),  # type: ignore[arg-type]
    )
    return tokenizer.decode(policy.prompt_ids(problem))


def test_a_plain_prompt_is_the_template_filled_in() -> None:
    assert prompt(WALK, CharTokenizer()) == "How far?\n"
    filled = prompt(WALK, CharTokenizer(), template="Q: {question}\n{instructions}\nA \\boxed{}:")
    assert filled == f"Q: How far?\n{MathTask.instructions}\nA \\boxed{{}}:"
    hostile = Problem(id="h", question="{instructions} {0} {question}")
    assert prompt(hostile, CharTokenizer()) == "{instructions} {0} {question}\n"


def test_a_chat_template_is_used_where_there_is_one_and_plain_forces_it_off() -> None:
    chat = f"<system>{MathTask.instructions}<user>How far?<assistant>"
    assert prompt(WALK, ChatTokenizer()) == chat
    assert prompt(WALK, ChatTokenizer(), format="chat") == chat
    assert prompt(WALK, ChatTokenizer(), format="plain") == "How far?\n"
    assert prompt(WALK, ChatTokenizer(), system="Be brief.") == "<system>Be brief.<user>How far?<assistant>"
    assert prompt(WALK, ChatTokenizer(), system="") == "<user>How far?<assistant>"


def test_a_model_without_a_template_cannot_be_asked_to_chat() -> None:
    with pytest.raises(UsageError, match=r"no chat template; use --set policy.format=plain"):
        prompt(WALK, CharTokenizer(), format="chat")


POISON = "7391.25"


@pytest.mark.parametrize(
    "value", [RollOutValue(judge="grade"), Verifier()], ids=["graded roll-outs", "verifier"]
)
@pytest.mark.parametrize("name", ALGORITHMS)
def test_no_prompt_ever_holds_the_gold_answer(name: str, value: RollOutValue | Verifier) -> None:
    problem = Problem(
        id=POISON, question="How far?", gold=POISON, meta={"solution": POISON, "answer": POISON}
    )
    scenario = Scenario(name="poison", problem=problem, value=value)
    for algorithm in variants(name):
        _, _, engine = search(scenario, algorithm, Budget(tokens=400))
        assert engine.prompts
        assert not any(POISON in text for text in engine.prompts)
    assert POISON not in prompt(problem, ChatTokenizer())


# -- priors -------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(logprobs=st.lists(st.lists(st.floats(-2000, 0), max_size=4), min_size=1, max_size=5))
def test_priors_are_a_distribution_that_follows_the_mean_log_probs(logprobs: list[list[float]]) -> None:
    steps = [Step("x", tuple(range(len(p))), tuple(p), FinishReason.STOP) for p in logprobs]
    shares = priors(steps)
    assert len(shares) == len(steps)
    assert sum(shares) == pytest.approx(1.0)
    means = [normalised_logprob([step]) for step in steps]
    for first, share in zip(means, shares, strict=True):
        for second, other in zip(means, shares, strict=True):
            assert first > second or share <= other + 1e-12


def test_no_steps_have_no_priors() -> None:
    assert priors([]) == []
    assert normalised_logprob([]) == 0.0
