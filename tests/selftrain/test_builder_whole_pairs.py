"""Pairs of whole solutions: outcome DPO, self-rewarding, confidence, temporal, SPIN."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from builder_worlds import (
    END,
    INPUTS,
    Letters,
    Step,
    chain_ids,
    encode,
    opened,
    pair_texts,
    samples,
    searched,
    trees,
)
from hypothesis import given, settings

from selftrain.builders import Built
from selftrain.builders.solutions import solutions
from selftrain.builders.whole_pairs import answer_confidence
from selftrain.data.record import Pair
from selftrain.data.searched import Searched
from tasks.errors import UsageError
from tasks.math import MathTask

FEW = settings(max_examples=40)


def texts(built: Built) -> list[tuple[str, str]]:
    return [pair_texts(tree, pair) for tree in built.trees for pair in tree.pairs]


def pairs_of(built: Built) -> list[Pair]:
    return [pair for tree in built.trees for pair in tree.pairs]


def test_right_solutions_are_chosen_over_wrong_ones_from_where_they_part() -> None:
    tree = searched(
        Step(text="a\n"),
        Step(parent=1, text="b", correct=True),
        Step(parent=1, text="c\n"),
        Step(parent=3, text="d", correct=False),
    )
    built = opened("outcome-dpo")([tree])
    assert texts(built) == [("a\nb", "a\nc\nd")]
    assert [(pair.above, pair.chosen, pair.rejected) for pair in pairs_of(built)] == [(1, 2, 4)]


def test_under_a_cap_every_right_solution_meets_a_wrong_one_before_any_meets_a_second() -> None:
    tree = samples(("r0", True, 0.9), ("r1", True, 0.8), ("w0", False, 0.7), ("w1", False, 0.1))
    assert texts(opened("outcome-dpo", max_pairs=None)([tree])) == [
        ("r0", "w0"),
        ("r1", "w1"),
        ("r0", "w1"),
        ("r1", "w0"),
    ]
    assert texts(opened("outcome-dpo", max_pairs=2)([tree])) == [("r0", "w0"), ("r1", "w1")]


@FEW
@given(tree=trees(graded=True))
def test_all_right_and_wrong_texts_meet_once(tree: Searched) -> None:
    found = texts(opened("outcome-dpo", max_pairs=None)([tree]))
    right = {one.text for one in solutions(tree, "worth") if one.right}
    wrong = {one.text for one in solutions(tree, "worth") if not one.right}
    assert sorted(found) == sorted((chosen, rejected) for chosen in right for rejected in wrong)


def test_self_rewarding_takes_the_best_over_the_worst_without_a_gold() -> None:
    tree = replace(samples(("a", False, 0.9), ("b", True, 0.5), ("c", True, 0.1)), correct=(None,) * 4)
    assert texts(opened("self-rewarding")([tree])) == [("a", "c")]
    assert opened("self-rewarding")([samples(("a", True, 0.5), ("b", True, 0.5))]).counts == {
        "dropped.tie": 1
    }
    assert opened("self-rewarding")([samples(("a", True, 0.5), ("b", True, None))]).counts == {
        "dropped.no_value": 1,
        "dropped.too_few": 1,
    }


def test_crew_keeps_the_pairs_of_the_largest_difference_in_confidence() -> None:
    tree = samples(("r0", True, 0.9), ("r1", True, 0.3), ("w0", False, 0.8), ("w1", False, 0.2))
    built = opened("crew-dpo", max_pairs=2)([tree])
    assert texts(built) == [("r0", "w1"), ("r0", "w0")] or texts(built) == [("r0", "w1"), ("r1", "w1")]
    gaps = [(pair.q_chosen or 0) - (pair.q_rejected or 0) for pair in pairs_of(opened("crew-dpo")([tree]))]
    assert gaps == pytest.approx([0.7, 0.1, 0.1, -0.5])
    assert opened("crew-dpo")([samples(("a", True, None), ("b", False, 0.1))]).counts == {
        "dropped.no_right": 1,
        "dropped.no_value": 1,
    }


def boxed(answer: str, each: float, *, right: bool = True) -> Searched:
    """One solution whose answer's tokens all have probability `each`, the others less."""
    text = f"so \\boxed{{{answer}}}"
    tree = searched(Step(text=text, correct=right))
    start = text.index(answer)
    logs = [math.log(each if start <= at < start + len(answer) else 0.01) for at in range(len(text))]
    stored = (None, (*logs, math.log(0.01)))
    return replace(tree, tree=replace(tree.tree, logprobs=stored))


def measured(tree: Searched) -> float | None:
    return answer_confidence(tree, solutions(tree, "value")[0], MathTask(), Letters())


def test_confidence_is_the_mean_probability_of_the_answers_tokens_alone() -> None:
    assert measured(boxed("42", 0.5)) == pytest.approx(0.5)


def test_an_answer_twice_as_long_with_equal_probabilities_has_the_same_confidence() -> None:
    assert measured(boxed("1234", 0.7)) == pytest.approx(measured(boxed("12345678", 0.7)))


def test_an_answer_over_several_steps_is_found_in_each_of_them() -> None:
    tree = searched(Step(text="so \\boxed{4"), Step(parent=1, text="2}", correct=True))
    logs = tree.tree.logprobs
    known = [logs[1][-1], logs[2][0]] if logs[1] and logs[2] else []
    assert measured(tree) == pytest.approx(sum(map(math.exp, known)) / 2)


def test_without_an_answer_or_stored_log_probs_there_is_no_confidence_and_no_pair() -> None:
    assert measured(searched(Step(text="I give up.", correct=False))) is None
    assert measured(searched(Step(text="so \\boxed{4}", correct=True), stored=False)) is None
    given = {"confidence": "stored", "task": MathTask(), "tokenizer": Letters()}
    tree = searched(Step(text="so \\boxed{4}", correct=True), Step(text="I give up.", correct=False))
    assert opened("crew-dpo", **given)([tree]).counts == {"dropped.no_logprobs": 1, "dropped.no_wrong": 1}


def test_stored_confidence_orders_pairs_and_needs_task_and_tokenizer() -> None:
    from selftrain.builders import merge

    forest = merge([boxed("42", 0.9), boxed("41", 0.2, right=False), boxed("40", 0.6, right=False)]).searched
    built = opened("crew-dpo", confidence="stored", task=MathTask(), tokenizer=Letters())([forest])
    assert texts(built) == [("so \\boxed{42}", "so \\boxed{41}"), ("so \\boxed{42}", "so \\boxed{40}")]
    assert [pair.q_rejected for pair in pairs_of(built)] == pytest.approx([0.2, 0.6])
    with pytest.raises(UsageError, match="needs task and tokenizer"):
        opened("crew-dpo", confidence="stored")


def gap(pair: Pair) -> float:
    return (pair.q_chosen or 0.0) - (pair.q_rejected or 0.0)


def test_the_past_gives_the_rejected_side_where_it_is_worse_and_else_the_present_does() -> None:
    now = samples(("good", True, 0.9), ("poor", False, 0.4))
    worse, better = samples(("old", False, 0.1)), samples(("old", False, 0.6))
    assert texts(opened("temporal", earlier=[worse])([now])) == [("good", "old")]
    assert texts(opened("temporal", earlier=[better])([now])) == [("good", "poor")]


def test_the_future_gives_the_chosen_side_only_where_it_is_better() -> None:
    now, past = samples(("good", True, 0.9), ("poor", False, 0.4)), samples(("old", False, 0.1))
    for score, chosen in ((0.95, "new"), (0.8, "good")):
        later = [samples(("new", True, score))]
        assert texts(opened("temporal", earlier=[past], later=later)([now])) == [(chosen, "old")]


def test_a_future_that_writes_the_rejected_text_itself_leaves_the_present_chosen() -> None:
    now, past = samples(("good", True, 0.4)), samples(("old", False, 0.1))
    later = [samples(("old", True, 0.9))]
    assert texts(opened("temporal", earlier=[past], later=later)([now])) == [("good", "old")]


@FEW
@given(now=trees(max_steps=8), past=trees(max_steps=8), later=trees(max_steps=8))
def test_temporal_gaps_are_never_below_those_of_self_rewarding_and_phase_two_lowers_no_chosen(
    now: Searched, past: Searched, later: Searched
) -> None:
    vanilla = pairs_of(opened("self-rewarding")([now]))
    first = pairs_of(opened("temporal", earlier=[past])([now]))
    second = pairs_of(opened("temporal", earlier=[past], later=[later])([now]))
    if vanilla and first:
        assert gap(first[0]) >= gap(vanilla[0]) - 1e-9
    if first:
        assert second
        assert (second[0].q_chosen or 0) >= (first[0].q_chosen or 0)
        assert second[0].q_rejected == first[0].q_rejected


def test_a_problem_that_the_earlier_model_did_not_search_is_counted() -> None:
    built = opened("temporal", earlier=[samples(("a", True, 0.1), problem="other")])(
        [samples(("b", True, 0.5))]
    )
    assert built.counts == {"dropped.no_earlier": 1}


def test_spin_chooses_the_demonstration_which_ends_as_the_models_texts_do() -> None:
    tree = samples(("one", False, None), ("two", True, None))
    built = opened("spin", demonstrations={"p": "shown"}, max_pairs=None)([tree])
    assert sorted(texts(built)) == [("shown", "one"), ("shown", "two")]
    made = built.trees[0]
    assert chain_ids(made, made.pairs[0].chosen) == (*encode("shown"), END)
    assert made.pairs[0].q_chosen is None


def test_a_generated_text_that_is_the_demonstration_makes_no_pair() -> None:
    tree = samples(("shown", True, None), ("other", True, None))
    built = opened("spin", demonstrations={"p": "shown"}, max_pairs=None)([tree])
    assert texts(built) == [("shown", "other")]
    assert built.counts == {"dropped.duplicate": 1, "kept.spin": 1}
    made = built.trees[0]
    assert made.pairs[0].chosen == 1, "the demonstration is the model's own node, not a copy"
    assert opened("spin", demonstrations={})([tree]).counts == {"dropped.no_demonstration": 1}


def test_spin_draws_by_its_seed() -> None:
    tree = samples(*((f"text {n}", True, None) for n in range(9)))
    found = {texts(opened("spin", seed=seed)([tree]))[0][1] for seed in range(12)}
    assert len(found) > 3
    assert set(INPUTS) >= {"demonstrations", "encode"}


@pytest.mark.parametrize("name", ["outcome-dpo", "crew-dpo"])
def test_a_pair_whose_values_contradict_it_has_no_offset_and_no_gap_to_weigh_it_by(name: str) -> None:
    tree = samples(("right", True, 0.2), ("wrong", False, 0.8))
    (pair,) = pairs_of(opened(name, gap_offset=1.0)([tree]))
    assert (pair.weight, pair.offset) == (1.0, 0.0)
    weighed = opened(name, gap_weight=True)([tree])
    assert not pairs_of(weighed)
    assert weighed.counts["dropped.gap"] == 1


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("spin", {"gap_weight": True}),
        ("spin", {"gap_offset": 0.5}),
        ("cream", {"visit_smoothing": True}),
        ("upo", {"visit_smoothing": True}),
    ],
)
def test_settings_that_would_undo_what_a_builder_is_about_are_refused(
    name: str, setting: dict[str, object]
) -> None:
    with pytest.raises(UsageError, match=f"builder '{name}' has no use for {next(iter(setting))}"):
        opened(name, **setting)


def test_temporal_takes_the_next_worst_where_best_and_worst_are_one_text() -> None:
    now = samples(("same", True, 0.9), ("poor", False, 0.3))
    before = samples(("same", True, 0.1))
    assert texts(opened("temporal", earlier=[before])([now])) == [("same", "poor")]
