"""The tree is a pure fold over its events; it is saved, read back and exported without loss."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_worlds import ALGORITHMS, PUZZLE, SCENARIOS, search, tree_bytes, variants

from tasks.base import Problem
from tasks.errors import DataError
from treesearch.algorithms.base import add_chain
from treesearch.answers import candidates
from treesearch.budget import Budget, Cost, Usage
from treesearch.engines.base import FinishReason
from treesearch.events import (
    Added,
    Backed,
    BackupRule,
    Closed,
    Event,
    Expanded,
    Issued,
    Rolled,
    Scored,
    Settled,
    Step,
    Stopped,
    StopReason,
    from_json,
    rounded,
    to_json,
)
from treesearch.export import load_trees, save_trees, to_graphml, to_networkx, tree_from_json, tree_to_json
from treesearch.tree import Node, Tree

SCENARIO_NAMES = ["roll-outs that vote", "graded roll-outs on countdown", "self-certainty"]
IDS = st.integers(0, 10**6)
FLOATS = st.floats(allow_nan=False, allow_infinity=False).map(rounded)
TEXTS = st.text(max_size=30)
COSTS = st.builds(Cost, tokens=IDS, calls=IDS, nodes=IDS)
USAGES = st.builds(Usage, generated_tokens=IDS, prompt_tokens=IDS, value_tokens=IDS, calls=IDS, nodes=IDS)
STEPS = st.builds(
    Step,
    TEXTS,
    st.lists(IDS, max_size=5).map(tuple),
    st.lists(FLOATS, max_size=5).map(tuple),
    st.sampled_from(FinishReason),
    st.none() | FLOATS,
    st.none() | TEXTS,
    st.none() | TEXTS,
)
EVENTS = st.one_of(
    st.builds(Issued, IDS, IDS, COSTS),
    st.builds(Settled, IDS, USAGES),
    st.builds(Added, IDS, STEPS, FLOATS),
    st.builds(Scored, IDS, FLOATS),
    st.builds(Rolled, IDS, TEXTS, IDS, st.none() | TEXTS, st.none() | TEXTS, st.none() | FLOATS),
    st.builds(Backed, IDS, FLOATS, st.sampled_from(BackupRule)),
    st.builds(Expanded, IDS),
    st.builds(Closed, IDS),
    st.builds(Stopped, st.sampled_from(StopReason)),
)


@given(event=EVENTS)
def test_an_event_comes_back_from_json_as_it_was(event: Event) -> None:
    row = json.loads(json.dumps(to_json(event), allow_nan=False))
    assert from_json(row) == event


@pytest.mark.parametrize(
    "row",
    [None, [], {}, "add", ["unknown", 1], ["add", 0], ["stop", "bored"], ["back", 1, 0.5, "median"], [[]], 7],
)
def test_what_is_no_event_is_a_data_error(row: object) -> None:
    with pytest.raises(DataError, match="not an event"):
        from_json(row)


@pytest.mark.parametrize("scenario", SCENARIO_NAMES)
@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_fold_of_its_events_is_the_live_tree(name: str, scenario: str) -> None:
    for algorithm in variants(name):
        tree, records, _ = search(SCENARIOS[scenario], algorithm, Budget(tokens=600), seed=5)
        folded = Tree.fold(tree.problem, records, seed=5)
        assert folded == tree
        assert folded.usage == tree.usage
        assert tree_bytes(folded) == tree_bytes(tree)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_tally_of_votes_is_that_of_the_candidates(name: str) -> None:
    counted = 0
    for scenario in SCENARIO_NAMES:
        tree, _, _ = search(SCENARIOS[scenario], variants(name)[-1], Budget(tokens=600))
        assert tree.votes == Counter(candidate.vote for candidate in candidates(tree))
        counted += sum(tree.votes.values())
    assert counted


@pytest.mark.parametrize("name", ALGORITHMS)
def test_saved_trees_read_back_equal_and_the_bytes_are_stable(name: str, tmp_path: Path) -> None:
    trees = [
        search(SCENARIOS[scenario], variants(name)[-1], Budget(tokens=600))[0] for scenario in SCENARIO_NAMES
    ]
    save_trees(tmp_path / "a.jsonl", trees)
    read = load_trees(tmp_path / "a.jsonl")
    assert read == trees
    assert [tree.usage for tree in read] == [tree.usage for tree in trees]
    save_trees(tmp_path / "b.jsonl", read)
    assert (tmp_path / "b.jsonl").read_bytes() == (tmp_path / "a.jsonl").read_bytes()


def test_a_tree_with_works_in_flight_reads_back_with_their_reservations() -> None:
    tree, records, _ = search(SCENARIOS["roll-outs that vote"], variants("mcts")[0], Budget(tokens=600))
    end = next(i for i, record in enumerate(records) if isinstance(record[0], Issued) and i > 4)
    partly = Tree.fold(tree.problem, records[: end + 1])
    assert partly.in_flight
    read = tree_from_json(json.loads(json.dumps(tree_to_json(partly))))
    assert read == partly
    assert read.meter.reserved == partly.meter.reserved != Cost()


@pytest.mark.parametrize("line", ["{", "[]", "{}", '{"problem": {}}', '"text"', ""])
def test_a_line_that_is_no_tree_is_named_by_file_and_line(line: str, tmp_path: Path) -> None:
    path = tmp_path / "trees.jsonl"
    save_trees(path, [Tree(problem=PUZZLE)])
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(DataError, match=rf"{path}:2: not a tree"):
        load_trees(path)


def test_a_missing_file_of_trees_is_a_data_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*absent\.jsonl"):
        load_trees(tmp_path / "absent.jsonl")


def test_the_graph_has_a_node_a_step_and_an_edge_a_child() -> None:
    tree, _, _ = search(SCENARIOS["graded roll-outs on countdown"], variants("mcts")[0], Budget(tokens=900))
    graph = to_networkx(tree)
    assert nx.is_arborescence(graph)
    assert set(graph.edges) == {(node.parent, node.id) for node in tree.nodes[1:]}
    for node in tree.nodes:
        attributes = graph.nodes[node.id]
        assert attributes["visits"] == node.visits
        assert attributes["q"] == node.q
        assert attributes.get("value") == node.value
        assert attributes["text"] == (node.step.text if node.step else tree.problem.question)
        assert attributes["tokens"] == (len(node.step.token_ids) if node.step else 0)


def test_graphml_is_read_back_by_networkx_whatever_the_texts_hold(tmp_path: Path) -> None:
    tree = Tree(problem=Problem(id="\x01", question="what\x00 is \x1b[1m this & <that>?\ud800"))
    step = Step("a\x0b\x07&<b>\n", (1, 2), (-0.5, -0.25), FinishReason.END, None, "\x02", "x")
    tree.commit(add_chain(tree, 0, [step], 0.5))
    to_graphml(tree, tmp_path / "tree.graphml")
    graph = nx.read_graphml(tmp_path / "tree.graphml", node_type=int)
    assert list(graph.edges) == [(0, 1)]
    assert graph.nodes[1]["text"] == "a  &<b>\n"
    assert graph.nodes[1]["value"] == 0.5
    assert graph.nodes[1]["logprob"] == -0.75
    assert "value" not in graph.nodes[0]


def chain(*texts: str) -> Tree:
    """A tree that is one path."""
    tree = Tree(problem=PUZZLE)
    tree.commit(add_chain(tree, 0, [Step(text, (), (), FinishReason.STOP) for text in texts], None))
    return tree


def test_paths_and_texts_follow_the_parents() -> None:
    tree = chain("a", "b", "c")
    assert tree.text(3) == "abc"
    assert [step.text for step in tree.path(2)] == ["a", "b"]
    assert [node.id for node in tree.lineage(3)] == [3, 2, 1, 0]
    assert [node.depth for node in tree.nodes] == [0, 1, 2, 3]
    assert [node.id for node in tree.frontier()] == [3]
    assert not list(tree.leaves())


def test_a_record_reaches_the_sink_before_it_changes_the_tree() -> None:
    tree = chain("a")
    seen: list[tuple[object, Node]] = []

    def full(record: object) -> None:
        seen.append((record, tree.nodes[1]))
        raise OSError("disk full")

    tree.sink = full
    with pytest.raises(OSError, match="disk full"):
        tree.commit([Closed(1)])
    assert seen == [([Closed(1)], tree.nodes[1])]
    assert not tree.nodes[1].closed


def test_issuing_marks_the_path_pending_and_settling_takes_it_back() -> None:
    tree = chain("a", "b")
    tree.commit([Stopped(StopReason.COMPLETED)])
    tree.commit([Issued(0, 1, Cost(tokens=9, calls=1, nodes=1))])
    assert [node.pending for node in tree.nodes] == [1, 1, 0]
    assert tree.stop is None
    tree.commit([Settled(0, Usage(generated_tokens=4, calls=1))])
    assert [node.pending for node in tree.nodes] == [0, 0, 0]
    assert tree.meter.reserved == Cost()
    assert tree.usage == Usage(generated_tokens=4, calls=1)
