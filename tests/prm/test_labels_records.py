"""Step records and their file: counts checked, nothing lost, broken lines named, torn tails cut."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from labels_worlds import record

from prm.labels.record import StepRecord
from prm.labels.steptree import by_problem, chain, leaves, only_source, step_tree
from prm.labels.store import RecordFile, merged, read_records, write_records
from tasks.errors import DataError, UsageError

texts = st.text(max_size=6)


@st.composite
def records(draw: st.DrawFn) -> StepRecord:
    completions = draw(st.integers(0, 9))
    root = draw(st.booleans())
    prefix = () if root else tuple(draw(st.lists(texts, max_size=3)))
    path = len(prefix) + (not root)
    ids = st.lists(st.integers(0, 99), max_size=3).map(tuple)
    return StepRecord(
        problem=draw(st.text(min_size=1, max_size=4)),
        question="q " + draw(texts),
        prefix=prefix,
        step=None if root else draw(texts),
        completions=completions,
        right=draw(st.integers(0, completions)),
        model=draw(texts),
        grader=draw(texts),
        source="mc",
        finished=draw(st.booleans()),
        shortest=draw(st.none() | st.integers(0, 4)),
        value=draw(st.none() | st.floats(-2, 2)),
        visits=draw(st.integers(0, 3)),
        prompt_ids=draw(st.none() | ids),
        step_ids=draw(st.none() | st.lists(ids, min_size=path, max_size=path).map(tuple)),
    )


@settings(max_examples=30)
@given(st.lists(records(), min_size=1, max_size=4))
def test_records_are_read_back_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, found: list[StepRecord]
) -> None:
    file = tmp_path_factory.mktemp("records") / "r.jsonl"
    write_records(file, found)
    assert read_records(file) == found


def test_counts_that_are_none_are_refused() -> None:
    with pytest.raises(UsageError, match="right must be from 0 to completions, got 3 of 2 at a step of 'p'"):
        record("a", 2, 3)
    with pytest.raises(UsageError, match="no prefix"):
        record("", prefix=("x",))
    with pytest.raises(UsageError, match="2 lists of ids for the 1 steps"):
        record("a", step_ids=((1,), (2,)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"right": 9}, r":2: 'right' must be a whole number from 0 to 8, got 9"),
        ({"completions": "8"}, r":2: 'completions' must be a whole number"),
        ({"prefix": "x"}, r":2: 'prefix' must be a list"),
        ({"step": 3}, r":2: 'step' must be text"),
        ({"colour": 1}, r":2: unknown key 'colour'"),
        ({"step_ids": [[1], [2]]}, r":2: 2 lists of 'step_ids'"),
        ({"prompt_ids": [1.5]}, r":2: 'prompt_ids' must be a list of token ids"),
        ({"value": "high"}, r":2: 'value' must hold finite numbers"),
    ],
)
def test_a_broken_record_is_named_with_its_line(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    file, row = tmp_path / "r.jsonl", record("a").to_json()
    file.write_text(json.dumps(row) + "\n" + json.dumps(row | change) + "\n")
    with pytest.raises(DataError, match=message):
        read_records(file)


def test_a_file_goes_on_where_it_was_torn_and_is_written_by_one_process(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "r.jsonl"
    first = RecordFile(path)
    first.append(record("a"))
    first.append(record("ab"))
    with pytest.raises(UsageError, match="another process is writing"):
        RecordFile(path)
    first.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    again = RecordFile(path)
    assert again.records == [record("a")]
    assert record("a").key in again.keys
    assert record("ab").key not in again.keys
    again.append(record("ab"))
    again.close()
    assert path.read_bytes() == whole


def test_equal_keys_are_joined_by_adding_their_counts() -> None:
    first = record("a", 8, 2, shortest=3, value=0.2, visits=4)
    second = record("a", 4, 4, shortest=1, value=0.9, visits=1)
    joined, other = merged([first, record("b"), second])
    assert (joined.completions, joined.right, joined.shortest, joined.visits) == (12, 6, 1, 5)
    assert joined.value == pytest.approx((4 * 0.2 + 1 * 0.9) / 5)
    assert other == record("b")
    assert merged([record("a", value=0.5), record("a")])[0].value == 0.5
    assert len(merged([first, record("a", source="omega")])) == 2


def test_records_become_a_tree_whose_gaps_are_steps_without_a_record() -> None:
    nodes = step_tree([record("ab"), record(""), record("c"), record("ad")])
    assert [("".join(node.path), node.record is not None) for node in nodes] == [
        ("", True),
        ("a", False),
        ("ab", True),
        ("c", True),
        ("ad", True),
    ]
    assert [["".join(nodes[n].path) for n in chain(nodes, leaf)] for leaf in leaves(nodes)] == [
        ["a", "ab"],
        ["c"],
        ["a", "ad"],
    ]


def test_sources_do_not_mix_in_one_tree() -> None:
    mixed = [record("a"), record("a", source="judge:x")]
    with pytest.raises(UsageError, match="records of 'mc' by 'm' and of 'judge:x' by 'm'"):
        step_tree(mixed)
    assert only_source(mixed, "mc") == [record("a")]
    with pytest.raises(UsageError, match="there are: mc, judge:x"):
        only_source(mixed, "omega")
    with pytest.raises(UsageError, match="one problem"):
        step_tree([record("a"), record("a", problem="other")])
    assert list(by_problem([record("a"), record("a", problem="other")])) == ["p", "other"]
