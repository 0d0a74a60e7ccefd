"""What holds of every builder: determinism, order, caps, counts, prefixes, and where a text may end."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import fields
from importlib.metadata import EntryPoint
from typing import Any

import pytest
from builder_worlds import END, INPUTS, Step, chain_text, encode, forests, opened, searched, shuffled, trees
from hypothesis import given, settings
from hypothesis import strategies as st

from selftrain.builders import (
    REASONS,
    TABLE,
    builder_inputs,
    builder_names,
    find_builder,
    open_builder,
    together,
)
from selftrain.builders.table import GROUP
from selftrain.data.record import TrainingTree
from selftrain.data.searched import Searched
from tasks.errors import DataError, UsageError

NAMES = builder_names()
FEW = settings(max_examples=30)
EVERY = pytest.mark.parametrize("name", NAMES)
LOOSE: dict[str, dict[str, Any]] = {
    "rest-mcts": {"min_tokens": 1},
    "self-correction": {"min_outcomes": 1},
    "upo": {"least": 2, "max_pairs": None},
}
"""Settings under which trees this small give records."""


def loose(name: str, **more: object) -> Any:
    return opened(name, **(LOOSE.get(name, {}) | more))


def by_name(tree: TrainingTree) -> str:
    return tree.problem


def settings_of(name: str) -> set[str]:
    return {entry.name for entry in fields(find_builder(name))}


def meaning(tree: TrainingTree) -> object:
    """What a training tree says, without its numbering."""

    def path(node: int) -> tuple[object, ...]:
        return tuple((tree.tree.segments[one], tree.texts[one]) for one in tree.tree.path(node))

    return (
        tree.problem,
        sorted(
            repr((path(t.node), [path(node) for node in t.untrained], t.weight, t.right, t.kind))
            for t in tree.traces
        ),
        sorted(
            repr((path(p.above), path(p.chosen), path(p.rejected), round(p.offset, 9), round(p.smoothing, 9)))
            for p in tree.pairs
        ),
        sorted(
            repr(
                (
                    path(a.state),
                    sorted((path(n), round(v, 9)) for n, v in zip(a.nodes, a.advantages, strict=True)),
                )
            )
            for a in tree.advantages
        ),
        sorted(repr((path(t.node), round(t.value, 9), t.completions, t.right)) for t in tree.targets),
    )


@FEW
@given(data=st.data())
def test_the_order_of_trees_changes_only_the_order_of_results(data: st.DataObject) -> None:
    forest = data.draw(forests())
    other = data.draw(st.permutations(forest))
    met = list(dict.fromkeys(tree.problem.id for tree in other))
    for name in NAMES:
        one, two = loose(name)(forest), loose(name)(other)
        assert one.counts == two.counts, name
        assert sorted(one.trees, key=by_name) == sorted(two.trees, key=by_name), name
        found = [tree.problem for tree in two.trees]
        assert found == [problem for problem in met if problem in found], name


@FEW
@given(data=st.data())
def test_the_numbering_of_a_tree_changes_nothing_that_is_learned(data: st.DataObject) -> None:
    tree = data.draw(trees())
    other = shuffled(tree, data.draw(st.permutations(range(len(tree.tree)))))
    for name in NAMES:
        one, two = loose(name)([tree]), loose(name)([other])
        assert one.counts == two.counts, name
        assert [meaning(tree) for tree in one.trees] == [meaning(tree) for tree in two.trees], name


@FEW
@given(forest=forests())
def test_counts_say_what_is_there_and_name_known_reasons(forest: list[Searched]) -> None:
    for name in NAMES:
        built = loose(name)(forest)
        kept = Counter[str]()
        for tree in built.trees:
            assert tree.traces or tree.pairs or tree.advantages or tree.targets, name
            kept.update(f"kept.{one.kind}" for one in (*tree.traces, *tree.pairs, *tree.targets))
            kept.update("kept.advantages" for _ in tree.advantages)
        assert {key: n for key, n in built.counts.items() if key.startswith("kept.")} == kept, name
        dropped = {key for key in built.counts if not key.startswith("kept.")}
        assert {key.removeprefix("dropped.") for key in dropped} <= set(REASONS), name
        assert all(count > 0 for count in built.counts.values()), name
        assert len(built.trees) == len({tree.problem for tree in built.trees}), name


@FEW
@given(forest=forests())
def test_text_ends_where_a_record_ends_and_nowhere_before(forest: list[Searched]) -> None:
    for name in NAMES:
        for tree in loose(name)(forest).trees:
            for trace in tree.traces:
                *before, last = tree.tree.path(trace.node)
                assert not any(END in tree.tree.segments[node] for node in before), name
                assert tree.tree.segments[last].count(END) == 1, name
                assert tree.tree.segments[last][-1] == END, name
            for pair in tree.pairs:
                for side in (pair.chosen, pair.rejected):
                    *before, last = tree.tree.path(side)
                    assert not any(END in tree.tree.segments[node] for node in before), name
                    assert END not in tree.tree.segments[last][:-1], name


@FEW
@given(forest=forests())
def test_both_sides_of_a_pair_share_every_token_before_they_part_and_differ_after(
    forest: list[Searched],
) -> None:
    for name in NAMES:
        for tree in loose(name)(forest).trees:
            for pair in tree.pairs:
                paths = [tree.tree.path(node) for node in (pair.chosen, pair.rejected)]
                shared = len(tree.tree.path(pair.above))
                assert paths[0][:shared] == paths[1][:shared] == tree.tree.path(pair.above), name
                assert paths[0][shared] != paths[1][shared], name
                assert chain_text(tree, pair.chosen) != chain_text(tree, pair.rejected), name
                assert not math.isnan(pair.weight + pair.offset + pair.smoothing), name


@FEW
@given(forest=forests())
def test_chosen_is_worth_more_than_rejected_where_pairs_go_by_value(forest: list[Searched]) -> None:
    # Right over wrong solutions (outcome-dpo, crew-dpo) may have any values, a demonstration has none.
    for name in set(NAMES) - {"outcome-dpo", "crew-dpo", "spin"}:
        for tree in loose(name)(forest).trees:
            for pair in tree.pairs:
                assert pair.q_chosen is not None, name
                assert pair.q_rejected is not None, name
                assert pair.q_chosen > pair.q_rejected, name


@FEW
@given(forest=forests())
def test_texts_are_what_the_ids_say(forest: list[Searched]) -> None:
    for name in NAMES:
        for tree in loose(name)(forest).trees:
            for text, ids in zip(tree.texts, tree.tree.segments, strict=True):
                assert list(ids) in (encode(text), [*encode(text), END]), name


@FEW
@given(forest=forests())
def test_a_cap_of_pairs_holds_for_each_problem_and_counts_what_is_beyond(forest: list[Searched]) -> None:
    for name in [each for each in NAMES if "max_pairs" in settings_of(each)]:
        every, capped = loose(name, max_pairs=None)(forest), loose(name, max_pairs=1)(forest)
        sizes = [len(tree.pairs) for tree in every.trees]
        assert [len(tree.pairs) for tree in capped.trees] == [min(1, size) for size in sizes], name
        assert capped.counts.get("dropped.cap", 0) == sum(size - 1 for size in sizes), name


@FEW
@given(forest=forests(graded=True))
def test_a_cap_of_traces_holds_for_each_problem(forest: list[Searched]) -> None:
    for name in ("sft", "rest-mcts", "rft", "rest-em", "self-correction", "journey"):
        for tree in loose(name, max_traces=1)(forest).trees:
            assert len([trace for trace in tree.traces if trace.kind == name]) <= 1, name


@EVERY
def test_no_trees_give_no_trees(name: str) -> None:
    assert loose(name)([]).counts == {}
    assert loose(name)([]).trees == ()


@EVERY
def test_a_problem_without_a_finished_solution_and_without_values_teaches_nothing(name: str) -> None:
    built = loose(name)([searched(Step(text="a\n"), Step(text="b\n"))])
    assert built.trees == ()
    assert built.counts


GOLD = ["sft", "rest-mcts", "rft", "rest-em", "nft", "step-q", "outcome-dpo", "crew-dpo"]
GOLD += ["self-correction", "journey", "revisions", "critique-refine"]


@pytest.mark.parametrize("name", GOLD)
def test_a_builder_that_needs_grades_says_that_there_are_none(name: str) -> None:
    built = loose(name)([searched(Step(text="a", correct=True), Step(text="b", correct=False), graded=False)])
    assert built.trees == ()
    assert built.counts == {"dropped.no_gold": 1}


def test_a_wrong_name_or_setting_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="unknown builder 'tree-plw'; did you mean 'tree-plv'"):
        open_builder("tree-plw")
    with pytest.raises(UsageError, match="unknown setting of builder tree-plv 'alfa'; did you mean 'alpha'"):
        open_builder("tree-plv", {"alfa": 1})
    with pytest.raises(UsageError, match=r"builder sft\.max_traces must be a whole number, got 'many'"):
        open_builder("sft", {"max_traces": "many"})
    with pytest.raises(UsageError, match=r"value of builder sft\.pick"):
        open_builder("sft", {"pick": "best"})


def test_settings_may_be_text_as_a_configuration_gives_them() -> None:
    from selftrain.builders.siblings import TreePLV

    given = open_builder("tree-plv", {"alpha": "0.25", "max_pairs": "none", "gap_weight": "true"})
    assert given == TreePLV(alpha=0.25, max_pairs=None, gap_weight=True)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("sft", {"max_traces": 0}, "max_traces must be at least 1"),
        ("sft", {"min_distance": 2}, r"min_distance must be in \[0, 1\]"),
        ("nft", {"max_traces": 1}, "max_traces must be at least 2"),
        ("tree-plv", {"alpha": 0}, "alpha must be above 0"),
        ("tree-plv", {"max_pairs": -1}, "max_pairs must be at least 1"),
        ("step-q", {"gap_offset": -1}, "gap_offset must be at least 0"),
        ("agent-q", {"alpha": 1.5}, r"alpha must be in \[0, 1\]"),
        ("agent-q", {"theta": -0.1}, "theta must be at least 0"),
        ("rso", {"beta": 0}, "beta must be above 0"),
        ("rso", {"count": 1}, "count must be at least 2"),
        ("targets", {"penalty": -1}, "penalty must be at least 0"),
        ("advantages", {"min_spread": -1}, "min_spread must be at least 0"),
        ("journey", {"branch_steps": 0}, "branch_steps must be at least 1"),
        ("revisions", {"attempts": 0}, "attempts must be at least 1"),
        ("revisions", {"chains": 0}, "chains must be at least 1"),
        ("revisions", {"again": " "}, "again must be some words"),
        ("self-correction", {"delimiter": "lime"}, "unknown delimiter 'lime'; did you mean 'line'"),
    ],
)
def test_a_setting_that_makes_no_sense_is_an_error(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        opened(name, **settings)


@pytest.mark.parametrize("name", [name for name in NAMES if builder_inputs(name, optional=False)])
def test_a_builder_without_its_inputs_is_not_opened(name: str) -> None:
    first = next(iter(builder_inputs(name, optional=False)))
    with pytest.raises(UsageError, match=f"builder '{name}' needs {first}, "):
        open_builder(name)


def test_inputs_are_those_that_the_worlds_know() -> None:
    needed = {key for name in NAMES for key in builder_inputs(name, optional=False)}
    assert needed == set(INPUTS)
    assert builder_inputs("crew-dpo", optional=False) == {}
    assert set(builder_inputs("crew-dpo")) == {"task", "tokenizer"}


@EVERY
def test_the_name_of_a_builder_is_that_in_the_table_and_it_says_where_it_comes_from(name: str) -> None:
    cls = find_builder(name)
    assert cls.name == name
    assert TABLE[name].endswith(cls.__name__)
    assert cls.__doc__


def test_records_of_several_builders_come_together_on_equal_trees() -> None:
    forest = [
        searched(
            Step(text="a\n", value=0.9),
            Step(text="b\n", value=0.1),
            Step(parent=1, text="c", correct=True, value=0.8),
            Step(parent=2, text="d", correct=False, value=0.2),
        )
    ]
    parts = [opened(name)(forest) for name in ("sft", "outcome-dpo", "targets", "self-correction")]
    joined = together(parts)
    assert [len(tree.tree) for tree in joined.trees] == [5, 3]
    first = joined.trees[0]
    assert (len(first.traces), len(first.pairs), len(first.targets)) == (1, 1, 4)
    assert first.meta == {"builders": ["sft", "outcome-dpo", "targets"]}
    assert joined.counts["kept.sft"] == 1
    assert joined.counts["kept.soft"] == 4


def test_trees_of_one_problem_with_different_prompts_cannot_be_one() -> None:
    from dataclasses import replace

    from selftrain.packing import TokenTree

    one = searched(Step(text="a", correct=True))
    other = replace(one, tree=TokenTree(segments=((99,), one.tree.segments[1]), parents=(-1, 0)))
    with pytest.raises(DataError, match="problem 'p' have different prompts"):
        opened("sft")([one, other])


def test_an_installed_package_adds_builders_and_never_replaces_one(monkeypatch: pytest.MonkeyPatch) -> None:
    target = "selftrain.builders.traces:RestEM"
    found = [EntryPoint(name, target, GROUP) for name in ("mine", "sft")]
    monkeypatch.setattr(
        "selftrain.builders.table.entry_points", lambda *, group: found if group == GROUP else []
    )
    assert builder_names() == [*TABLE, "mine"]
    assert type(open_builder("mine", {"max_traces": 2})).__name__ == "RestEM"
    assert type(open_builder("sft")).__name__ == "Traces"
    with pytest.raises(UsageError, match="did you mean 'mine'"):
        open_builder("mime")
