"""`ensemble`: mean, worst case, mean less spread and product; members by name; costs, grants and failures."""

from __future__ import annotations

import asyncio
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_worlds import SCENARIOS, WALK, KnownValue, UnrulyEngine, run, search, tree_bytes, variants
from values_worlds import PLENTY, ReadingEngine, done, policy_for, score, step, values

from prm.values.ensemble import Combine, EnsembleValue, OpenEnsemble
from prm.values.self_reward import SelfReward
from tasks.errors import UsageError
from treesearch.api import solve
from treesearch.budget import Budget, Cost, Usage
from treesearch.engines.base import EngineError, FinishReason
from treesearch.events import Rolled
from treesearch.policy import Policy
from treesearch.registry import TABLES, find
from treesearch.tree import Tree
from treesearch.values.base import RollOut, Score, Scores, Value
from treesearch.values.free import LastStep, LogProb, NoValue, SelfCertainty
from treesearch.values.rollout import RollOutValue

WAYS = ("mean", "worst", "uncertain")
FLOATS = st.floats(0, 1)


def known(*numbers: float | None) -> tuple[KnownValue, ...]:
    """A member for each number, which it gives to every path."""
    return tuple(KnownValue(of=lambda text, number=number: number) for number in numbers)


def joined(numbers: Sequence[float | None], combine: Combine, **settings: Any) -> float | None:
    value = OpenEnsemble(open_members=known(*numbers), combine=combine, **settings)
    (got,) = values(score(value, [(step("x\n"),)]))
    return got


@settings(deadline=None)
@given(st.lists(FLOATS, min_size=1, max_size=6), st.floats(0, 2))
def test_the_three_ways_are_mean_least_and_mean_less_lambda_times_population_variance(
    numbers: list[float], uncertainty: float
) -> None:
    mean = statistics.fmean(numbers)
    assert joined(numbers, "mean") == pytest.approx(mean, abs=1e-6)
    assert joined(numbers, "worst") == pytest.approx(min(numbers), abs=1e-6)
    spread = statistics.pvariance(numbers)
    assert joined(numbers, "uncertain", uncertainty=uncertainty) == pytest.approx(
        mean - uncertainty * spread, abs=2e-6
    )


@settings(deadline=None)
@given(FLOATS, st.integers(1, 5))
def test_members_that_agree_make_all_three_equal(number: float, count: int) -> None:
    assert {joined([number] * count, how) for how in WAYS} == {round(number, 6)}


@settings(deadline=None)
@given(st.lists(FLOATS, min_size=1, max_size=5))
def test_the_worst_case_is_at_most_the_mean_and_lambda_zero_is_the_mean(numbers: list[float]) -> None:
    mean, worst = joined(numbers, "mean"), joined(numbers, "worst")
    assert mean is not None
    assert worst is not None
    assert worst <= mean + 1e-6
    assert joined(numbers, "uncertain", uncertainty=0.0) == mean


def test_the_spread_is_that_of_the_population() -> None:
    assert joined([0.2, 0.6], "uncertain", uncertainty=1.0) == pytest.approx(0.4 - 0.04)


@settings(deadline=None)
@given(st.lists(FLOATS, min_size=1, max_size=6))
def test_the_product_is_that_of_the_members_and_at_most_the_worst_case(numbers: list[float]) -> None:
    product = joined(numbers, "product")
    assert product is not None
    assert product == pytest.approx(math.prod(numbers), abs=1e-6)
    assert product <= min(numbers) + 1e-6


def test_a_product_with_the_last_step_is_the_score_alone_until_a_path_is_finished() -> None:
    value = OpenEnsemble(open_members=(*known(0.8), LastStep()), combine="product")
    unfinished, finished = (step("a\n"),), (step("a\n"), step("b", FinishReason.END, logprob=math.log(0.5)))
    assert values(score(value, [unfinished, finished])) == [0.8, pytest.approx(0.2)]


def test_a_member_without_an_opinion_is_left_out_or_makes_the_whole_none() -> None:
    assert joined([0.4, None, 0.6], "mean") == 0.5
    assert joined([0.4, None, 0.6], "worst") == 0.4
    assert joined([None, None], "mean") is None
    assert joined([0.4, None], "mean", missing="none") is None
    assert joined([0.4, 0.6], "mean", missing="none") == 0.5


# -- costs, grants and settling -----------------------------------------------------------------------


def test_costs_add_up() -> None:
    policy, members = policy_for(), (RollOutValue(n=2), SelfReward(token="@"), LogProb())
    whole = OpenEnsemble(open_members=members).cost(policy, (step("x\n"),), 3)
    each = [member.cost(policy, (step("x\n"),), 3) for member in members]
    assert whole == Cost(tokens=sum(c.tokens for c in each), calls=sum(c.calls for c in each))


@settings(max_examples=80, deadline=None)
@given(
    tokens=st.integers(0, 400),
    calls=st.integers(0, 9),
    finished=st.lists(st.booleans(), max_size=4),
    seed=st.integers(0, 99),
)
def test_it_stays_inside_any_grant_gives_one_score_a_path_and_repeats_itself(
    tokens: int, calls: int, finished: list[bool], seed: int
) -> None:
    value = OpenEnsemble(
        open_members=(RollOutValue(n=2, judge="vote"), SelfReward(token="@"), LogProb()), combine="worst"
    )
    paths = [done(str(at)) if end else (step(f"step 0: {at}\n"),) for at, end in enumerate(finished)]
    grant = Cost(tokens=tokens, calls=calls)
    engines = ReadingEngine(disorder=seed), ReadingEngine()
    first, again = [score(value, paths, policy_for(engine), grant=grant, seed=seed) for engine in engines]
    assert first == again
    assert len(first.scores) == len(paths)
    assert first.usage.tokens <= tokens
    assert engines[0].usage.requests + len(engines[0].read) == first.usage.calls <= calls
    assert engines[0].usage.generated_tokens + len(engines[0].read) == first.usage.value_tokens


def test_members_run_side_by_side_where_the_grant_covers_all_and_in_turn_where_not() -> None:
    log: list[str] = []

    @dataclass(frozen=True, kw_only=True)
    class Slow(Value):
        name = "slow"
        label: str

        def oracle(self, policy: Policy) -> bool:
            return False

        def cost(self, policy: Policy, path: Any, n: int, *, finished: bool = False) -> Cost:
            return Cost(tokens=n, calls=1)

        async def score(self, policy: Any, problem: Any, paths: Any, *, grant: Cost, **_: Any) -> Scores:
            log.append(f"{self.label} begins with {grant.tokens}")
            for _turn in range(3):
                await asyncio.sleep(0)
            log.append(f"{self.label} ends")
            used = min(grant.tokens, len(paths))
            return Scores((Score(1.0),) * len(paths), Usage(value_tokens=used, calls=1))

    value = OpenEnsemble(open_members=(Slow(label="a"), Slow(label="b")))
    paths = [(step("x\n"),), (step("y\n"),)]
    score(value, paths, grant=Cost(tokens=4, calls=2))
    assert log == ["a begins with 2", "b begins with 2", "a ends", "b ends"]
    log.clear()
    score(value, paths, grant=Cost(tokens=3, calls=2))
    assert log == ["a begins with 3", "a ends", "b begins with 1", "b ends"]


def test_paths_of_several_new_steps_that_may_go_on_are_scored_in_turn() -> None:
    value = OpenEnsemble(open_members=(RollOutValue(n=1), RollOutValue(n=1)))
    long = (step("step 0: 1\n"), step("step 1: 1\n"))
    got = score(value, [long, (step("step 0: 2\n"),)], grant=Cost(tokens=4000, calls=4))
    assert all(each.rollouts for each in got.scores)
    assert score(value, []) == Scores((), Usage())
    assert len(score(value, [()]).scores) == 1


def test_members_are_settled_one_by_one_with_the_votes_of_the_tree() -> None:
    tree = Tree(problem=WALK)
    tree.commit([Rolled(0, "x", 1, vote, vote, None) for vote in "aab"])
    member = RollOutValue(judge="vote")
    found = Score(None, (RollOut("t", 1, "a", "a", None),))
    value = OpenEnsemble(open_members=(member, *known(0.25)))
    both = value._joined((found, Score(0.25)))
    assert both.value == 0.25  # what is known before the vote
    assert both.rollouts == found.rollouts
    settled = member.settle(tree, found)
    assert settled is not None
    assert value.settle(tree, both) == pytest.approx((settled + 0.25) / 2, abs=1e-6)
    assert value.settle(tree, Score(0.5)) == 0.5


@pytest.mark.parametrize("name", ["beam", "mcts", "best-of-n"])
@settings(max_examples=15, deadline=None)
@given(data=st.data(), tokens=st.integers(1, 900), seed=st.integers(0, 10**6))
def test_a_search_with_it_keeps_its_budget_and_repeats_itself_from_any_prefix(
    name: str, data: st.DataObject, tokens: int, seed: int
) -> None:
    from dataclasses import replace

    algorithm = data.draw(st.sampled_from(variants(name, in_flight=data.draw(st.integers(1, 8)))))
    value = OpenEnsemble(open_members=(RollOutValue(n=2, judge="vote"), LogProb()), combine="uncertain")
    scenario = replace(SCENARIOS["roll-outs that vote"], value=value)
    budget = Budget(tokens=tokens)
    whole, records, engine = search(scenario, algorithm, budget, seed=seed)
    assert engine.usage.generated_tokens <= tokens
    tree = Tree.fold(
        scenario.problem, records[: data.draw(st.integers(0, len(records)))], seed=seed, budget=budget
    )
    run(algorithm, tree, scenario.policy(UnrulyEngine(disorder=seed)), value)
    assert tree_bytes(tree) == tree_bytes(whole)


# -- loading, closing, failing ------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Loads(NoValue):
    """Notes when it is loaded and closed; `breaks` fails at one of them."""

    label: str
    breaks: str = ""
    log: list[str] = field(default_factory=list)

    @property
    def model_hash(self) -> str:
        return f"hash-{self.label}"

    async def load(self, policy: Policy) -> Value:
        self._note("load")
        return self

    async def close(self) -> None:
        self._note("close")

    def _note(self, what: str) -> None:
        self.log.append(f"{what} {self.label}")
        if self.breaks == what:
            raise EngineError(f"{what} fails")


def test_members_are_loaded_and_closed_and_their_hashes_joined() -> None:
    log: list[str] = []
    value = OpenEnsemble(
        open_members=(Loads(label="a", log=log), Loads(label="b", log=log)), combine="worst", missing="none"
    )
    loaded = asyncio.run(value.load(policy_for()))
    assert loaded == value
    asyncio.run(loaded.close())
    assert log == ["load a", "load b", "close a", "close b"]
    assert loaded.model_hash == "hash-a+hash-b"
    assert EnsembleValue().model_hash == ""
    assert asyncio.run(EnsembleValue(combine="worst").load(policy_for())).combine == "worst"  # type: ignore[attr-defined]


def test_where_one_member_cannot_be_loaded_the_others_are_closed_again() -> None:
    log: list[str] = []
    members = (Loads(label="a", log=log), Loads(label="b", breaks="load", log=log), Loads(label="c", log=log))
    with pytest.raises(EngineError, match="load fails"):
        asyncio.run(OpenEnsemble(open_members=members).load(policy_for()))
    assert log == ["load a", "load b", "close a"]


def test_where_one_member_cannot_be_closed_the_others_are_all_the_same() -> None:
    log: list[str] = []
    members = (Loads(label="a", breaks="close", log=log), Loads(label="b", log=log))
    with pytest.raises(EngineError, match="close fails"):
        asyncio.run(OpenEnsemble(open_members=members).close())
    assert log == ["close a", "close b"]


def test_a_member_that_fails_fails_the_score_and_leaves_no_request_running() -> None:
    engine = ReadingEngine(fails="down", disorder=4)
    value = OpenEnsemble(open_members=(SelfReward(token="@"), SelfReward(token="#")))
    with pytest.raises(EngineError, match="down"):
        score(value, [done("1"), done("2")], policy_for(engine))
    assert engine.active == 0


def test_cancelling_leaves_no_request_running() -> None:
    engine = ReadingEngine(disorder=5)
    value = OpenEnsemble(open_members=(RollOutValue(n=2), SelfReward(token="@")))

    async def cancelled() -> None:
        paths = [(step("step 0: 1\n"),), done("3")]
        job = asyncio.ensure_future(
            value.score(policy_for(engine), WALK, paths, grant=PLENTY, seed=0, known=0)
        )
        while not engine.active:
            await asyncio.sleep(0)
        job.cancel()
        await asyncio.wait([job])
        assert job.cancelled()

    asyncio.run(cancelled())
    assert engine.active == 0


def test_a_member_s_own_needs_are_its_own_errors() -> None:
    with pytest.raises(UsageError, match=r"policy\.certainty=true"):
        score(EnsembleValue(members="self-certainty"), [(step("x\n"),)])
    assert SelfCertainty().name in TABLES["value"]
    assert find("value", "logprob") is LogProb


def test_a_member_that_needs_the_engines_certainty_has_it_switched_on() -> None:
    nested = "ensemble:members=logprob\\;self-certainty"
    for members, needed in (("self-certainty;logprob", True), ("logprob", False), (nested, True)):
        value = EnsembleValue(members=members)
        assert value.needs_certainty is needed
        assert OpenEnsemble(open_members=value.sources).needs_certainty is needed
    found = solve(
        "Make 24 from 3 5 8 11.",
        task="countdown",
        algorithm="best-of-n",
        value=EnsembleValue(members="self-certainty;logprob"),
    )
    assert any(child.value is not None for child in found.tree.nodes)
