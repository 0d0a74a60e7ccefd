"""Beam and best-first search against exhaustive enumeration of a toy world with known values."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_worlds import KnownValue, Scenario, search

from tasks.base import Problem
from treesearch.algorithms.beam import Beam
from treesearch.algorithms.best_first import BestFirst
from treesearch.budget import Budget
from treesearch.events import Expanded, StopReason
from treesearch.tree import Tree

DEPTH, LETTERS = 3, "abc"
ALL = [letters for n in range(1, DEPTH + 1) for letters in itertools.product(LETTERS, repeat=n)]
MANY = 40
"""Samples enough to draw every branch (checked by `whole`)."""


def lines(prompt: str, seed: int) -> str:
    """One random letter a line for three lines, and no more after that."""
    depth = prompt.count("\n") - 1
    if depth == DEPTH - 1:
        return LETTERS[seed % 3]  # the last line ends the text
    return f"{LETTERS[seed % 3]}\n" * 9


def key(text: str) -> str:
    return text.replace("\n", "")


def world(world_seed: int, worth: dict[str, float] | None = None) -> Scenario:
    """The toy world whose paths have random, distinct values."""
    table = worth or table_of(world_seed)
    return Scenario(
        name="toy",
        problem=Problem(id="toy", question="Go"),
        script=lines,
        value=KnownValue(of=lambda text: table[key(text)]),
    )


def table_of(seed: int) -> dict[str, float]:
    rng = random.Random(seed)
    values = rng.sample(range(1000), len(ALL))
    return {"".join(path): value / 1000 for path, value in zip(ALL, values, strict=True)}


def finished(tree: Tree) -> dict[str, float | None]:
    return {key(tree.text(leaf.id)): leaf.value for leaf in tree.leaves()}


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_beam_of_full_width_finds_the_best_of_all_paths(seed: int) -> None:
    table = table_of(seed)
    tree, _, _ = search(world(seed), Beam(beam_width=27, expansion=MANY), Budget(tokens=10**6), seed=seed)
    found = finished(tree)
    assert found == {path: value for path, value in table.items() if len(path) == DEPTH}
    assert tree.stop is StopReason.COMPLETED


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), width=st.integers(1, 9))
def test_a_beam_keeps_the_best_of_every_level(seed: int, width: int) -> None:
    table = table_of(seed)
    tree, _, _ = search(world(seed), Beam(beam_width=width, expansion=MANY), Budget(tokens=10**6), seed=seed)
    kept = [""]
    for _ in range(DEPTH):
        level = [path + letter for path in kept for letter in LETTERS]
        assert set(level) <= {key(tree.text(node.id)) for node in tree.nodes}
        kept = sorted(level, key=lambda path: -table[path])[:width]
    assert sum(node.expansions for node in tree.nodes) == 1 + sum(min(width, 3**n) for n in range(1, DEPTH))
    assert max(finished(tree), key=lambda path: table[path]) == kept[0]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_beam_of_width_one_is_greedy_by_value(seed: int) -> None:
    table = table_of(seed)
    tree, _, _ = search(world(seed), Beam(beam_width=1, expansion=MANY), Budget(tokens=10**6), seed=seed)
    greedy = ""
    for _ in range(DEPTH):
        greedy = max((greedy + letter for letter in LETTERS), key=lambda path: table[path])
    assert {path[: DEPTH - 1] for path in finished(tree)} == {greedy[: DEPTH - 1]}
    assert max(finished(tree), key=lambda path: table[path]) == greedy


def test_a_later_round_goes_on_with_first_steps_that_no_earlier_round_expanded() -> None:
    algorithm = Beam(beam_width=1, expansion=3, rounds=3)
    tree, _, _ = search(world(1), algorithm, Budget(tokens=10**6))
    assert tree.stop is StopReason.COMPLETED
    assert tree.root.expansions == 3
    assert sum(child.expansions for child in tree.children(0)) == 3
    assert not any(leaf.children or leaf.expansions for leaf in tree.leaves())


def test_rounds_end_when_no_first_step_is_left_to_go_on_with() -> None:
    tree, _, _ = search(world(1), Beam(beam_width=2, expansion=1, rounds=None), Budget(tokens=10**6))
    assert tree.stop is StopReason.EXHAUSTED
    assert all(child.expansions == 1 for child in tree.children(0))


def test_max_steps_bounds_the_depth() -> None:
    tree, _, _ = search(world(1), Beam(max_steps=2), Budget(tokens=10**6))
    assert max(node.depth for node in tree.nodes) == 3
    tree, _, _ = search(world(1), Beam(max_steps=1), Budget(tokens=10**6))
    assert max(node.depth for node in tree.nodes) == 2


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_best_first_expands_in_the_order_of_value(seed: int) -> None:
    table = table_of(seed)
    algorithm = BestFirst(expansion=MANY, in_flight=1, max_solutions=10, max_restarts=1)
    tree, records, _ = search(world(seed), algorithm, Budget(tokens=10**6), seed=seed)
    expanded = [e.node for record in records for e in record if isinstance(e, Expanded)]
    frontier, expected = list(LETTERS), [""]
    while len(expected) < len(expanded):
        best = max((path for path in frontier if len(path) < DEPTH), key=lambda path: table[path])
        frontier.remove(best)
        frontier += [best + letter for letter in LETTERS]
        expected.append(best)
    assert [key(tree.text(node)) for node in expanded] == expected
    assert len(finished(tree)) >= 10


def test_best_first_starts_again_at_the_root_when_nothing_is_open() -> None:
    algorithm = BestFirst(expansion=1, in_flight=1, max_solutions=3)
    tree, _, _ = search(world(3), algorithm, Budget(tokens=10**6))
    assert tree.root.expansions >= 3
    assert len(finished(tree)) == 3
    few = BestFirst(expansion=1, max_solutions=None, max_restarts=3)
    tree, _, _ = search(world(3), few, Budget(tokens=10**6))
    assert tree.stop is StopReason.EXHAUSTED
    assert tree.root.expansions == 3


def test_best_first_asks_for_more_steps_at_the_root_if_told_to() -> None:
    narrow = BestFirst(expansion=1, in_flight=1, max_solutions=1)
    wide = replace(narrow, root_expansion=MANY)
    trees = [search(world(1), algorithm, Budget(tokens=10**6))[0] for algorithm in (narrow, wide)]
    assert [len(tree.root.children) for tree in trees] == [1, 3]
    for tree in trees:
        assert all(len(node.children) <= 1 for node in tree.nodes if node.id)


@pytest.mark.parametrize(("restart_below", "expansions"), [(0.0, 1), (0.5, 2), (1.2, 3), (10.0, 4)])
def test_poor_open_paths_send_best_first_back_to_the_root(restart_below: float, expansions: int) -> None:
    worth = dict.fromkeys(table_of(1), 0.4)
    algorithm = BestFirst(expansion=1, in_flight=1, max_restarts=4, restart_below=restart_below)
    tree, _, _ = search(world(1, worth), algorithm, Budget(tokens=10**6))
    assert tree.root.expansions == expansions  # 0.4 is below 0.5, 1.2 / 2, and 10 / k as long as is allowed


def test_best_first_with_a_depth_limit_goes_no_deeper() -> None:
    algorithm = BestFirst(max_depth=2, max_solutions=None, max_restarts=2, expansion=8)
    tree, _, _ = search(world(3), algorithm, Budget(tokens=10**6))
    assert max(node.depth for node in tree.nodes) == 2


@pytest.mark.parametrize(
    "algorithm",
    [
        Beam(beam_width=2, expansion=12, answer="best"),
        BestFirst(expansion=12, max_solutions=1, answer="best"),
    ],
    ids=["beam", "best-first"],
)
def test_an_oracle_and_an_anti_oracle_bracket_the_answers_value(algorithm: Beam | BestFirst) -> None:
    table = table_of(5)
    target = "bca"

    def share(path: str) -> float:
        return sum(a == b for a, b in zip(path, target, strict=False)) / DEPTH

    sources = {
        "oracle": {path: share(path) for path in table},
        "noise": table,
        "anti": {path: 1 - share(path) for path in table},
    }
    reached = {}
    for name, worth in sources.items():
        ends = []
        for seed in range(12):
            tree, _, _ = search(world(0, worth), algorithm, Budget(tokens=10**5), seed=seed)
            leaf = max(tree.leaves(), key=lambda leaf: leaf.value or 0.0)
            ends.append(share(key(tree.text(leaf.id))))
        reached[name] = sum(ends) / len(ends)
    assert reached["anti"] < reached["noise"] < reached["oracle"]
    assert reached["oracle"] > 0.9
