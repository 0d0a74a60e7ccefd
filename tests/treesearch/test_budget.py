"""One budget with one meaning: it holds to the token, by the engine's own count, for every algorithm."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_worlds import ALGORITHMS, SCENARIOS, UnrulyEngine, run, search, variants

from tasks.errors import UsageError
from treesearch.budget import LIMITS, Budget, Cost, Meter, Usage
from treesearch.events import Event
from treesearch.registry import find
from treesearch.tree import Tree

BUDGETS = st.builds(
    Budget,
    tokens=st.one_of(st.integers(1, 60), st.integers(1, 3000)),
    calls=st.none() | st.integers(1, 60),
    nodes=st.none() | st.integers(1, 200),
) | st.builds(
    Budget,
    tokens=st.none() | st.integers(1, 3000),
    calls=st.integers(1, 120),
    nodes=st.none() | st.integers(1, 3000),
)


def held(tree: Tree) -> None:
    """Fail if what is used and reserved passes a limit of the tree's budget."""
    for name in LIMITS:
        limit = getattr(tree.meter.budget, name)
        used, reserved = getattr(tree.usage, name), getattr(tree.meter.reserved, name)
        assert used >= 0
        assert reserved >= 0
        assert limit is None or used + reserved <= limit, f"{name}: {used} + {reserved} > {limit}"


@pytest.mark.parametrize("name", ALGORITHMS)
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_no_algorithm_ever_passes_a_limit_and_all_count_as_the_engine_counts(
    name: str, data: st.DataObject
) -> None:
    scenario = SCENARIOS[data.draw(st.sampled_from(sorted(SCENARIOS)))]
    algorithm = data.draw(st.sampled_from(variants(name, in_flight=data.draw(st.integers(1, 8)))))
    budget, seed = data.draw(BUDGETS), data.draw(st.integers(0, 10**6))
    engine = UnrulyEngine(disorder=data.draw(st.none() | st.integers(0, 99)))
    tree = scenario.tree(budget, seed=seed)

    def check(record: list[Event]) -> None:
        held(tree)

    tree.sink = check
    run(algorithm, tree, scenario.policy(engine), scenario.value_for(algorithm))
    held(tree)
    assert tree.meter.reserved == Cost()
    if not tree.cancelled:
        assert engine.usage.generated_tokens == tree.usage.tokens
        assert engine.usage.prompt_tokens == tree.usage.prompt_tokens
        assert engine.usage.requests == tree.usage.calls
    assert tree.usage.calls <= engine.usage.requests <= tree.usage.calls + tree.cancelled
    assert tree.usage.tokens <= engine.usage.generated_tokens
    assert tree.usage.nodes == len(tree.nodes) - 1
    assert budget.tokens is None or engine.usage.generated_tokens <= budget.tokens


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_token_budget_is_named_as_the_reason_and_nearly_spent(name: str) -> None:
    algorithm = find("algorithm", name)(**find("algorithm", name).until_budget)
    budget = Budget(tokens=400)
    tree, _, _ = search(SCENARIOS["roll-outs that vote"], algorithm, budget)
    if name == "greedy":
        assert tree.stop == "completed"
        return
    assert tree.stop == "budget_tokens"
    assert tree.usage.tokens == 400


@pytest.mark.parametrize("name", ALGORITHMS)
def test_one_token_is_enough_to_run_and_to_stop(name: str) -> None:
    for algorithm in variants(name):
        tree, _, engine = search(SCENARIOS["default value"], algorithm, Budget(tokens=1))
        assert engine.usage.generated_tokens == 1
        assert tree.usage.nodes == 1


def test_seconds_stop_a_search_between_works() -> None:
    algorithm = variants("mcts")[0]
    tree, _, _ = search(SCENARIOS["log-probability"], algorithm, Budget(seconds=1e-9))
    assert tree.stop == "budget_seconds"
    assert tree.usage == Usage()


@pytest.mark.parametrize("name", ["tokens", "calls", "nodes", "seconds"])
@pytest.mark.parametrize("value", [0, -1])
def test_a_limit_below_one_is_refused(name: str, value: int) -> None:
    with pytest.raises(UsageError, match=name):
        Budget(**{name: value})


@given(
    limits=st.tuples(*[st.none() | st.integers(1, 50)] * 3),
    costs=st.lists(st.tuples(*[st.integers(0, 30)] * 3), max_size=12),
    data=st.data(),
)
def test_a_meter_that_is_asked_first_never_passes_a_limit(
    limits: tuple[int | None, ...], costs: list[tuple[int, ...]], data: st.DataObject
) -> None:
    budget = Budget(**dict(zip(LIMITS, limits, strict=True)))
    meter, open_costs = Meter(budget=budget), list[Cost]()
    for tokens, calls, nodes in costs:
        cost = Cost(tokens=tokens, calls=calls, nodes=nodes)
        granted = cost if meter.fits(cost) else meter.most(cost)
        assert meter.fits(granted)
        meter.reserve(granted)
        open_costs.append(granted)
        if data.draw(st.booleans()):
            done = open_costs.pop(0)
            made = data.draw(st.integers(0, done.tokens))
            split = data.draw(st.integers(0, made))
            calls, nodes = data.draw(st.integers(0, done.calls)), data.draw(st.integers(0, done.nodes))
            meter.settle(
                done, Usage(generated_tokens=split, value_tokens=made - split, calls=calls, nodes=nodes)
            )
        for name, limit in zip(LIMITS, limits, strict=True):
            left = meter.left(name)
            assert left == (
                None if limit is None else limit - getattr(meter.used, name) - getattr(meter.reserved, name)
            )
            assert left is None or left >= 0


def test_usages_add_up_by_role() -> None:
    one = Usage(generated_tokens=1, prompt_tokens=2, value_tokens=3, calls=4, nodes=5)
    assert one + one == Usage(generated_tokens=2, prompt_tokens=4, value_tokens=6, calls=8, nodes=10)
    assert (one + one).tokens == 8
