"""What every algorithm keeps, whatever its settings: determinism, resumption, cancellation, faults.

`treesearch.algorithms.base` is the contract; `test_budget.py` holds the budget's part of it.
"""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import FrozenInstanceError, is_dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_worlds import (
    ALGORITHMS,
    SCENARIOS,
    Scenario,
    UnrulyEngine,
    record_events,
    run,
    search,
    tree_bytes,
    variants,
)

from tasks.errors import UsageError
from treesearch.algorithms.base import Algorithm
from treesearch.answers import candidates
from treesearch.budget import Budget, Cost
from treesearch.engines.base import EngineError
from treesearch.events import Added, Cancelled, Expanded, Issued, Settled
from treesearch.registry import find, summary
from treesearch.tree import Tree

BUDGETS = (
    st.builds(Budget, tokens=st.integers(1, 900), calls=st.none() | st.integers(1, 40))
    | st.builds(Budget, calls=st.integers(1, 25), nodes=st.integers(1, 60))
    | st.builds(Budget, calls=st.integers(1, 8))
)
"""Where only calls are limited they are few: one call of an algorithm without `n` is 64 whole solutions."""
SEEDS = st.integers(0, 10**6)


def drawn(name: str, data: st.DataObject) -> tuple[Scenario, Algorithm]:
    """A scenario and a variant of the algorithm."""
    algorithms = variants(name, in_flight=data.draw(st.integers(1, 8), label="in flight"))
    scenario = SCENARIOS[data.draw(st.sampled_from(sorted(SCENARIOS)))]
    return scenario, data.draw(st.sampled_from(algorithms))


def taken_up(scenario: Scenario, algorithm: Algorithm, tree: Tree) -> bytes:
    """The tree's bytes after calling the algorithm on it (again), with a fresh engine."""
    run(algorithm, tree, scenario.policy(), scenario.value_for(algorithm))
    return tree_bytes(tree)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_it_is_a_frozen_dataclass_with_a_name_and_a_docstring(name: str) -> None:
    algorithm = find("algorithm", name)()
    assert is_dataclass(algorithm)
    assert algorithm.name == name
    assert summary("algorithm", name)
    with pytest.raises(FrozenInstanceError):
        algorithm.answer = "best"
    assert algorithm == find("algorithm", name)()


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize(
    "wrong",
    [{"answer": "loudest"}, {"aggregate": "median"}, {"borda_power": -1}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_wrong_setting_is_refused_by_name(name: str, wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        find("algorithm", name)(**wrong)


@pytest.mark.parametrize("name", ALGORITHMS)
@settings(max_examples=25, deadline=None)
@given(data=st.data(), budget=BUDGETS, seed=SEEDS)
def test_the_same_seed_gives_the_same_records_in_whatever_order_replies_come(
    name: str, data: st.DataObject, budget: Budget, seed: int
) -> None:
    scenario, algorithm = drawn(name, data)
    calm_tree, calm, _ = search(scenario, algorithm, budget, seed=seed)
    disorder = data.draw(st.integers(0, 999))
    tree, records, _ = search(scenario, algorithm, budget, seed=seed, disorder=disorder)
    assert records == calm
    assert tree_bytes(tree) == tree_bytes(calm_tree)


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("in_flight", [1, 4, 8])
def test_real_latencies_of_up_to_three_milliseconds_change_nothing(name: str, in_flight: int) -> None:
    algorithm = variants(name, in_flight=in_flight)[0]
    scenario, budget = SCENARIOS["roll-outs that vote"], Budget(tokens=500)
    calm, _, _ = search(scenario, algorithm, budget)
    tree, _, _ = search(scenario, algorithm, budget, disorder=in_flight, longest_s=0.003)
    assert tree_bytes(tree) == tree_bytes(calm)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_another_seed_gives_another_tree(name: str) -> None:
    if name == "greedy":
        pytest.skip("greedy decoding draws nothing")
    algorithm = variants(name)[0]
    trees = {
        tree_bytes(search(SCENARIOS["log-probability"], algorithm, Budget(tokens=600), seed=seed)[0])
        for seed in range(4)
    }
    assert len(trees) == 4


@pytest.mark.parametrize("name", ALGORITHMS)
@settings(max_examples=30, deadline=None)
@given(data=st.data(), budget=BUDGETS, seed=SEEDS)
def test_a_tree_folded_from_any_prefix_goes_on_to_the_identical_end(
    name: str, data: st.DataObject, budget: Budget, seed: int
) -> None:
    scenario, algorithm = drawn(name, data)
    whole, records, _ = search(scenario, algorithm, budget, seed=seed)
    for _ in range(3):
        end = data.draw(st.integers(0, len(records)), label="records before the kill")
        tree = Tree.fold(scenario.problem, records[:end], seed=seed, budget=budget)
        later = record_events(tree)
        assert taken_up(scenario, algorithm, tree) == tree_bytes(whole)
        assert records[:end] + later in (records, [*records, records[-1]])


@pytest.mark.parametrize("name", ALGORITHMS)
@settings(max_examples=20, deadline=None)
@given(data=st.data(), budget=BUDGETS, seed=SEEDS, moments=st.lists(st.integers(0, 25), max_size=4))
def test_a_search_cancelled_again_and_again_ends_in_the_identical_tree(
    name: str, data: st.DataObject, budget: Budget, seed: int, moments: list[int]
) -> None:
    scenario, algorithm = drawn(name, data)
    value = scenario.value_for(algorithm)
    whole, _, _ = search(scenario, algorithm, budget, seed=seed)
    tree = scenario.tree(budget, seed=seed)

    async def cancelled_at(moment: int) -> None:
        engine = UnrulyEngine(disorder=moment)
        job = asyncio.ensure_future(algorithm(tree, scenario.policy(engine), value))
        engine.on_request = lambda number: job.cancel() if number == moment else None
        done, _ = await asyncio.wait([job])
        assert all(job.cancelled() or job.result() for job in done)
        assert engine.active == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}, "work goes on after the cancellation"

    for moment in moments:
        asyncio.run(cancelled_at(moment))
    assert taken_up(scenario, algorithm, tree) == tree_bytes(whole)


@pytest.mark.parametrize("name", ALGORITHMS)
@settings(max_examples=20, deadline=None)
@given(data=st.data(), budget=BUDGETS, seed=SEEDS, rate=st.floats(0.05, 0.6))
def test_an_engine_error_is_raised_stops_the_other_works_and_retrying_gives_the_identical_tree(
    name: str, data: st.DataObject, budget: Budget, seed: int, rate: float
) -> None:
    scenario, algorithm = drawn(name, data)
    value = scenario.value_for(algorithm)
    whole, _, _ = search(scenario, algorithm, budget, seed=seed)
    tree = scenario.tree(budget, seed=seed)
    engine = UnrulyEngine(fault_rate=rate, faults_once=True, seed=seed, disorder=seed)

    async def once() -> bool:
        try:
            await algorithm(tree, scenario.policy(engine), value)
        except EngineError:
            assert asyncio.all_tasks() == {asyncio.current_task()}, "work goes on after the error"
            assert engine.active == 0
            return False
        return True

    tries = next(count for count in itertools.count(1) if asyncio.run(once()))
    assert tries <= 1 + len(engine.widths)
    assert tree_bytes(tree) == tree_bytes(whole)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_fault_that_stays_is_raised_every_time_and_leaves_what_was_found(name: str) -> None:
    scenario, algorithm = SCENARIOS["default value"], variants(name)[0]
    tree = scenario.tree(Budget(tokens=500))
    for _ in range(2):
        with pytest.raises(EngineError, match="injected fault"):
            run(algorithm, tree, scenario.policy(UnrulyEngine(fault_rate=1.0)), scenario.value_for(algorithm))
        assert tree.usage.calls == 0
        assert len(tree.in_flight) >= 1


@pytest.mark.parametrize("name", ALGORITHMS)
@settings(max_examples=20, deadline=None)
@given(data=st.data(), first=st.integers(1, 500), more=st.integers(1, 900), seed=SEEDS)
def test_a_tree_that_its_budget_stopped_goes_on_inside_a_larger_one(
    name: str, data: st.DataObject, first: int, more: int, seed: int
) -> None:
    scenario, algorithm = drawn(name, data)
    tree, records, engine = search(scenario, algorithm, Budget(tokens=first), seed=seed)
    before, kept = tree.usage, tree_bytes(tree)
    reason = tree.stop
    tree.meter.budget = Budget(tokens=first + more)
    run(algorithm, tree, scenario.policy(engine), scenario.value_for(algorithm))
    assert before.tokens <= tree.usage.tokens <= engine.usage.generated_tokens <= first + more
    assert tree.usage.tokens == engine.usage.generated_tokens or tree.cancelled
    assert tree.meter.reserved == Cost()
    assert tree_bytes(Tree.fold(scenario.problem, records, seed=seed)) == tree_bytes(tree)
    if reason == "budget_tokens":
        assert tree.usage.tokens > before.tokens or tree.stop != "budget_tokens"
    else:
        assert tree_bytes(tree) == kept


@pytest.mark.parametrize("name", ALGORITHMS)
@settings(max_examples=20, deadline=None)
@given(data=st.data(), budget=BUDGETS, seed=SEEDS)
def test_works_enter_the_tree_in_the_order_of_issue_and_never_more_than_in_flight(
    name: str, data: st.DataObject, budget: Budget, seed: int
) -> None:
    scenario, algorithm = drawn(name, data)
    tree, records, _ = search(scenario, algorithm, budget, seed=seed, disorder=seed)
    events = [event for record in records for event in record]
    assert [e.work for e in events if isinstance(e, Issued)] == list(range(tree.works))
    assert [e.work for e in events if isinstance(e, Settled | Cancelled)] == list(range(tree.works))
    assert sum(isinstance(event, Cancelled) for event in events) == tree.cancelled
    flying = 0
    for event in events:
        flying += isinstance(event, Issued) - isinstance(event, Settled | Cancelled)
        assert 0 <= flying <= getattr(algorithm, "in_flight", 1)
    assert all(node.pending == 0 for node in tree.nodes)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_n_samples_of_one_node_are_one_request(name: str) -> None:
    for algorithm in variants(name):
        _tree, records, engine = search(SCENARIOS["log-probability"], algorithm, Budget(tokens=2000))
        expansions = sum(isinstance(e, Expanded) for record in records for e in record)
        if expansions and not getattr(algorithm, "rollout_steps", 0):
            assert engine.usage.requests == expansions == len(engine.widths)
        for record in records:
            below = {event.parent for event in record if isinstance(event, Added)}
            assert len(below) <= 1 or not expansions
        if name == "adaptive-self-consistency":  # judged one by one, so asked for one by one
            assert set(engine.widths) == {1}
        elif not expansions:
            assert engine.widths[0] == (algorithm.n or 18)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ALGORITHMS)
@settings(max_examples=15, deadline=None)
@given(data=st.data(), seed=SEEDS)
def test_the_final_answer_is_one_that_was_found_and_reading_it_changes_nothing(
    name: str, data: st.DataObject, seed: int
) -> None:
    scenario, algorithm = drawn(name, data)
    tree, _, _ = search(scenario, algorithm, Budget(tokens=700), seed=seed)
    before = tree_bytes(tree)
    answer = algorithm.final_answer(tree)
    assert answer == algorithm.final_answer(tree)
    assert tree_bytes(tree) == before
    found = [candidate.answer for candidate in candidates(tree)]
    assert answer in found or (answer is None and not found)
