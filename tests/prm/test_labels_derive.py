"""Derivations: identities of every rule, brute-force oracles, and controls that must fail."""

from __future__ import annotations

import random
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from labels_worlds import record

from prm.labels.derive import RuleOptions, dual_sided, first_error, hard, label_rows, soft, why_none
from prm.labels.judge import consensus, judge_labels, judge_records
from prm.labels.pairs import sibling_pairs
from prm.labels.quality import distances, quality_values, simple_quality, step_quality, tree_quality
from prm.labels.rows import write_pairs, write_rows
from prm.labels.steptree import step_tree
from prm.training.rows import StepRow, read_pairs, read_rows
from tasks.errors import UsageError

counts = st.integers(1, 9).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
values = st.lists(st.floats(0, 1), min_size=1, max_size=7)


@given(counts)
def test_the_hard_label_is_whether_the_soft_one_is_above_zero(count: tuple[int, int]) -> None:
    made = record("a", count[1], count[0])
    assert hard(made) == float((soft(made) or 0) > 0)
    assert soft(made) == count[0] / count[1]


def test_nothing_sampled_is_no_label() -> None:
    assert hard(record("a", 0, 0)) is None
    assert soft(record("a", 0, 0)) is None


# ReST-MCTS* quality values


@given(st.integers(1, 12))
def test_quality_is_k_over_K_on_an_all_right_chain(length: int) -> None:
    parents = list(range(-1, length))
    found = quality_values(parents, [None] * length + [0])
    assert found == pytest.approx([k / length for k in range(length + 1)])


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=1, max_size=12))
def test_quality_stays_in_the_unit_interval_whatever_the_steps(steps: list[tuple[bool, int]]) -> None:
    value = 0.0
    for wrong, remaining in steps:
        after = step_quality(value, remaining, wrong=wrong)
        assert 0 <= after <= 1 + 1e-12
        assert after <= value if wrong else after >= value
        value = min(1.0, after)


def test_the_worked_example_of_a_wrong_step() -> None:
    assert step_quality(0.4, 3, wrong=True) == pytest.approx(0.25)
    assert step_quality(0.4, 0, wrong=False) == 1


trees = st.lists(st.integers(0, 30), max_size=12).flatmap(
    lambda draws: st.tuples(
        st.just([-1, *[draw % (index + 1) for index, draw in enumerate(draws)]]),
        st.lists(st.sampled_from([None, None, 0, 2]), min_size=len(draws) + 1, max_size=len(draws) + 1),
    )
)


def brute_distance(parents: list[int], ends: list[int | None], node: int) -> int | None:
    """m by looking at every way down from `node`."""
    ways = [] if ends[node] is None else [ends[node]]
    for child, parent in enumerate(parents):
        if parent == node and (below := brute_distance(parents, ends, child)) is not None:
            ways.append(below + 1)
    return min(ways, default=None)  # type: ignore[type-var]


def brute_quality(parents: list[int], ends: list[int | None], node: int) -> float:
    """The formula with brute-force distances, from the root down."""
    if node == 0:
        return 0.0
    before, holder = brute_quality(parents, ends, parents[node]), node
    remaining = brute_distance(parents, ends, node)
    wrong = remaining is None
    while remaining is None:
        holder = parents[holder]
        remaining = brute_distance(parents, ends, holder)
    return max(before + (1 - before) / (remaining + 1) * (1 - 2 * wrong), 0)


@given(trees)
def test_tree_values_equal_the_formula_with_brute_force_distances(
    tree: tuple[list[int], list[int | None]],
) -> None:
    parents, ends = tree
    found = quality_values(parents, ends)
    if brute_distance(parents, ends, 0) is None:
        assert found is None
        return
    assert found == pytest.approx([brute_quality(parents, ends, node) for node in range(len(parents))])
    distance = distances(parents, ends)
    for left, right in product(range(1, len(parents)), repeat=2):
        siblings = parents[left] == parents[right]
        if siblings and distance[left] < float("inf") == distance[right] and found[parents[left]] < 1:
            assert found[right] < found[left]  # a wrong sibling is always below a right one


def test_tree_quality_reads_finished_solutions_and_completions() -> None:
    tree = [record("a", 1, 1, shortest=2), record("b", 8, 0), record("ac", 1, 1, finished=True, shortest=0)]
    nodes = step_tree(tree)
    found = dict(zip(["".join(node.path) for node in nodes], tree_quality(nodes) or [], strict=True))
    # the question is two steps from a right end: a one, b borrows two
    assert found == pytest.approx({"": 0, "a": 1 / 2, "b": 0, "ac": 1})
    assert tree_quality(step_tree([record("a", 8, 0)])) is None


def test_the_simple_rule_is_depth_over_length_and_less_beside_the_way() -> None:
    tree = [record("abc", 1, 1, finished=True, shortest=0), record("ad", 8, 0), record("ade", 8, 0)]
    nodes = step_tree(tree)
    found = dict(zip(["".join(node.path) for node in nodes], simple_quality(nodes) or [], strict=True))
    assert found == {"": 0, "a": 1 / 3, "ab": 2 / 3, "abc": 1, "ad": 0, "ade": None}


# MedS3's soft dual-sided labels


@given(values)
def test_a_penalty_of_zero_leaves_soft_values_and_labels_stay_in_the_interval(found: list[float]) -> None:
    assert dual_sided(found, penalty=0) == found
    assert all(0 <= label <= value for label, value in zip(dual_sided(found, penalty=2), found, strict=True))
    assert dual_sided(sorted(found)) == sorted(found)
    assert dual_sided(found)[-1] == found[-1]


def test_a_fall_and_a_dip_are_penalised_by_what_was_lost() -> None:
    assert dual_sided([0.8, 0.5, 0.4], penalty=0.5) == pytest.approx([0.8, 0.5 - 0.15, 0.4])
    assert dual_sided([0.8, 0.2, 0.6], penalty=0.5) == pytest.approx([0.8, 0.2 - 0.1, 0.6])
    assert dual_sided([0.8, 0.2, 0.9], penalty=0.5) == pytest.approx([0.8, 0.2, 0.9])
    with pytest.raises(UsageError, match="penalty"):
        dual_sided([0.5], penalty=-1)


def test_the_dual_rule_holds_on_every_run_of_steps_with_outcomes() -> None:
    falling = [record("a", 10, 8), record("ab", 10, 5), record("abc", 10, 4), record("abcd", 0, 0)]
    (row,) = label_rows(falling, "dual")
    assert row.labels == pytest.approx((0.8, 0.5 - 0.5 * 0.3, 0.4, None))
    (row,) = label_rows(falling, "dual", options=RuleOptions(penalty=0.0))
    assert row.labels == (0.8, 0.5, 0.4, None)


def test_a_rule_that_finds_nothing_says_why() -> None:
    with pytest.raises(UsageError, match="what a search backed up; records of mc have none"):
        label_rows([record("a", 8, 6)], "tree")
    assert "no step was labelled" in why_none([record("", 8, 8)], "soft")
    assert "none of 1 has one" in why_none([record("a", 8, 0)], "quality")
    assert "no step has an outcome" in why_none([record("a", 0, 0)], "hard")
    assert "no siblings differ" in why_none([record("a", 8, 6)], "soft")


# rows


def family() -> list[object]:
    return [record("a", 8, 6), record("ab", 8, 8), record("ac", 8, 0), record("d", 0, 0), record("", 4, 2)]


def test_every_solution_is_a_row_with_counts_and_shared_steps_weigh_once_if_wanted() -> None:
    rows = label_rows(family(), "soft")  # type: ignore[arg-type]
    assert [(row.steps, row.labels, row.counts) for row in rows] == [
        (("a", "b"), (0.75, 1.0), ((6, 8), (8, 8))),
        (("a", "c"), (0.75, 0.0), ((6, 8), (0, 8))),
    ]
    assert {row.id for row in rows} == {"p"}
    assert [row.labels for row in label_rows(family(), "soft", once=True)] == [  # type: ignore[arg-type]
        (0.75, 1.0),
        (None, 0.0),
    ]
    assert [row.labels for row in label_rows(family(), "hard")] == [(1, 1), (1, 0)]  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="did you mean 'soft'"):
        label_rows([], "softt")


def test_search_values_are_cut_to_the_unit_interval() -> None:
    rows = label_rows([record("a", value=1.5, visits=1), record("ab", value=-0.5), record("abc")], "tree")
    assert rows[0].labels == (1.0, 0.0, None)


def test_the_dual_rule_is_made_of_the_soft_values_of_each_solution() -> None:
    chain = [record("a", 10, 8), record("ab", 10, 2), record("abc", 10, 6)]
    found = label_rows(chain, "dual", options=RuleOptions(penalty=1.0))
    assert found[0].labels == pytest.approx((0.8, 0.0, 0.6))


def test_rows_and_pairs_are_read_by_training_as_they_were_written(tmp_path: Path) -> None:
    with_ids = [
        record(path, 8, right, prompt_ids=(1, 2), step_ids=tuple((ord(char),) for char in path))
        for path, right in (("a", 6), ("ab", 8), ("ac", 0))
    ]
    for found in (with_ids, [record("a", 8, 6), record("ab", 8, 8), record("ac", 8, 0)]):
        rows, pairs = label_rows(found, once=True), sibling_pairs(found)
        assert write_rows(tmp_path / "rows.jsonl", rows) == 2
        assert write_pairs(tmp_path / "pairs.jsonl", pairs) == 1
        assert read_pairs(tmp_path / "pairs.jsonl") == pairs
    assert rows[0] == read_rows(tmp_path / "rows.jsonl")[0]


def test_a_masked_step_keeps_no_count_that_would_bring_its_label_back(tmp_path: Path) -> None:
    rows = label_rows(family(), once=True)  # type: ignore[arg-type]
    write_rows(tmp_path / "rows.jsonl", rows)
    assert [row.labels for row in read_rows(tmp_path / "rows.jsonl")] == [row.labels for row in rows]


# sibling pairs


@given(st.lists(st.integers(0, 8), min_size=2, max_size=5), st.floats(0.05, 1.0))
def test_every_pair_meets_the_gap_and_shares_its_prefix(rights: list[int], gap: float) -> None:
    found = [record("xy" + "abcde"[i], 8, right) for i, right in enumerate(rights)]
    pairs = sibling_pairs(found, gap=gap)
    wanted = sum((a - b) / 8 >= gap - 1e-12 for a in rights for b in rights)
    assert len(pairs) == wanted
    for pair in pairs:
        assert pair.prefix == ("x", "y")
        assert (pair.chosen_value or 0) - (pair.rejected_value or 0) >= gap - 1e-12
    assert len(sibling_pairs(found, gap=gap, extremes=True)) == min(1, wanted)


def test_a_gap_above_one_gives_no_pair_and_cousins_are_never_paired() -> None:
    found = [record("a", 8, 8), record("b", 8, 0), record("ac", 8, 8), record("bd", 8, 0)]
    assert sibling_pairs(found, gap=1 + 1e-9) == []
    assert [(p.prefix, p.chosen, p.rejected) for p in sibling_pairs(found)] == [((), ("a",), ("b",))]
    with pytest.raises(UsageError, match="gap must be above 0"):
        sibling_pairs(found, gap=0)
    with pytest.raises(UsageError, match="label rule for pairs"):
        sibling_pairs(found, rule="dual")


# judges and consensus


def test_a_verdict_labels_what_it_judged_and_nothing_after_the_error() -> None:
    assert judge_labels(3, -1) == [1, 1, 1]
    assert judge_labels(4, 1) == [1, 0, None, None]
    assert judge_labels(1, 0) == [0]
    with pytest.raises(UsageError, match="from -1 to 2 in 3 steps, got 3"):
        judge_labels(3, 3)


def test_several_verdicts_are_counts_of_a_record() -> None:
    found = judge_records("p", "q", ["a", "b", "c"], [1, 1, -1, 2], judge="j")
    assert [(each.step, each.right, each.completions) for each in found] == [
        ("a", 4, 4),
        ("b", 2, 4),
        ("c", 1, 2),
    ]
    assert {each.source for each in found} == {"judge:j"}
    with pytest.raises(UsageError, match="no verdict"):
        judge_records("p", "q", ["a"], [], judge="j")


def row(name: str, labels: list[float | None]) -> StepRow:
    return StepRow(id=name, prompt=name, steps=("s",) * len(labels), labels=tuple(labels))


def test_the_consensus_is_exactly_the_intersection() -> None:
    first = [row("a", [1, 0.5, 0]), row("b", [1, 0, 0]), row("c", [1, 1, 1]), row("d", [1])]
    second = [row("a", [1, 1, 0]), row("b", [0, None, None]), row("c", [1, 1, 1])]
    found = consensus(first, second)
    assert [each.id for each in found.kept] == ["a", "c"]
    assert (found.compared, found.unmatched, found.ratio) == (3, 1, 2 / 3)
    assert first_error([1, None, 0]) == 2
    assert first_error([1, None]) is None
    with pytest.raises(UsageError, match="labelled twice"):
        consensus(first, [*second, row("a", [0, 1, 0])])


def test_independent_noise_falls_as_predicted() -> None:
    """Two labellings that name a wrong place with chance 0.3 and 0.2, each of 5 other places alike."""
    rng, places, e1, e2 = random.Random(0), 6, 0.3, 0.2

    def noisy(truth: int, chance: float) -> int:
        return truth if rng.random() >= chance else rng.choice([p for p in range(places) if p != truth])

    truths = [rng.randrange(places) for _ in range(20_000)]
    first = [row(f"{i}", list(judge_labels(places, noisy(t, e1)))) for i, t in enumerate(truths)]
    second = [row(f"{i}", list(judge_labels(places, noisy(t, e2)))) for i, t in enumerate(truths)]
    found = consensus(first, second)
    wrong = sum(first_error(each.labels) != truths[int(each.id)] for each in found.kept)
    agree = e1 * e2 / (places - 1)
    assert wrong / len(found.kept) == pytest.approx(agree / (agree + (1 - e1) * (1 - e2)), abs=0.005)
    assert found.ratio == pytest.approx(agree + (1 - e1) * (1 - e2), abs=0.01)
