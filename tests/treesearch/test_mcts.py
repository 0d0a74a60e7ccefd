"""MCTS against independent oracles: brute force from the list of returns, formulas written anew, and mctx.

The golden scores are DeepMind mctx's own (`tests/data/make_mctx_golden.py` makes them).
"""

from __future__ import annotations

import itertools
import json
import math
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_worlds import (
    SCENARIOS,
    WALK,
    KnownValue,
    Scenario,
    UnrulyEngine,
    record_events,
    run,
    search,
    tree_bytes,
)

from tasks.errors import UsageError
from treesearch.algorithms.mcts import MCTS
from treesearch.algorithms.selection import puct, puct_scale, uct
from treesearch.budget import Budget
from treesearch.events import Added, Backed, BackupRule, Event, Issued, Rolled
from treesearch.tree import Node, Tree

GOLDEN = Path(__file__).parent.parent / "data" / "mctx_puct.json"
CASES = [
    {"selection": "puct", "backup": "mean"},
    {"selection": "uct", "backup": "mean", "c": 0.6, "in_flight": 1},
    {"selection": "uct", "backup": "max", "width": 2, "max_children": 4},
    {"selection": "puct", "backup": "weighted", "width": 3, "rollout_steps": 2},
    {"selection": "uct", "backup": "weighted", "unvisited": 0.3, "widening": 0.5, "width": 1},
]


# -- backup, by brute force from the returns ----------------------------------------------------------


def returns_below(records: list[list[Event]]) -> dict[int, list[tuple[int, float]]]:
    """For every node the returns backed up at or below it, as (from which node, value)."""
    parent, found = {0: -1}, defaultdict[int, list[tuple[int, float]]](list)
    for event in (event for record in records for event in record):
        if isinstance(event, Added):
            parent[len(parent)] = event.parent
        if isinstance(event, Backed):
            node = event.node
            while node != -1:
                found[node].append((event.node, event.value))
                node = parent[node]
    return found


def true_q(tree: Tree, node: Node, rule: str, returns: dict[int, list[tuple[int, float]]]) -> float:
    values = [value for _, value in returns[node.id]]
    if rule == "mean":
        return sum(values) / len(values)
    if rule == "max":
        return max(values)
    if returns[node.id][-1][0] == node.id:
        return values[-1]
    children = [tree.nodes[child] for child in node.children if returns[child]]
    weights = [len(returns[child.id]) for child in children]
    qs = [true_q(tree, child, rule, returns) for child in children]
    return sum(w * q for w, q in zip(weights, qs, strict=True)) / sum(weights)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['selection']}-{case['backup']}")
@settings(max_examples=15, deadline=None)
@given(
    scenario=st.sampled_from(["log-probability", "roll-outs that vote", "verifier on countdown"]),
    seed=st.integers(0, 10**6),
    tokens=st.integers(1, 2500),
)
def test_visits_and_values_are_those_of_the_returns_below(
    case: dict[str, object], scenario: str, seed: int, tokens: int
) -> None:
    algorithm = MCTS(gate=2.0, **case)  # type: ignore[arg-type]
    tree, records, _ = search(SCENARIOS[scenario], algorithm, Budget(tokens=tokens), seed=seed)
    returns = returns_below(records)
    for node in tree.nodes:
        assert node.visits == len(returns[node.id])
        assert node.visits >= sum(child.visits for child in tree.children(node.id))
        if node.visits:
            assert node.q == pytest.approx(true_q(tree, node, str(case["backup"]), returns), abs=1e-9)
            low, high = (extreme(v for _, v in returns[0]) for extreme in (min, max))
            assert low - 1e-9 <= node.q <= high + 1e-9
        else:
            assert node.q == 0


def test_with_max_backup_no_value_ever_falls() -> None:
    algorithm = MCTS(backup=BackupRule.MAX, selection="uct")
    scenario = SCENARIOS["roll-outs that vote"]
    _, records, _ = search(scenario, algorithm, Budget(tokens=1500))
    tree, before = scenario.tree(), dict[int, float]()
    for record in records:
        tree.apply(record)
        for node in tree.nodes:
            assert node.q >= before.get(node.id, 0.0)
            before[node.id] = node.q


# -- selection, by formulas written anew --------------------------------------------------------------


def formula(case: MCTS, parent: Node, child: Node) -> float:
    """The selection score, from systems.md 0.2 and section 1, where nothing is in flight."""
    q = child.q if child.visits else child.value
    if case.selection == "uct":
        if not child.visits:
            return (child.value or 0) + case.unvisited
        return (q or 0) + case.c * math.sqrt(2 * math.log(parent.visits) / child.visits)
    q = parent.q if q is None else q
    rate = math.log((parent.visits + case.c_base + 1) / case.c_base) + case.c_init
    return q + rate * child.prior * math.sqrt(parent.visits) / (1 + child.visits)


def states_at_issue(scenario: Scenario, records: list[list[Event]]) -> Iterator[tuple[Tree, Issued]]:
    """The tree as it was whenever a work was issued."""
    tree = scenario.tree()
    for record in records:
        if isinstance(record[0], Issued):
            yield tree, record[0]
        tree.apply(record)


@pytest.mark.parametrize("scenario", ["log-probability", "no value", "roll-outs that vote"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['selection']}-{case['backup']}")
def test_every_descent_takes_the_open_child_of_largest_score(scenario: str, case: dict[str, object]) -> None:
    algorithm = MCTS(**(case | {"in_flight": 1, "gate": 2.0}))  # type: ignore[arg-type]
    chosen = SCENARIOS[scenario]
    _, records, _ = search(chosen, algorithm, Budget(tokens=2500, calls=400), seed=11)
    descents = 0
    for tree, issued in states_at_issue(chosen, records):
        down = list(tree.lineage(issued.node))[::-1]
        for parent, taken in itertools.pairwise(down):
            scores = {c.id: formula(algorithm, parent, c) for c in tree.children(parent.id) if not c.closed}
            assert scores[taken.id] >= max(scores.values()) - 1e-9
            descents += len(scores) > 1
    assert descents > 10


@pytest.mark.parametrize("case", json.loads(GOLDEN.read_text())["cases"])
def test_puct_scores_are_those_of_mctx(case: dict[str, list[float]]) -> None:
    scores = []
    scale = puct_scale(
        case["parent_visits"],  # type: ignore[arg-type]
        c_init=case["c_init"],  # type: ignore[arg-type]
        c_base=case["c_base"],  # type: ignore[arg-type]
    )
    for number, visits in enumerate(case["visits"]):
        child = Node(number + 1, 0, 1, None, prior=case["priors"][number], value=case["values"][number])
        child.visits, child.q = int(visits), case["values"][number]
        scores.append(puct(child, scale, 0.0))
    assert scores == pytest.approx(case["scores"], abs=1e-5)
    assert max(range(len(scores)), key=scores.__getitem__) == case["action"]


@given(
    visits=st.integers(1, 50),
    more=st.integers(0, 500),
    q=st.floats(0, 1),
    c=st.floats(0, 5),
    pending=st.integers(0, 5),
)
def test_uct_is_ucb1_over_finished_and_pending_visits(
    visits: int, more: int, q: float, c: float, pending: int
) -> None:
    child = Node(1, 0, 1, None, visits=visits, q=q, pending=pending)
    total = visits + pending + more
    expected = q + c * math.sqrt(2 * math.log(total) / (visits + pending))
    assert uct(child, total, c=c, unvisited=9.0) == pytest.approx(expected)
    fresh = Node(1, 0, 1, None, value=q)
    assert uct(fresh, total, c=c, unvisited=9.0) == pytest.approx(q + 9)


def test_a_pending_visit_lowers_both_scores() -> None:
    node = Node(1, 0, 1, None, prior=0.5, visits=3, q=0.5)
    scale = puct_scale(9, c_init=1.25, c_base=19652)
    calm = uct(node, 9, c=1, unvisited=0), puct(node, scale, 0.0)
    node.pending = 2
    assert uct(node, 9, c=1, unvisited=0) < calm[0]
    assert puct(node, scale, 0.0) < calm[1]


# -- several simulations in flight --------------------------------------------------------------------


@pytest.mark.parametrize("selection", ["uct", "puct"])
def test_the_first_works_after_the_root_go_to_different_leaves(selection: str) -> None:
    algorithm = MCTS(width=8, in_flight=4, selection=selection)  # type: ignore[arg-type]
    _, records, _ = search(SCENARIOS["log-probability"], algorithm, Budget(calls=8), seed=3)
    events = [event for record in records for event in record]
    issued = [event.node for event in events if isinstance(event, Issued)]
    below_root = {n for n, e in enumerate((e for e in events if isinstance(e, Added)), 1) if e.parent == 0}
    assert issued[0] == 0
    assert len(set(issued[1:5])) == 4
    assert set(issued[1:5]) <= below_root


@pytest.mark.parametrize("in_flight", [2, 4, 8])
def test_no_two_works_are_ever_on_the_same_node(in_flight: int) -> None:
    scenario, algorithm = SCENARIOS["log-probability"], MCTS(width=2, in_flight=in_flight)
    _, records, _ = search(scenario, algorithm, Budget(calls=120), seed=3)
    busiest = 0
    for tree, issued in states_at_issue(scenario, records):
        assert issued.node not in {other.node for other in tree.in_flight.values()}
        busiest = max(busiest, len(tree.in_flight) + 1)
    assert busiest == in_flight


def test_waiting_below_one_child_does_not_keep_works_from_the_others() -> None:
    # The value drives every descent to the child "a"; with c = 0 only waiting makes another way open.
    def of(text: str) -> float:
        return 1.0 if text.startswith("step 0: a") else 0.1

    def script(prompt: str, seed: int) -> str:
        return (
            f"step {prompt.count(chr(10))}: {'ab'[seed % 2]}{seed % 3 if prompt.count('step') else ''}\n" * 3
        )

    scenario = Scenario(name="two ways", script=script, value=KnownValue(of=of))
    algorithm = MCTS(selection="uct", c=0.0, unvisited=0.0, width=4, in_flight=8, gate=2.0)
    _, records, _ = search(scenario, algorithm, Budget(calls=60), seed=1)
    idle = [
        tree.frontier() for tree, issued in states_at_issue(scenario, records) if len(tree.in_flight) == 7
    ]
    assert idle, "eight works were never in flight at once"


# -- where it goes ------------------------------------------------------------------------------------


def ways(prompt: str, seed: int) -> str:
    """One letter a line, three of them, then the end."""
    line = "abc"[seed % 3]
    depth = prompt.count("\n") - 1
    return f"{line}\n" * (3 - depth) if depth < 3 else "end"


def worth(text: str) -> float:
    """A perfect value: the share of the best path, c-a-b, that can still be reached; the end tells."""
    letters = text.replace("\n", "").removesuffix("end")
    return 1.0 if "cab".startswith(letters) else 0.2


PERFECT = Scenario(name="perfect", problem=WALK, script=ways, value=KnownValue(of=worth))


@pytest.mark.parametrize("selection", ["uct", "puct"])
def test_with_a_perfect_value_and_no_exploration_the_greedy_path_is_optimal(selection: str) -> None:
    more = {"c_init": 0.0, "c_base": 1e12}
    algorithm = MCTS(
        selection=selection,
        c=0.0,
        unvisited=0.0,
        width=24,
        max_children=24,
        in_flight=1,
        simulations=4,
        **more,
    )  # type: ignore[arg-type]
    tree, _, _ = search(PERFECT, algorithm, Budget(tokens=10_000))
    node = tree.root
    while node.children:
        node = max(tree.children(node.id), key=lambda child: (child.visits, child.q))
    assert tree.text(node.id) == "c\na\nb\nend"


def test_with_large_exploration_siblings_are_visited_alike() -> None:
    algorithm = MCTS(selection="uct", c=1e4, width=24, max_children=24, in_flight=1, gate=2.0, simulations=60)
    scenario = Scenario(
        name="deep",
        script=lambda prompt, seed: "abc"[seed % 3] + "\n" * 1 + "x\n" * 50,
        value=KnownValue(of=lambda text: len(text) % 7 / 7),
    )
    tree, _, _ = search(scenario, algorithm, Budget(calls=200))
    for node in tree.nodes:
        counts = [child.visits for child in tree.children(node.id)]
        # The child that an expansion chose has one visit from it.
        assert not counts or max(counts) - min(counts) <= 1
    assert tree.root.visits == 60


WIDE = Scenario(
    name="wide",
    script=lambda prompt, seed: f"{seed % 997}\n" * 50,
    value=KnownValue(of=lambda text: 0.5),
)
"""Nearly every step is a new one, and all are worth the same."""


def test_progressive_widening_bounds_the_children_by_the_visits() -> None:
    algorithm = MCTS(width=1, widening=0.5, max_children=8, in_flight=1, simulations=80, gate=2.0)
    tree, _, _ = search(WIDE, algorithm, Budget(calls=400))
    assert len(tree.root.children) == 8
    for node in tree.nodes:
        if node.children and node.visits > 1:
            assert len(node.children) <= max(1, math.ceil(node.visits**0.5))


def test_a_wider_root_has_more_children_than_the_nodes_below_it() -> None:
    algorithm = MCTS(width=2, root_width=7, in_flight=1, simulations=20, gate=2.0)
    tree, _, _ = search(WIDE, algorithm, Budget(calls=100))
    assert len(tree.root.children) == 7
    assert {len(node.children) for node in tree.nodes if node.id and node.children} == {2}


def test_simulations_are_counted_to_the_one() -> None:
    for in_flight in (1, 4):
        algorithm = MCTS(simulations=13, in_flight=in_flight, gate=2.0)
        tree, _, _ = search(SCENARIOS["log-probability"], algorithm, Budget(tokens=10**6))
        assert tree.stop == "completed"
        assert tree.root.visits == 13


# -- closing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_flight", [1, 3])
@pytest.mark.parametrize("max_children", [1, 2, 3, 24])
@pytest.mark.parametrize("width", [1, 2, 24])
def test_an_exhausted_tree_stops_only_when_every_path_was_finished(
    width: int, max_children: int, in_flight: int
) -> None:
    algorithm = MCTS(width=width, max_children=max_children, in_flight=in_flight, gate=2.0)
    tree, _, _ = search(PERFECT, algorithm, Budget(tokens=10**6))
    assert tree.stop == "exhausted"
    assert all(node.closed for node in tree.nodes)
    assert all(node.visits for node in tree.leaves())
    if width == 24:
        assert sorted(len(node.children) for node in tree.nodes if node.depth < 3) == [3] * 13
        assert len(list(tree.leaves())) == 27


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    width=st.integers(1, 4),
    max_children=st.integers(1, 5),
    widening=st.sampled_from([0.0, 0.4, 0.8]),
    in_flight=st.integers(1, 5),
    rollout_steps=st.integers(0, 2),
)
def test_no_open_node_is_left_behind_when_a_search_is_exhausted(
    seed: int, width: int, max_children: int, widening: float, in_flight: int, rollout_steps: int
) -> None:
    algorithm = MCTS(
        width=width,
        max_children=max_children,
        widening=widening,
        in_flight=in_flight,
        rollout_steps=rollout_steps,
        gate=2.0,
    )
    tree, records, _ = search(PERFECT, algorithm, Budget(tokens=10**6), seed=seed)
    assert tree.stop == "exhausted"
    assert all(node.closed for node in tree.nodes)
    for state, issued in states_at_issue(PERFECT, records):
        assert not any(node.closed for node in state.lineage(issued.node)), "a closed node was visited"


def test_a_path_at_the_greatest_depth_is_visited_once_and_closed() -> None:
    tree, _, _ = search(PERFECT, MCTS(max_depth=2, width=24, max_children=24, gate=2.0), Budget(tokens=10**5))
    assert max(node.depth for node in tree.nodes) == 2
    assert tree.stop == "exhausted"


def test_the_gate_stops_at_the_first_finished_path_that_reaches_it() -> None:
    tree, _, _ = search(PERFECT, MCTS(gate=0.9, width=24, max_children=24), Budget(tokens=10**5))
    assert tree.stop == "solved"
    assert tree.best_finished == 1.0
    fine, _, _ = search(PERFECT, MCTS(gate=1.5, width=24, max_children=24), Budget(tokens=10**5))
    assert fine.stop == "exhausted"


# -- roll-outs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "scenario", ["roll-outs that vote", "graded roll-outs on countdown", "log-probability"]
)
def test_every_solution_kept_at_a_node_goes_on_from_that_node(scenario: str) -> None:
    chosen = SCENARIOS[scenario]
    algorithm = MCTS(rollout_steps=3, width=3, gate=2.0)
    tree, records, _ = search(chosen, algorithm, Budget(tokens=4000), seed=2)
    rolls = [event for record in records for event in record if isinstance(event, Rolled)]
    assert rolls
    task = chosen.task
    for event in rolls:
        assert len(event.text) <= event.tokens <= len(event.text) + 1
        whole = tree.text(event.node) + event.text
        if event.answer is not None:
            found = task.extract(whole)
            assert found is not None
            assert found.text == event.answer
            numbers = [line.split(":")[0] for line in whole.splitlines() if line.startswith("step")]
            assert numbers == [f"step {i}" for i in range(len(numbers))], "steps are missing or twice"


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("width", 0),
        ("c", -1.0),
        ("alpha", 1.5),
        ("selection", "best"),
        ("simulations", 0),
        ("c_base", 0.0),
        ("root_width", 17),
    ],
)
def test_a_wrong_hyperparameter_is_refused_by_name(name: str, wrong: object) -> None:
    with pytest.raises(UsageError, match=name):
        MCTS(**{name: wrong})  # type: ignore[arg-type]


def test_an_earlier_tree_is_gone_on_with_after_more_simulations_are_asked_for() -> None:
    scenario = SCENARIOS["log-probability"]
    tree = scenario.tree(seed=4)
    records = record_events(tree)
    for simulations in (5, 9):
        run(
            MCTS(simulations=simulations, in_flight=1, gate=2.0),
            tree,
            scenario.policy(UnrulyEngine()),
            scenario.value_for(MCTS()),
        )
    once = scenario.tree(seed=4)
    run(MCTS(simulations=9, in_flight=1, gate=2.0), once, scenario.policy(), scenario.value_for(MCTS()))
    assert tree_bytes(tree) == tree_bytes(once)
    assert len(records) == 9 * 2 + 2
