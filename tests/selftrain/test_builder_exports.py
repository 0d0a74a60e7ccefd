"""Other people's formats: what is written is read back, and what a format cannot hold is refused."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest
from builder_worlds import END, Step, encode, forests, opened, searched
from hypothesis import HealthCheck, given, settings

from prm.training.rows import read_rows
from selftrain.builders import builder_names, together
from selftrain.data.exports import (
    EXPORTS,
    completions,
    export,
    preferences,
    read_completions,
    read_preferences,
    read_step_labels,
    step_rows,
    write_completions,
    write_preferences,
    write_step_labels,
)
from selftrain.data.record import Pair, Target, Trace, TrainingTree
from selftrain.data.searched import Searched
from selftrain.packing import TokenTree
from tasks.errors import DataError, MissingPrerequisiteError, UsageError

FILES = settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
PAIRED = ["tree-plv", "step-q", "agent-q", "outcome-dpo", "self-rewarding", "temporal", "spin", "cream"]
TRACED = ["sft", "nft", "self-correction", "journey", "revisions", "critique-refine"]


def small() -> TrainingTree:
    """A prompt, two first steps, and an end below each."""
    return TrainingTree(
        problem="p",
        tree=TokenTree(
            segments=((5, 6), (7,), (8, 9), (10, END), (11, END)),
            parents=(-1, 0, 0, 1, 2),
            logprobs=(None, (-0.5,), (-1.0, -0.25), (-2.0, -0.125), None),
        ),
        texts=("Q\n", "a\n", "b\n", "c", "d"),
        traces=(Trace(node=3, right=True, weight=2.0), Trace(node=4, right=False, untrained=(2,), kind="k")),
        pairs=(
            Pair(
                above=0, chosen=1, rejected=2, q_chosen=0.9, q_rejected=0.1, visits_chosen=5, smoothing=0.25
            ),
            Pair(above=0, chosen=3, rejected=4, weight=0.5, offset=0.125, kind="whole"),
        ),
        targets=(
            Target(node=1, value=0.5, completions=4, right=2, kind="soft"),
            Target(node=2, value=0.0, completions=1, right=0, kind="soft"),
            Target(node=3, value=1.0, kind="soft"),
        ),
    )


def test_a_pair_is_a_prompt_and_two_sides_in_text_and_ids_with_all_that_is_known() -> None:
    first, second = preferences([small()])
    assert (first.prompt, first.chosen, first.rejected) == ("Q\n", "a\n", "b\n")
    assert (first.prompt_ids, first.chosen_ids, first.rejected_ids) == ((5, 6), (7,), (8, 9))
    assert (first.q_chosen, first.q_rejected, first.visits_chosen, first.smoothing) == (0.9, 0.1, 5, 0.25)
    assert (first.logps_chosen, first.logps_rejected) == (-0.5, -1.25)
    assert second.chosen == "a\nc"
    assert second.chosen_ids == (7, 10, END)
    assert (second.logps_chosen, second.logps_rejected) == (-2.625, None)
    assert (second.weight, second.offset, second.kind) == (0.5, 0.125, "whole")


def test_sides_of_a_pair_end_the_text_in_their_ids_only_where_the_step_did() -> None:
    first, second = preferences([small()])
    assert END not in first.chosen_ids + first.rejected_ids
    assert second.chosen_ids[-1] == second.rejected_ids[-1] == END


def test_a_trace_is_a_prompt_and_a_completion_with_a_mask_over_what_is_not_learned() -> None:
    first, second = completions([small()])
    assert (first.prompt, first.completion, first.prompt_tokens) == ("Q\n", "a\nc", 2)
    assert first.input_ids == (5, 6, 7, 10, END)
    assert first.completion_mask == (0, 0, 1, 1, 1)
    assert (first.label, first.weight, first.logps) == (True, 2.0, -2.625)
    assert second.completion_mask == (0, 0, 0, 0, 1, 1)
    assert (second.label, second.logps, second.kind) == (False, None, "k")


@pytest.mark.parametrize("name", ["rows.jsonl", "folder"])
def test_pairs_and_traces_are_read_back_equal(tmp_path: Path, name: str) -> None:
    if name == "folder":
        pytest.importorskip("datasets")
    path = tmp_path / "pairs" / name
    assert write_preferences(path, [small()]) == 2
    assert read_preferences(path) == preferences([small()])
    path = tmp_path / "traces" / name
    assert write_completions(path, [small()]) == 2
    assert read_completions(path) == completions([small()])


@pytest.mark.parametrize("name", ["rows.jsonl", "folder"])
def test_no_rows_are_written_and_read_too(tmp_path: Path, name: str) -> None:
    if name == "folder":
        pytest.importorskip("datasets")
    assert write_preferences(tmp_path / name, []) == 0
    assert read_preferences(tmp_path / name) == []
    assert write_preferences(tmp_path / name, [small()]) == 2
    assert len(read_preferences(tmp_path / name)) == 2


@FILES
@given(forest=forests())
def test_what_builders_make_survives_its_export(forest: list[Searched], tmp_path: Path) -> None:
    pairs = together(opened(name)(forest) for name in PAIRED).trees
    traces = together(opened(name)(forest) for name in TRACED).trees
    path = tmp_path / "rows.jsonl"
    write_preferences(path, pairs)
    assert read_preferences(path) == preferences(pairs)
    write_completions(path, traces)
    assert read_completions(path) == completions(traces)
    labelled = opened("targets")(forest).trees
    write_step_labels(path, labelled)
    if step_rows(labelled):
        found = read_step_labels(path)
        assert [(row.prompt, row.steps, row.labels) for row in found] == [
            (row.prompt, row.steps, row.labels) for row in step_rows(labelled)
        ]


@FILES
@given(forest=forests())
def test_sums_of_stored_log_probs_and_texts_of_a_pair_are_those_of_its_tree(
    forest: list[Searched], tmp_path: Path
) -> None:
    for name in ("tree-plv", "outcome-dpo"):
        for made in opened(name)(forest).trees:
            for pair, row in zip(made.pairs, preferences([made]), strict=True):
                path = made.tree.path(pair.chosen)
                below = path[path.index(pair.above) + 1 :]
                stored = [made.tree.logprobs[node] if made.tree.logprobs else None for node in below]
                if any(one is None for one in stored):
                    assert row.logps_chosen is None
                else:
                    expected = sum(value for one in stored for value in one or ())
                    assert row.logps_chosen is not None
                    assert math.isclose(row.logps_chosen, expected, abs_tol=1e-9)
                ids = [token for token in row.prompt_ids + row.chosen_ids if token != END]
                assert encode(row.prompt + row.chosen) == ids


def test_plain_texts_are_two_columns_and_refuse_what_they_cannot_say(tmp_path: Path) -> None:
    path = tmp_path / "plain.jsonl"
    right = opened("sft")([searched(Step(text="a\n"), Step(parent=1, text="b", correct=True))]).trees
    assert export("sft-plain", path, right) == 1
    assert json.loads(path.read_text(encoding="utf-8")) == {"prompt": "Q\n", "completion": "a\nb"}
    with pytest.raises(UsageError, match="cannot hold wrong solutions"):
        export("sft-plain", path, [small()])
    from dataclasses import replace

    masked = replace(small(), traces=(Trace(node=3, untrained=(1,)),))
    with pytest.raises(UsageError, match="cannot hold untrained steps"):
        export("sft-plain", path, [masked])


def test_step_rows_label_a_shared_step_once_with_counts_and_ids() -> None:
    tree = searched(
        Step(text="a\n"), Step(parent=1, text="b", correct=True), Step(parent=1, text="c", correct=False)
    )
    made = opened("targets")([tree]).trees
    first, second = step_rows(made)
    assert (first.steps, first.labels, first.counts) == (("a\n", "b"), (0.5, 1.0), ((1, 2), (1, 1)))
    assert (second.labels, second.counts) == ((None, 0.0), (None, (0, 1)))
    assert first.prompt_ids == tree.tree.segments[0]
    assert first.step_ids == (tree.tree.segments[1], tree.tree.segments[2])
    assert step_rows(made, once=False)[1].labels == (0.5, 0.0)


def test_whole_step_rows_are_what_process_reward_training_reads(tmp_path: Path) -> None:
    made = opened("targets", rule="quality")(
        [searched(Step(text="a\n", rolls=(1, 3)), Step(parent=1, text="b", correct=True))]
    ).trees
    path = tmp_path / "rows.jsonl"
    assert export("step-rows", path, made) == 1
    assert read_rows(path) == step_rows(made)
    with pytest.raises(UsageError, match=r"give a path in \.jsonl"):
        export("step-rows", tmp_path / "folder", made)


@pytest.mark.parametrize("rule", ["soft", "hard"])
@pytest.mark.parametrize("name", ["rows.jsonl", "folder"])
def test_trls_stepwise_columns_are_read_back_but_for_ids_and_counts(
    tmp_path: Path, name: str, rule: str
) -> None:
    if name == "folder":
        pytest.importorskip("datasets")
    tree = searched(
        Step(text="a\n", rolls=(1, 3)), Step(parent=1, text="b", correct=True), Step(text="c", correct=False)
    )
    made = opened("targets", rule=rule)([tree]).trees
    assert export("stepwise", tmp_path / name, made) == 2
    found = read_step_labels(tmp_path / name)
    assert [(row.prompt, row.steps, row.labels) for row in found] == [
        (row.prompt, row.steps, row.labels) for row in step_rows(made)
    ]
    assert {row.id for row in found} == {"Q\n"}


def test_a_folder_is_what_the_datasets_library_loads(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    write_preferences(tmp_path / "pairs", [small()])
    loaded = datasets.load_from_disk(str(tmp_path / "pairs"))
    assert loaded.column_names[:4] == ["problem", "prompt", "chosen", "rejected"]
    assert loaded[0]["chosen_ids"] == [7]
    assert loaded[1]["logps_rejected"] is None
    write_step_labels(tmp_path / "hard", opened("targets", rule="hard")([one_step()]).trees)
    assert datasets.load_from_disk(str(tmp_path / "hard"))[0]["labels"] == [True]


def one_step() -> Searched:
    return searched(Step(text="a", correct=True))


def test_a_folder_of_something_else_is_never_replaced(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "thesis.txt").write_text("important", encoding="utf-8")
    with pytest.raises(UsageError, match="is no folder of datasets"):
        write_preferences(folder, [small()])
    assert (folder / "thesis.txt").read_text(encoding="utf-8") == "important"
    with pytest.raises(DataError, match=r"neither a \.jsonl file nor a folder"):
        read_preferences(folder)


def test_without_the_datasets_library_the_error_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingPrerequisiteError, match="pip install datasets"):
        write_preferences(tmp_path / "folder", [small()])
    assert write_preferences(tmp_path / "pairs.jsonl", [small()]) == 2


def test_targets_of_two_kinds_need_a_choice() -> None:
    from dataclasses import replace

    both = replace(small(), targets=(*small().targets, Target(node=1, value=1.0, kind="hard")))
    with pytest.raises(UsageError, match="targets of hard, soft; say which kind"):
        step_rows([both])
    assert step_rows([both], kind="hard")[0].labels == (1.0, None)


def test_a_broken_row_is_named_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_completions(path, [small()])
    rows = [json.loads(one) for one in path.read_text(encoding="utf-8").splitlines()]
    rows[1]["completion_mask"] = [1]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with pytest.raises(DataError, match=r"rows\.jsonl:2: 6 ids but 1 entries of the mask"):
        read_completions(path)


def test_formats_have_names_and_a_wrong_one_names_the_nearest(tmp_path: Path) -> None:
    assert list(EXPORTS) == ["preference", "sft", "sft-plain", "stepwise", "step-rows"]
    with pytest.raises(UsageError, match="unknown export format 'preferences'; did you mean 'preference'"):
        export("preferences", tmp_path / "x.jsonl", [])
    assert set(PAIRED + TRACED) <= set(builder_names())
