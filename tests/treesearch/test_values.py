"""Value sources: exact formulas, legitimate or oracle, and never outside their grant."""

from __future__ import annotations

import asyncio
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_worlds import PUZZLE, SCENARIOS, WALK, UnrulyEngine, countdown_script

from tasks.base import Problem, Task
from tasks.countdown import solve
from tasks.countdown.task import CountdownTask
from tasks.errors import UsageError
from tasks.math import MathTask
from treesearch.budget import Cost, Usage
from treesearch.engines.base import FinishReason, Sample, SamplingParams
from treesearch.engines.scripted import ScriptedEngine
from treesearch.events import Rolled, Step
from treesearch.policy import Policy, PolicyConfig
from treesearch.registry import find, names
from treesearch.tree import Tree
from treesearch.values.base import Path, RollOut, Score, Scores, Value
from treesearch.values.free import LastStep, LogProb, NoValue, SelfCertainty, Verifier
from treesearch.values.rollout import RollOutValue

PLENTY = Cost(tokens=10**6, calls=10**6, nodes=10**6)


def policy_for(task: Task, engine: ScriptedEngine | None = None, **config: object) -> Policy:
    settings = {"step_tokens": 40, "solution_tokens": 110} | config
    return Policy(engine=engine or UnrulyEngine(), task=task, config=PolicyConfig(**settings))  # type: ignore[arg-type]


def score(
    value: Value, policy: Policy, problem: Problem, paths: list[Path], grant: Cost = PLENTY, seed: int = 0
) -> Scores:
    return asyncio.run(value.score(policy, problem, paths, grant=grant, seed=seed, known=0))


def step(
    text: str, *logprobs: float, finish: FinishReason = FinishReason.STOP, answer: str | None = None
) -> Step:
    return Step(text, tuple(range(len(logprobs))), logprobs, finish, None, answer, answer)


@given(steps=st.lists(st.lists(st.floats(-20, 0), min_size=1, max_size=5), min_size=1, max_size=4))
def test_log_prob_is_the_geometric_mean_probability_of_the_paths_tokens(steps: list[list[float]]) -> None:
    path = tuple(step("x", *logprobs) for logprobs in steps)
    (got,) = score(LogProb(), policy_for(MathTask()), WALK, [path]).scores
    tokens = [logprob for logprobs in steps for logprob in logprobs]
    product = math.prod(math.exp(logprob) for logprob in tokens)
    assert got.value == pytest.approx(product ** (1 / len(tokens)), abs=1e-5)
    assert 0 <= (got.value or 0.0) <= 1


def test_last_step_is_the_probability_of_the_last_step_with_text_and_what_is_behind_it() -> None:
    end = FinishReason.END
    paths = [
        (step("a\n", -3.0), step("b", -0.5, -0.25, finish=end)),
        (step("a\n", -3.0), step("b\n", -0.5), step("", -0.25, finish=end)),
        (step("", -1.0, finish=end),),
        (step("a\n", -3.0), step("b\n", -0.5)),
        (),
    ]
    got = score(LastStep(), policy_for(MathTask()), WALK, paths)
    wanted = [math.exp(-0.75), math.exp(-0.75), math.exp(-1.0), None, None]
    assert [each.value for each in got.scores] == [pytest.approx(value, abs=1e-6) for value in wanted]
    assert got.usage == Usage()


def test_last_step_refuses_steps_without_log_probs() -> None:
    bare = Step("b", (1, 2), (), FinishReason.END, None, None, None)
    with pytest.raises(UsageError, match="needs the log-probabilities"):
        score(LastStep(), policy_for(MathTask()), WALK, [(bare,)])


def test_no_value_has_no_opinion_and_costs_nothing() -> None:
    scores = score(NoValue(), policy_for(MathTask()), WALK, [(step("a", -1.0),)])
    assert scores == Scores((Score(None),), Usage())


# -- self-certainty -----------------------------------------------------------------------------------


def certainty(distribution: list[float]) -> float:
    """-(1/V) sum_j log(V p_j) of one distribution (arXiv 2502.18581, equation 7)."""
    size = len(distribution)
    return -sum(math.log(size * p) for p in distribution) / size


def test_the_uniform_distribution_has_no_certainty_and_both_forms_agree() -> None:
    assert certainty([0.25] * 4) == pytest.approx(0.0, abs=1e-12)
    peaked = [0.7, 0.1, 0.1, 0.1]
    divergence = sum(0.25 * math.log(0.25 / p) for p in peaked)
    assert certainty(peaked) == pytest.approx(divergence)
    assert certainty(peaked) > 0


class HandMadeEngine(ScriptedEngine):
    """Writes "ab", newline, "c", end; each token from a known distribution over four words."""

    distributions = (
        [0.25] * 4,
        [0.7, 0.1, 0.1, 0.1],
        [0.4, 0.3, 0.2, 0.1],
        [0.97, 0.01, 0.01, 0.01],
        [0.25] * 4,
    )
    text = "ab\nc"

    async def sample(self, prompt_ids: object, n: int, params: SamplingParams) -> list[Sample]:
        ids = (*self.tokenizer.encode(self.text), 1)
        end = 3 if params.stop else len(ids)
        return [
            Sample(
                token_ids=ids[:end],
                text=self.text[:end],
                logprobs=tuple(math.log(p[0]) for p in self.distributions[:end]),
                finish=FinishReason.STOP if params.stop else FinishReason.END,
                certainty=tuple(certainty(p) for p in self.distributions[:end]) if params.certainty else (),
            )
        ] * n


def test_a_steps_certainty_is_the_mean_over_its_own_tokens() -> None:
    policy = policy_for(MathTask(), HandMadeEngine(), certainty=True)
    reply = asyncio.run(policy.complete(WALK, (), 1, max_tokens=99, seed=0))
    first, second = reply.chains[0]
    by_token = [certainty(p) for p in HandMadeEngine.distributions]
    assert first.certainty == pytest.approx(sum(by_token[:3]) / 3, abs=1e-5)
    assert second.certainty == pytest.approx(sum(by_token[3:]) / 2, abs=1e-5)
    (got,) = score(SelfCertainty(), policy, WALK, [(first, second)]).scores
    assert got.value == pytest.approx(sum(by_token) / 5, abs=1e-5)
    (proposed,) = asyncio.run(policy.propose(WALK, (), 1, max_tokens=99, seed=0)).chains
    assert proposed[0].certainty == first.certainty
    assert proposed[0].token_ids == first.token_ids


def test_self_certainty_says_what_it_needs() -> None:
    with pytest.raises(UsageError, match=r"policy\.certainty=true"):
        score(SelfCertainty(), policy_for(MathTask()), WALK, [(step("a", -1.0),)])


# -- verifier -----------------------------------------------------------------------------------------


def test_the_verifier_is_legitimate_on_countdown_and_an_oracle_on_maths() -> None:
    assert not Verifier().oracle(policy_for(CountdownTask()))
    assert Verifier().oracle(policy_for(MathTask()))
    assert Verifier().gate(policy_for(CountdownTask())) == 1.0


def test_the_verifier_checks_countdown_without_a_gold() -> None:
    lines = solve([2, 3, 5, 7], 24)
    assert lines is not None
    assert PUZZLE.gold is None
    *head, last = [step(line + "\n", -1.0) for line in lines]
    task = CountdownTask()
    found = task.extract("\n".join(lines))
    assert found is not None
    end = step(lines[-1], -1.0, finish=FinishReason.END, answer=found.text)
    wrong = step("2+3=6 (left: 5 6 7)\n", -1.0)
    early = step("no", -1.0, finish=FinishReason.END)
    policy = policy_for(task)
    scores = score(Verifier(open=0.4), policy, PUZZLE, [(*head, end), tuple(head), (wrong,), (early,)])
    assert [s.value for s in scores.scores] == [1.0, 0.4, 0.0, 0.0]
    assert scores.usage == Usage()
    assert last.text.startswith(end.text)


def test_the_verifier_reads_the_gold_of_maths() -> None:
    policy = policy_for(MathTask())
    right = step("#### 3", -1.0, finish=FinishReason.END, answer="3")
    wrong = step("#### 4", -1.0, finish=FinishReason.END, answer="4")
    scores = score(Verifier(), policy, WALK, [(right,), (wrong,), (step("so\n", -1.0),)])
    assert [s.value for s in scores.scores] == [1.0, 0.0, 0.5]


# -- roll-outs ----------------------------------------------------------------------------------------


def test_who_is_an_oracle_among_roll_outs() -> None:
    maths, countdown = policy_for(MathTask()), policy_for(CountdownTask())
    flags = {
        judge: (RollOutValue(judge=judge).oracle(maths), RollOutValue(judge=judge).oracle(countdown))
        for judge in ("auto", "vote", "grade")
    }
    assert flags == {"auto": (False, False), "vote": (False, False), "grade": (True, False)}
    assert RollOutValue().gate(maths) is None
    assert RollOutValue().gate(countdown) == 1.0


def test_graded_roll_outs_are_the_share_that_ends_well() -> None:
    engine = UnrulyEngine(script=countdown_script)
    policy = policy_for(CountdownTask(), engine)
    value = RollOutValue(n=40)
    lines = solve([2, 3, 5, 7], 24)
    assert lines is not None
    paths: list[Path] = [(), *[(step(line + "\n", *[-0.1] * 3),) for line in lines[:1]]]
    paths[1] = tuple(
        Step(line + "\n", tuple(engine.tokenizer.encode(line + "\n")), (), FinishReason.STOP)
        for line in lines[:2]
    )
    scores = score(value, policy, PUZZLE, paths)
    task = CountdownTask()
    for path, got in zip(paths, scores.scores, strict=True):
        prefix = "".join(s.text for s in path)
        rewards = []
        for done in got.rollouts:
            found = task.extract(prefix + done.text)
            rewards.append(float(task.grade(PUZZLE, found.text if found else None).verdict == "correct"))
            assert done.reward == rewards[-1]
        assert got.value == pytest.approx(sum(rewards) / 40, abs=1e-6)
    assert 0 < (scores.scores[1].value or 0.0) < 1
    assert scores.usage.calls == 2
    assert scores.usage.value_tokens == engine.usage.generated_tokens
    assert scores.usage.generated_tokens == 0


def test_a_finished_path_is_judged_without_a_completion() -> None:
    engine = UnrulyEngine()
    end = step("#### 3", -1.0, finish=FinishReason.END, answer="3")
    scores = score(RollOutValue(judge="grade"), policy_for(MathTask(), engine), WALK, [(end,)])
    assert [s.value for s in scores.scores] == [1.0]
    assert engine.usage.requests == 0


def test_a_vote_is_the_share_of_answers_that_agree_with_two_imagined_dissenters() -> None:
    tree = Tree(problem=WALK)
    tree.commit([Rolled(0, "x", 1, vote, vote, None) for vote in "aab"])
    value = RollOutValue(judge="vote")
    rollouts = tuple(RollOut("t", 1, vote, vote, None) for vote in ("a", "c", None))
    got = value.settle(tree, Score(None, rollouts))
    # Answers by then: a a b, and a c of its own; a has 3 of 5 + 2, c 1 of 7, no answer 0.
    assert got == pytest.approx((3 / 7 + 1 / 7 + 0) / 3, abs=1e-6)
    assert value.settle(tree, Score(0.25, rollouts)) == 0.25
    assert value.settle(tree, Score(None)) is None


@settings(max_examples=80, deadline=None)
@given(
    tokens=st.integers(0, 400),
    calls=st.integers(0, 5),
    n=st.integers(1, 6),
    paths=st.integers(0, 5),
    seed=st.integers(0, 999),
    judge=st.sampled_from(["vote", "grade"]),
)
def test_roll_outs_stay_inside_their_grant(
    tokens: int, calls: int, n: int, paths: int, seed: int, judge: str
) -> None:
    engine = UnrulyEngine(disorder=seed)
    policy = policy_for(MathTask(), engine)
    value = RollOutValue(n=n, judge=judge)  # type: ignore[arg-type]
    given_paths: list[Path] = [(step(f"step 0: {i}\n", -0.1, -0.1),) for i in range(paths)]
    scores = score(value, policy, WALK, given_paths, Cost(tokens=tokens, calls=calls), seed)
    assert len(scores.scores) == paths
    assert engine.usage.generated_tokens == scores.usage.value_tokens <= tokens
    assert engine.usage.requests == scores.usage.calls <= calls
    for got in scores.scores:
        assert got.rollouts or got.value is None


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 6), paths=st.integers(1, 4), seed=st.integers(0, 999))
def test_the_cost_that_is_announced_is_never_passed(n: int, paths: int, seed: int) -> None:
    policy = policy_for(MathTask())
    value = RollOutValue(n=n)
    cost = value.cost(policy, (), paths)
    given_paths: list[Path] = [(step(f"step 0: {i}\n", -0.1),) for i in range(paths)]
    scores = score(value, policy, WALK, given_paths, PLENTY, seed)
    assert scores.usage.tokens <= cost.tokens
    assert scores.usage.calls <= cost.calls


def test_an_empty_completion_does_not_break_a_roll_out() -> None:
    class FullContext(ScriptedEngine):
        async def sample(self, prompt_ids: object, n: int, params: SamplingParams) -> list[Sample]:
            return [Sample(token_ids=(), text="", logprobs=(), finish=FinishReason.LENGTH)] * n

    scores = score(RollOutValue(judge="grade"), policy_for(MathTask(), FullContext()), WALK, [()])
    assert scores.scores[0].value == 0.0


@pytest.mark.parametrize("wrong", [{"n": 0}, {"judge": "feeling"}])
def test_a_wrong_setting_is_refused_by_name(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        RollOutValue(**wrong)  # type: ignore[arg-type]


MODELS = ("prm", "embedded")  # they hold a model once they are loaded: tests/prm/test_values_reward_model.py


@pytest.mark.parametrize("name", [name for name in names("value") if name not in MODELS])
def test_every_value_scores_each_path_in_order_and_repeatably(name: str) -> None:
    value = find("value", name)()
    assert value.name == name
    scenario = SCENARIOS["self-certainty"]
    policy = scenario.policy()
    reply = asyncio.run(policy.propose(WALK, (), 4, max_tokens=40, seed=1))
    paths: list[Path] = list(reply.chains)
    first, again = (score(value, policy, WALK, paths, seed=3) for _ in range(2))
    assert first == again
    assert len(first.scores) == len(paths)
    if name != "rollout":
        alone = [score(value, policy, WALK, [path], seed=3).scores[0] for path in paths]
        assert tuple(alone) == first.scores
