"""Rows of training data, and what their text becomes in tokens."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from tiny_models import byte_level_tokenizer, word_tokenizer

from prm.training import PairRow, StepRow, TrainConfig, read_pairs, read_rows
from prm.training.heads import HEADS, head_of, pair_examples, step_examples
from prm.training.layout import Layout
from prm.training.split import same_problem, split_by_problem
from tasks.errors import DataError, UsageError

ROW: dict[str, Any] = {"id": "p1", "prompt": "q", "completions": ["a", "b"], "labels": [0.5, None]}
PAIR: dict[str, Any] = {"id": "p1", "prompt": "q", "prefix": ["a"], "chosen": "b", "rejected": "c"}


def _write(path: Path, *contents: Any) -> Path:
    path.write_text("".join(json.dumps(content) + "\n" for content in contents))
    return path


def _row(**fields: Any) -> StepRow:
    return StepRow(**({"id": "p", "prompt": "q", "steps": ("a", "b"), "labels": (1.0, 0.0)} | fields))


def _layout(*, keep_ends: bool = False) -> Layout:
    return Layout(byte_level_tokenizer(), keep_ends=keep_ends)


def test_a_row_is_read_with_everything_that_it_holds(tmp_path: Path):
    content = ROW | {"counts": [[4, 8], None], "ids": {"prompt": [1, 2], "steps": [[3], [4, 5]]}}
    (row,) = read_rows(_write(tmp_path / "rows.jsonl", content))
    assert row.labels == (0.5, None)
    assert row.counts == ((4, 8), None)
    assert (row.prompt_ids, row.step_ids) == ((1, 2), ((3,), (4, 5)))


def test_counts_are_the_label_where_there_is_none(tmp_path: Path):
    (row,) = read_rows(_write(tmp_path / "rows.jsonl", ROW | {"counts": [[1, 8], [2, 8]]}))
    assert row.labels == (0.5, 0.25)
    del (content := ROW | {"counts": [[1, 8], None]})["labels"]
    (row,) = read_rows(_write(tmp_path / "rows.jsonl", content))
    assert row.labels == (0.125, None)


def test_true_and_false_are_hard_labels_and_a_row_without_an_id_is_named_by_its_prompt(tmp_path: Path):
    content = {"prompt": "q", "completions": ["a", "b"], "labels": [True, False]}
    (row,) = read_rows(_write(tmp_path / "rows.jsonl", content))
    assert row.labels == (1.0, 0.0)
    assert row.id == "q"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": [2, 0]}, r"in \[0, 1\], got 2"),
        ({"labels": [float("nan"), 0]}, "finite number"),
        ({"labels": [1]}, "2 steps but 1 labels"),
        ({"labels": [None, None], "counts": [[9, 8], None]}, r"got \[9, 8\]"),
        ({"completions": []}, "no steps"),
        ({"completions": "a"}, "must be a list"),
        ({"ids": {"prompt": [1], "steps": [[1], []]}}, "step of no tokens"),
        ({"ids": {"prompt": [], "steps": [[1], [2]]}}, "ids.prompt is empty"),
        ({"ids": {"prompt": [1]}}, "ids must be an object with prompt, steps"),
        ({"ids": {"prompt": [1], "steps": [[1]]}}, r"2 steps but 1 ids\.steps"),
    ],
)
def test_a_broken_row_is_refused_with_its_line(tmp_path: Path, change: dict[str, Any], message: str):
    path = _write(tmp_path / "rows.jsonl", ROW, ROW | change)
    with pytest.raises(DataError, match=rf"rows\.jsonl:2: .*{message}"):
        read_rows(path)


def test_lines_that_are_not_json_and_files_without_rows_are_refused(tmp_path: Path):
    broken = tmp_path / "broken.jsonl"
    broken.write_text(json.dumps(ROW) + "\n\n{oops\n")
    with pytest.raises(DataError, match=r"broken\.jsonl:3"):
        read_rows(broken)
    for empty in ("", "[]", "\n\n"):
        (tmp_path / "empty.jsonl").write_text(empty)
        with pytest.raises(DataError, match=r"empty|no record"):
            read_rows(tmp_path / "empty.jsonl")
    with pytest.raises(DataError, match=r"cannot read .*No such file"):
        read_rows(tmp_path / "none.jsonl")
    with pytest.raises(DataError, match=r"cannot read .*Is a directory"):
        read_rows(tmp_path)
    (tmp_path / "latin.jsonl").write_bytes('{"prompt": "é"}\n'.encode("latin-1"))
    with pytest.raises(DataError, match=r"latin\.jsonl: not UTF-8 .*byte 12"):
        read_pairs(tmp_path / "latin.jsonl")


def test_a_byte_order_mark_and_an_array_are_read(tmp_path: Path):
    path = tmp_path / "rows.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps([ROW, ROW]).encode())
    assert len(read_rows(path)) == 2


def test_other_peoples_columns_are_left_alone_and_mistyped_keys_are_not(tmp_path: Path):
    columns = {"dataset": "x", "level": 3, "source": None, "label": 1, "scores": [0.1, 0.2]}
    assert read_rows(_write(tmp_path / "a", ROW | columns)) == read_rows(_write(tmp_path / "b", ROW))
    assert read_pairs(_write(tmp_path / "a", PAIR | columns)) == read_pairs(_write(tmp_path / "b", PAIR))
    for made, read, key, mistyped in (
        (ROW, read_rows, "labels", "lables"),
        (ROW, read_rows, "counts", "count"),
        (PAIR, read_pairs, "prefix", "prefixes"),
    ):
        content = {name: value for name, value in made.items() if name != key} | {mistyped: []}
        with pytest.raises(DataError, match=f":1: unknown key '{mistyped}'; did you mean '{key}'"):
            read(_write(tmp_path / "c", content))


def test_a_pair_takes_steps_or_the_rest_of_a_solution(tmp_path: Path):
    ids = {"prompt": [1], "prefix": [[2]], "chosen": [3, 4], "rejected": [[5], [6]]}
    contents = (PAIR, PAIR | {"chosen": ["b", "d"], "chosen_value": 1, "weight": 2, "ids": ids})
    one, other = read_pairs(_write(tmp_path / "pairs.jsonl", *contents))
    assert (one.chosen, one.rejected, one.weight) == (("b",), ("c",), 1.0)
    assert (other.chosen, other.chosen_value, other.weight) == (("b", "d"), 1.0, 2.0)
    assert (other.chosen_ids, other.rejected_ids) == (((3, 4),), ((5,), (6,)))


def test_a_pair_with_half_a_reference_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match=r":1: .*one side only"):
        read_pairs(_write(tmp_path / "pairs.jsonl", PAIR | {"ref_chosen_logp": -1.0}))


def test_a_pair_of_negative_weight_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match=r":1: .*has weight -2; it must be at least 0"):
        read_pairs(_write(tmp_path / "pairs.jsonl", PAIR | {"weight": -2}))


def test_prompt_and_steps_are_encoded_one_by_one_and_every_step_ends_with_a_line_break():
    tokenizer = byte_level_tokenizer()
    prompt, one, two = _layout().row(_row(steps=("a b", "c\n")))
    assert tokenizer.decode(prompt) == "<s>q\n"
    assert [tokenizer.decode(step) for step in (one, two)] == ["a b\n", "c\n"]


def test_the_policys_own_ids_are_not_encoded_again():
    ids = ((50, 60, 201 + 0), (70, 80))
    row = _row(prompt_ids=(9, 8, 7), step_ids=ids)
    assert _layout(keep_ends=True).row(row) == ((9, 8, 7), *ids)


def test_a_score_is_read_at_a_line_break_whether_or_not_the_policy_ended_there():
    tokenizer = byte_level_tokenizer()
    broken = _layout().row(_row(steps=("a", "b")))
    (line_break,) = tokenizer.encode("\n", add_special_tokens=False)
    assert broken[2][-1] == line_break
    ended = (broken[1], (*broken[2][:-1], 1))
    row = _row(prompt_ids=broken[0], step_ids=ended)
    assert _layout().row(row) == broken
    assert _layout(keep_ends=True).row(row) == (broken[0], *ended)


def test_the_name_of_a_special_token_in_a_step_stays_text():
    path = _layout().row(_row(steps=("a</s>", "b")))
    assert 1 not in path[1]


def test_text_becomes_the_ids_that_scoring_reads():
    from prm.conventions import STEPS
    from prm.conventions.bound import bind

    for tokenizer in (byte_level_tokenizer(), word_tokenizer()):
        row = _row(prompt="a b", steps=("b a\n", "a"))
        path = Layout(tokenizer, keep_ends=False).row(row)
        rendered = bind(STEPS, tokenizer).render(row.prompt, row.steps)
        assert [token for segment in path for token in segment] == list(rendered.ids)


def test_steps_behind_the_first_error_are_not_read_where_the_config_says_so():
    rows = [_row(steps=("a", "b", "c", "d"), labels=(1.0, None, 0.0, 1.0))]
    config = TrainConfig(mask_after_error=True)
    (example,) = step_examples(rows, config, _layout())
    assert [(read.stop, read.target) for read in example.reads] == [(1, 1.0), (3, 0.0)]
    (whole,) = step_examples(rows, TrainConfig(), _layout())
    assert [read.stop for read in whole.reads] == [1, 3, 4]


def _token_targets(labels: tuple[float | None, ...], decay: float) -> list[list[float | None]]:
    """The targets of every step's tokens, under `token_decay`."""
    row = _row(steps=("abc", "de", "fgh"), labels=labels)
    prompt, *steps = _layout().row(row)
    (example,) = step_examples([row], TrainConfig(head="value-mse", token_decay=decay), _layout())
    assert example.paths == ((prompt, *((token,) for ids in steps for token in ids)),)
    by_place = {read.stop: read.target for read in example.reads}
    places = iter(range(1, sum(map(len, steps)) + 1))
    found = [
        [by_place[place] for place in places_of if place in by_place] for places_of in _cut(places, steps)
    ]
    assert [len(each) for each in found] == [
        0 if label is None else len(ids) for label, ids in zip(labels, steps, strict=True)
    ]
    return found


def _cut(places: Any, steps: Any) -> list[list[int]]:
    return [[next(places) for _ in ids] for ids in steps]


def test_every_token_of_a_labelled_step_is_read_with_its_td_target_where_asked():
    first, none, last = _token_targets((1.0, None, 0.25), 0.5)
    assert (set(first), none, set(last)) == ({1.0}, [], {0.25})  # nothing is known of what came before
    first, falling, rising = _token_targets((1.0, 0.0, 1.0), 0.5)
    assert falling[-2:] == [0.0, 0.0]
    assert rising == [0.125, 0.25, 0.5, 1.0, 1.0][-len(rising) :]
    assert _token_targets((1.0, 0.0, 1.0), 1.0)[1] == [0.0] * len(falling)


def test_token_targets_are_for_values_and_lambda_is_at_most_one():
    with pytest.raises(UsageError, match="no meaning for head 'step'"):
        head_of(TrainConfig(head="step", token_decay=0.5))
    with pytest.raises(UsageError, match="at most 1"):
        TrainConfig(token_decay=1.5)


def test_an_outcome_head_reads_the_last_step_only_and_rows_without_that_label_give_nothing():
    rows = [_row(), _row(labels=(1.0, None))]
    (example,) = step_examples(rows, TrainConfig(head="outcome-bce"), _layout())
    assert [(read.start, read.stop, read.target) for read in example.reads] == [(0, 2, 0.0)]


def test_steps_weigh_as_much_as_they_have_roll_outs_where_asked():
    config = TrainConfig(weight_by_counts=True)
    (example,) = step_examples([_row(counts=((8, 8), (0, 4)))], config, _layout())
    assert [read.weight for read in example.reads] == [8.0, 4.0]
    with pytest.raises(UsageError, match="needs counts"):
        step_examples([_row()], config, _layout())


def test_the_pairs_of_one_set_of_siblings_weigh_one_together():
    def pair(prompt: str, chosen: str) -> PairRow:
        return PairRow(id="p", prompt=prompt, prefix=("x",), chosen=(chosen,), rejected=("r",))

    rows = [pair("q", "a"), pair("q", "b"), pair("other", "a")]
    weights = [e.pairs[0][2] for e in pair_examples(rows, TrainConfig(head="pairwise"), _layout())]
    assert weights == [0.5, 0.5, 1.0]
    weights = [e.pairs[0][2] for e in pair_examples(rows, TrainConfig(head="outcome-bt"), _layout())]
    assert weights == [1.0, 1.0, 1.0]


def test_a_pair_of_log_ratios_sums_over_what_follows_the_prefix():
    row = PairRow(id="p", prompt="q", prefix=("x", "y"), chosen=("a", "b"), rejected=("c",))
    (example,) = pair_examples([row], TrainConfig(head="step-dpo"), _layout(keep_ends=True))
    assert [(read.start, read.stop) for read in example.reads] == [(2, 4), (2, 3)]


@pytest.mark.parametrize("name", HEADS)
def test_a_setting_that_a_head_does_not_use_is_refused_and_its_own_are_taken(name: str):
    foreign = {"zeta": 3.0} if name != "ranking" else {"beta": 0.2}
    with pytest.raises(UsageError, match="has no meaning for head"):
        head_of(TrainConfig(head=name, **foreign))  # type: ignore[arg-type]
    if name == "implicit-dpo":
        with pytest.raises(UsageError, match="turns pairs round"):
            head_of(TrainConfig(head=name, smoothing=0.9))  # type: ignore[arg-type]
    assert head_of(TrainConfig(head=name)) is HEADS[name]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "settings",
    [
        {"adapters": 2},
        {"patience": 1},
        {"holdout": 1.0},
        {"epochs": 0},
        {"holdout": 0, "calibration": "platt"},
        {"beta": 0.0},
        {"learning_rate": math.inf},
        {"right_weight": 0.0, "wrong_weight": 0.0},
        {"lora_dropout": 0.1},
    ],
)
def test_settings_that_contradict_each_other_or_leave_their_range_are_refused(settings: dict[str, Any]):
    with pytest.raises(UsageError):
        TrainConfig(**settings)


def _examples(*rows: StepRow):
    return step_examples(rows, TrainConfig(), _layout())


def test_problems_are_held_out_whole_and_every_one_is_on_one_side():
    rows = [
        _row(id=f"p{index % 20}", prompt=f"q{index % 20}", steps=("a", str(index))) for index in range(100)
    ]
    split = split_by_problem(_examples(*rows), holdout=0.3, seed=0)
    sides = [{example.problem for example in side} for side in (split.train, split.tune, split.test)]
    assert [len(side) for side in sides] == [14, 3, 3]
    assert len(set().union(*sides)) == 20
    assert sum(map(len, (split.train, split.tune, split.test))) == 100
    assert split_by_problem(_examples(*rows[::-1]), holdout=0.3, seed=0).test != split.train
    other = split_by_problem(_examples(*rows), holdout=0.3, seed=1)
    assert {example.problem for example in other.test} != sides[2]


def test_rows_that_share_a_prompt_or_an_id_are_one_problem():
    rows = (
        _row(id="a", prompt="x"),
        _row(id="b", prompt="x"),
        _row(id="b", prompt="y"),
        _row(id="c", prompt="z"),
    )
    assert same_problem(_examples(*rows)) == ["a", "a", "a", "c"]


def test_a_share_that_leaves_a_side_empty_is_refused():
    rows = [_row(id=str(index), prompt=str(index)) for index in range(3)]
    with pytest.raises(UsageError, match="leaves a side empty"):
        split_by_problem(_examples(*rows), holdout=0.1, seed=0)
    assert split_by_problem(_examples(*rows), holdout=0.0, seed=0).test == ()
