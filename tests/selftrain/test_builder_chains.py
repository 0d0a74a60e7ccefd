"""Composed texts: self-correction, journeys, critique; what is shared, stored, learned and ended."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from builder_worlds import (
    END,
    Step,
    chain_ids,
    chain_text,
    encode,
    opened,
    searched,
    trace_texts,
    trees,
)
from hypothesis import given, settings
from packing_worlds import tiny_llama

from selftrain.builders.chains import Composer
from selftrain.data.exports import completions
from selftrain.data.record import Trace, TrainingTree
from selftrain.data.searched import Searched
from tasks.errors import UsageError

FEW = settings(max_examples=40)
REFLECTION = "Wait, that step is wrong. Let me do it again.\n"


def tree_of_sums() -> Searched:
    """Right: 1+1, then =2. Wrong beside the first step: two steps to an end; beside the second: one."""
    return searched(
        Step(text="1+1\n", value=0.9, rolls=(2, 2)),
        Step(text="1-1\n", value=0.6, rolls=(0, 2)),
        Step(parent=1, text="=2", correct=True, value=0.9),
        Step(parent=1, text="=3", correct=False, value=0.7),
        Step(parent=2, text="is\n", value=0.5),
        Step(parent=5, text="=0", correct=False, value=0.4),
    )


def traces_of(made: TrainingTree, kind: str) -> list[Trace]:
    return [trace for trace in made.traces if trace.kind == kind]


def without(made: TrainingTree, trace: Trace, nodes: set[int]) -> tuple[str, tuple[int, ...]]:
    """Text and ids of a trace with some of its steps taken out."""
    left = [node for node in made.tree.path(trace.node)[1:] if node not in nodes]
    ids = tuple(token for node in left for token in made.tree.segments[node])
    return "".join(made.texts[node] for node in left), ids


def test_a_wrong_step_is_followed_by_words_and_the_right_step() -> None:
    made = opened("self-correction", min_outcomes=1)([tree_of_sums()]).trees[0]
    assert trace_texts([made], "self-correction") == [f"1+1\n=3\n{REFLECTION}=2"]
    assert trace_texts([made], "original") == ["1+1\n=2"]


def test_a_step_counts_as_wrong_only_with_enough_outcomes_all_of_them_wrong() -> None:
    made = opened("self-correction", min_outcomes=2)([tree_of_sums()]).trees[0]
    assert trace_texts([made], "self-correction") == [f"1-1\n{REFLECTION}1+1\n=2"]
    built = opened("self-correction", min_outcomes=9)([tree_of_sums()])
    assert built.counts == {"dropped.no_wrong": 1, "kept.original": 1}


@FEW
@given(tree=trees(graded=True))
def test_without_the_wrong_step_and_the_words_the_original_is_left_byte_for_byte(tree: Searched) -> None:
    for made in opened("self-correction", min_outcomes=1)([tree]).trees:
        originals = {
            (chain_text(made, trace.node), chain_ids(made, trace.node))
            for trace in traces_of(made, "original")
        }
        for trace in traces_of(made, "self-correction"):
            (wrong,) = trace.untrained
            path = made.tree.path(trace.node)
            words = path[path.index(wrong) + 1]
            assert made.texts[words].strip() == REFLECTION.strip()
            assert without(made, trace, {wrong, words}) in originals


def test_exactly_the_wrong_steps_tokens_are_masked_and_get_no_gradient() -> None:
    made = opened("self-correction", min_outcomes=1)([tree_of_sums()]).trees[0]
    row = next(row for row in completions([made]) if row.kind == "self-correction")
    masked = [token for token, learn in zip(row.input_ids, row.completion_mask, strict=True) if not learn]
    assert masked[row.prompt_tokens :] == encode("=3"), "no end of text in the middle"
    ids = torch.tensor(row.input_ids)
    logits = tiny_llama(vocab_size=160)(ids[None]).logits[0, :-1]
    logits.retain_grad()
    labels = torch.where(torch.tensor(row.completion_mask) == 1, ids, -100)[1:]
    torch.nn.functional.cross_entropy(logits, labels).backward()
    assert logits.grad is not None
    learned = logits.grad.abs().sum(dim=-1) > 0
    assert learned.tolist() == [bool(learn) for learn in row.completion_mask[1:]]


def test_stored_log_probs_stay_where_the_context_is_that_of_the_search() -> None:
    tree = tree_of_sums()
    made = opened("self-correction", min_outcomes=1)([tree]).trees[0]
    (trace,) = traces_of(made, "self-correction")
    first, wrong, words, second = made.tree.path(trace.node)[1:]
    assert made.tree.logprobs[first] == tree.tree.logprobs[1]
    whole = tree.tree.logprobs[4]
    assert whole is not None
    assert made.tree.logprobs[wrong] == whole[:-1]
    assert made.tree.logprobs[words] is None
    assert made.tree.logprobs[second] is None
    (original,) = traces_of(made, "original")
    assert made.tree.logprobs[original.node] == tree.tree.logprobs[3]


def test_chains_share_what_they_have_in_common() -> None:
    made = opened("self-correction", min_outcomes=1)([tree_of_sums()]).trees[0]
    paths = [made.tree.path(trace.node) for trace in made.traces]
    assert paths[0][:2] == paths[1][:2]
    assert len(made.tree) == 1 + 4 + 1


def test_words_have_lines_of_their_own_whatever_stands_before_them() -> None:
    composer = Composer(tree_of_sums(), encode=encode, delimiter="\n")
    after_line = composer.say(composer.step(0, 1), "So.")
    after_end = composer.say(composer.step(composer.step(0, 1), 4), "So.")
    at_start = composer.say(0, "So.")
    made = composer.tree([Trace(node=after_end)], builder="test")
    assert made is not None
    assert [made.texts[node] for node in (after_line, after_end, at_start)] == ["So.\n", "\nSo.\n", "So.\n"]
    assert [list(made.tree.segments[node]) for node in (after_line, after_end)] == [
        encode("So.\n"),
        encode("\nSo.\n"),
    ]
    with pytest.raises(UsageError, match="encode gave no tokens"):
        Composer(tree_of_sums(), encode=lambda _: [], delimiter="\n").say(0, "So.")


@pytest.mark.parametrize(
    ("delimiter", "end"),
    [("line", "\n"), ("blank-line", "\n\n"), ("step-tag", "</step>"), ("tokens:8", "\n"), ("text:;", ";")],
)
def test_words_end_as_the_policys_steps_do(delimiter: str, end: str) -> None:
    made = opened("self-correction", delimiter=delimiter, min_outcomes=1)([tree_of_sums()]).trees
    assert f"=3{end}Wait, that step is wrong. Let me do it again.{end}=2" in trace_texts(made)[0]


def test_a_journey_tries_wrong_branches_turns_back_and_arrives() -> None:
    made = opened("journey")([tree_of_sums()]).trees[0]
    assert trace_texts([made], "journey") == [
        "1-1\nis\n=0\nThat does not work. Back to step 1.\n1+1\n=3\nThat does not work. Back to step 2.\n=2"
    ]
    assert trace_texts([made], "shortcut") == ["1+1\n=2"]


def test_a_journey_visits_no_more_and_no_deeper_than_it_may() -> None:
    one = opened("journey", max_branches=1)([tree_of_sums()]).trees
    assert trace_texts(one, "journey") == ["1+1\n=3\nThat does not work. Back to step 2.\n=2"]
    flat = opened("journey", branch_steps=1)([tree_of_sums()]).trees
    assert trace_texts(flat, "journey")[0].startswith("1-1\nThat does not work.")


@FEW
@given(tree=trees(graded=True))
def test_a_journey_holds_the_right_solution_and_every_wrong_branch_ends_in_turning_back(
    tree: Searched,
) -> None:
    built = opened("journey", train_wrong=False, max_traces=None, per_state=2)([tree])
    for made in built.trees:
        shortcuts = {
            (chain_text(made, trace.node), chain_ids(made, trace.node))
            for trace in traces_of(made, "shortcut")
        }
        for trace in traces_of(made, "journey"):
            wrong = set(trace.untrained)
            path = made.tree.path(trace.node)[1:]
            turns = {node for node in path if made.texts[node].strip().startswith("That does not work.")}
            assert without(made, trace, wrong | turns) in shortcuts
            assert wrong
            for node, after in pairwise(path):
                assert node not in wrong or after in wrong or after in turns
                assert after not in turns or node in wrong


def test_the_branches_of_a_journey_are_learned_unless_that_is_not_wanted() -> None:
    learned = traces_of(opened("journey")([tree_of_sums()]).trees[0], "journey")[0]
    assert learned.untrained == ()
    made = opened("journey", train_wrong=False)([tree_of_sums()]).trees[0]
    (trace,) = traces_of(made, "journey")
    assert [made.texts[node] for node in trace.untrained] == ["1-1\n", "is\n", "=0", "=3"]


def test_a_problem_without_wrong_branches_gives_a_shortcut_alone() -> None:
    built = opened("journey")([searched(Step(text="a", correct=True))])
    assert built.counts == {"dropped.no_wrong": 1, "kept.shortcut": 1}


def learned_nodes(made: TrainingTree) -> list[int]:
    """Steps that the traces of a tree learn, as often as they do."""
    return [node for t in made.traces for node in made.tree.path(t.node)[1:] if node not in t.untrained]


def attempts_tree() -> Searched:
    """Two right solutions and three wrong ones, all of one step."""
    return searched(
        Step(text="=2", correct=True),
        Step(text="=3", correct=False),
        Step(text="=4", correct=False),
        Step(text="2", correct=True),
        Step(text="=5", correct=False),
    )


def test_a_right_solution_is_learned_after_every_number_of_wrong_attempts() -> None:
    (made,) = opened("revisions", again="Again.", attempts=2, train_wrong="none")([attempts_tree()]).trees
    texts = trace_texts([made], "revisions")
    assert [text.count("Again.\n") for text in texts] == [1, 2]
    assert texts[1].startswith(texts[0].rsplit("Again.\n", 1)[0] + "Again.\n"), "one chain, longer and longer"
    assert {text.rsplit("\n", 1)[-1] for text in texts} | set(trace_texts([made], "sft")) == {"=2", "2"}
    for trace in traces_of(made, "revisions"):
        learned = [made.texts[node] for node in made.tree.path(trace.node)[1:] if node not in trace.untrained]
        assert learned[0] == "\nAgain.\n"
        assert learned[1] in ("=2", "2")
    learned = learned_nodes(made)
    assert len(learned) == len(set(learned)), "what traces share is learned once"


def test_attempts_of_a_chain_begin_differently_and_not_as_a_right_solution_does() -> None:
    tree = searched(
        Step(text="a\n"),
        Step(parent=1, text="=2", correct=True),
        Step(parent=1, text="=3", correct=False),
        Step(text="b\n"),
        Step(parent=4, text="=4", correct=False),
        Step(parent=4, text="=5", correct=False),
        Step(text="=6", correct=False),
    )
    (made,) = opened("revisions", again="Again.")([tree]).trees
    longest = max(trace_texts([made], "revisions"), key=len).split("\n")
    assert sorted(line for line in longest if line in ("a", "b", "=6")) == ["=6", "a", "b"]
    (made,) = opened("revisions", again="Again.", differ="text")([tree]).trees
    assert max(trace_texts([made], "revisions"), key=len).count("Again.") == 4


def test_a_cap_of_traces_takes_the_shortest() -> None:
    built = opened("revisions", max_traces=2)([attempts_tree()])
    assert built.counts == {"dropped.cap": 2, "kept.revisions": 1, "kept.sft": 1}


def test_of_a_wrong_attempt_nothing_its_last_step_or_all_is_learned() -> None:
    tree = searched(
        Step(text="=2", correct=True),
        Step(text="a\n"),
        Step(parent=2, text="=3", correct=False),
        Step(text="a\r\n"),
        Step(parent=4, text="=3", correct=False),
    )
    for train_wrong, wanted in (
        ("none", ([], [])),
        ("last", (["=3"], ["=3"])),
        ("later", (["=3"], ["a", "=3"])),
        ("all", (["a", "=3"], ["a", "=3"])),
    ):
        made = opened("revisions", again="Again.", train_wrong=train_wrong)([tree]).trees[0]
        nodes = learned_nodes(made)
        assert len(nodes) == len(set(nodes))
        texts = [made.texts[n].strip() for n in nodes]
        assert texts == ["=2", *wanted[0], "Again.", "=2", *wanted[1], "Again.", "=2"]


def test_a_false_claim_is_read_and_never_learned() -> None:
    tree = searched(
        Step(text="1+1=2 (left: 2)", correct=True),
        Step(text="a\n"),
        Step(parent=2, text="3-2=2 (left: 2)", correct=False),
        Step(text="b\n"),
        Step(parent=4, text="3-2=1 (left: 1)", correct=False),
    )
    made = opened("revisions", again="Again.", train_wrong="all")([tree]).trees[0]
    learned = {made.texts[node].strip() for node in learned_nodes(made)}
    assert learned == {"1+1=2 (left: 2)", "a", "b", "3-2=1 (left: 1)", "Again."}
    assert any("3-2=2" in text for text in trace_texts([made], "revisions")), "what follows it is learned"


def test_further_chains_have_other_orders_and_other_right_solutions() -> None:
    (one,) = opened("revisions", again="Again.", attempts=2)([attempts_tree()]).trees
    (made,) = opened("revisions", again="Again.", attempts=2, chains=5)([attempts_tree()]).trees
    first, found = trace_texts([one], "revisions"), trace_texts([made], "revisions")
    assert found[: len(first)] == first
    longest = [tuple(text.split("\nAgain.\n")[:-1]) for text in found if text.count("Again.") == 2]
    assert 1 < len(longest) == len(set(longest)), "chains differ"
    assert all(len(set(chain)) == 2 for chain in longest), "no attempt twice"
    assert {text.rsplit("\n", 1)[-1] for text in found} == {"=2", "2"}
    assert set(trace_texts([made], "sft")) == {"=2"}, "from the prompt the best by value"


def test_in_the_order_of_texts_a_right_solution_follows_what_comes_before_it() -> None:
    tree = searched(
        Step(text="c=1", correct=False),
        Step(text="a=1", correct=False),
        Step(text="e=1", correct=False),
        Step(text="f=2", correct=True),
        Step(text="b=2", correct=True),
        Step(text="d=2", correct=True),
    )
    (made,) = opened("revisions", again="Again.", order="text", chains=30)([tree]).trees
    chains = {tuple(text.split("\nAgain.\n")) for text in trace_texts([made], "revisions")}
    assert {first for first, *_ in chains} == {"a=1", "c=1", "e=1"}
    for first, *rest in chains:
        assert rest == sorted(rest), "what follows the first attempt is in order"
        assert {text for text in ("a=1", "c=1", "e=1") if text < rest[-1]} <= {first, *rest}
    assert {"b=2", "d=2", "f=2"} <= {made.texts[node] for node in learned_nodes(made)}


def test_a_right_first_step_is_preferred_to_those_that_were_tried() -> None:
    (made,) = opened("revisions", again="Again.", pairs=True)([attempts_tree()]).trees
    assert not opened("revisions", again="Again.")([attempts_tree()]).trees[0].pairs
    tried = max(trace_texts([made], "revisions"), key=len).split("\nAgain.\n")[:-1]
    found = [(chain_text(made, pair.above).count("Again."), made.texts[pair.rejected]) for pair in made.pairs]
    assert found == [(k, text) for k in (1, 2, 3) for text in tried[:k]]
    assert all(made.texts[pair.chosen] in ("=2", "2") for pair in made.pairs)
    ends = {trace.node for trace in made.traces}
    assert all(pair.chosen in ends for pair in made.pairs), "solutions of one step"


def test_a_solution_that_started_again_is_taken_apart() -> None:
    tree = searched(
        Step(text="=3\n", rolls=(1, 1)),
        Step(parent=1, text="Again.\n"),
        Step(parent=2, text="=2", correct=True),
        Step(text="=4", correct=False),
    )
    (made,) = opened("revisions", again="Again.", attempts=4)([tree]).trees
    assert trace_texts([made], "sft") == ["=2"]
    found = trace_texts([made], "revisions")
    assert sorted(found[-1].split("\n")) == ["=2", "=3", "=4", "Again.", "Again."]
    for trace in made.traces:
        path = made.tree.path(trace.node)
        assert made.tree.segments[path[-1]][-1] == END
        assert trace.right


@FEW
@given(tree=trees(graded=True))
def test_without_wrong_attempts_and_words_a_right_solution_is_left_byte_for_byte(tree: Searched) -> None:
    right = {
        "".join(tree.texts[node] for node in tree.tree.path(end)[1:])
        for end in tree.solutions
        if tree.correct[end]
    }
    for made in opened("revisions", again="@")([tree]).trees:
        for trace in traces_of(made, "revisions"):
            words = [node for node in made.tree.path(trace.node) if "@" in made.texts[node]]
            path = made.tree.path(trace.node)
            text, _ = without(made, trace, set(path[: path.index(words[-1]) + 1]))
            assert text in right


def test_a_critique_names_the_first_wrong_step_and_a_right_solution_follows() -> None:
    made = opened("critique-refine", max_refinements=9)([tree_of_sums()]).trees[0]
    assert trace_texts([made], "sft") == ["1+1\n=2"]
    assert trace_texts([made], "critique-refine") == [
        "1+1\n=3\nStep 2 is wrong. Let me solve it again.\n1+1\n=2",
        "1-1\nis\n=0\nStep 1 is wrong. Let me solve it again.\n1+1\n=2",
    ]
    refined = traces_of(made, "critique-refine")[0]
    assert [made.texts[node] for node in refined.untrained] == ["1+1\n", "=3"]
    silent = opened("critique-refine", train_critique=False)([tree_of_sums()]).trees[0]
    assert len(traces_of(silent, "critique-refine")[0].untrained) == 3


def test_the_refinement_goes_on_from_before_the_error_where_a_right_solution_does() -> None:
    tree = searched(
        Step(text="best", correct=True, value=0.9),
        Step(text="a\n"),
        Step(parent=2, text="b", correct=True, value=0.5),
        Step(parent=2, text="c", correct=False, value=0.4),
        Step(text="z", correct=False, value=0.3),
    )
    made = opened("critique-refine", max_refinements=9)([tree]).trees
    assert [text.split("again.\n")[1] for text in trace_texts(made, "critique-refine")] == ["a\nb", "best"]


def test_a_critic_that_finds_nothing_wrong_leaves_rejection_sampling() -> None:
    tree = tree_of_sums()
    content = opened("critique-refine", critic=lambda *_: None)([tree])
    assert trace_texts(content.trees) == trace_texts(opened("sft", pick="value")([tree]).trees)
    assert content.counts == {"dropped.no_error": 2, "kept.sft": 1}


def test_a_critics_own_words_are_taken() -> None:
    def critic(tree: Searched, path: tuple[int, ...]) -> str:
        return f"All {len(path)} steps, hm."

    made = opened("critique-refine", critic=critic)([tree_of_sums()]).trees
    assert "\nAll 2 steps, hm.\n" in trace_texts(made, "critique-refine")[0]


def problem_of(name: str, right: int, wrong: int) -> Searched:
    steps = [Step(text=f"r{n}", correct=True) for n in range(right)]
    return searched(*steps, *(Step(text=f"w{n}", correct=False) for n in range(wrong)), problem=name)


def test_hard_problems_have_a_larger_share_than_in_rejection_sampling() -> None:
    forest = [problem_of("easy", 7, 3), problem_of("hard", 1, 9)]

    def share(name: str) -> float:
        built = opened(name, max_traces=4)(forest)
        counts = {tree.problem: len(tree.traces) for tree in built.trees}
        return counts["hard"] / sum(counts.values())

    assert share("critique-refine") > share("sft")
    built = opened("critique-refine", max_refinements=4)(forest)
    refined = {tree.problem: len(traces_of(tree, "critique-refine")) for tree in built.trees}
    assert refined == {"easy": 2, "hard": 4}, "ceil(4 x share of wrong ones)"


@FEW
@given(tree=trees(graded=True))
def test_an_end_of_text_is_cut_off_a_step_that_something_follows(tree: Searched) -> None:
    for name in ("self-correction", "journey", "revisions", "critique-refine"):
        for made in opened(name)([tree]).trees:
            for node, children in enumerate(made.tree.children()):
                assert not (children and END in made.tree.segments[node]), name


def test_a_problems_share_of_right_solutions_counts_each_as_often_as_it_was_found() -> None:
    often = Step(text="r", correct=True)
    easy = searched(*[often] * 15, *(Step(text=f"w{n}", correct=False, rolls=(0, 1)) for n in range(4)))
    hard = searched(often, *(Step(text=f"w{n}", correct=False, rolls=(0, 1)) for n in range(4)))
    kept = [
        opened("critique-refine", max_refinements=4)([tree]).counts["kept.critique-refine"]
        for tree in (easy, hard)
    ]
    assert kept == [2, 4]  # ceil(4 * 8 / 23) and ceil(4 * 8 / 9)


def test_a_wrong_step_that_nothing_is_known_of_is_the_least_tempting() -> None:
    tree = searched(
        Step(text="right\n", value=0.5, rolls=(1, 1)),
        Step(text="bad\n", q=-0.2, visits=3, rolls=(0, 3)),
        Step(text="blank\n", rolls=(0, 3)),
        Step(parent=1, text="=2", correct=True),
    )
    found = trace_texts(opened("self-correction", originals=False).__call__([tree]).trees)
    assert len(found) == 1
    assert found[0].startswith("bad\n")
