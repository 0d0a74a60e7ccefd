"""The journal: append-only, checksummed; torn tails are dropped, damage is named, one writer at a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from toy_worlds import SCENARIOS, search, variants

from tasks.errors import DataError, UsageError
from treesearch.budget import Budget
from treesearch.events import Closed, Event
from treesearch.journal import COMMIT_SECONDS, Journal, read_journal


def records_of_a_search() -> list[list[Event]]:
    return search(SCENARIOS["roll-outs that vote"], variants("mcts")[0], Budget(tokens=300))[1]


def write(path: Path, records: list[list[Event]], problem: str = "walk 1 ✓") -> None:
    journal = Journal(path)
    for record in records:
        journal.append(problem, record)
    journal.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "journal" / "0000.jsonl"


def test_records_come_back_in_order_and_equal(path: Path) -> None:
    records = records_of_a_search()
    write(path, records)
    assert list(read_journal(path)) == [("walk 1 ✓", record) for record in records]


def test_a_journal_that_is_not_there_is_empty(path: Path) -> None:
    assert list(read_journal(path)) == []


def test_the_sequence_goes_on_after_reopening(path: Path) -> None:
    for number in range(3):
        journal = Journal(path)
        assert journal.seq == number
        journal.append("p", [Closed(number)])
        journal.close()
    assert [event for _, [event] in read_journal(path)] == [Closed(0), Closed(1), Closed(2)]


def test_a_torn_tail_is_left_out_and_cut_before_the_next_append(path: Path) -> None:
    write(path, [[Closed(0)], [Closed(1)]])
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    assert [event for _, [event] in read_journal(path)] == [Closed(0)]
    write(path, [[Closed(1)]], problem="walk 1 ✓")
    assert path.read_bytes() == whole


def test_a_last_line_that_does_not_check_counts_as_torn(path: Path) -> None:
    write(path, [[Closed(0)], [Closed(1)]])
    data = bytearray(path.read_bytes())
    data[-10:-5] = b"\0" * 5
    path.write_bytes(bytes(data))
    assert [event for _, [event] in read_journal(path)] == [Closed(0)]


@pytest.mark.parametrize(
    "damage",
    [
        lambda lines: [lines[0], lines[1].replace(b"close", b"clone"), *lines[2:]],
        lambda lines: [lines[0], *lines[2:]],
        lambda lines: [lines[0], lines[0], *lines[1:]],
        lambda lines: [lines[0], b"\n", *lines[1:]],
        lambda lines: [lines[0], b"\xff\xfe\n", *lines[1:]],
    ],
    ids=["changed", "missing", "twice", "blank", "binary"],
)
def test_damage_before_the_end_is_named_by_file_and_line(path: Path, damage: object) -> None:
    write(path, [[Closed(number)] for number in range(4)])
    path.write_bytes(b"".join(damage(path.read_bytes().splitlines(keepends=True))))  # type: ignore[operator]
    with pytest.raises(DataError, match=rf"{path}:\d: damaged"):
        list(read_journal(path))
    before = path.read_bytes()
    with pytest.raises(DataError, match=rf"{path}:\d: damaged"):
        Journal(path)
    assert path.read_bytes() == before, "a damaged journal must not be touched"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_cut_off_at_any_byte_a_prefix_is_read_and_the_rest_can_be_written_again(
    path: Path, data: st.DataObject
) -> None:
    records = [[Closed(number)] for number in range(12)]
    path.unlink(missing_ok=True)
    write(path, records, problem="π")
    whole = path.read_bytes()
    end = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:end])
    kept = [record for _, record in read_journal(path)]
    assert kept == records[: whole[:end].count(b"\n")]
    write(path, records[len(kept) :], problem="π")
    assert path.read_bytes() == whole


def test_a_second_writer_is_refused_and_the_first_goes_on(path: Path) -> None:
    first = Journal(path)
    code = f"from pathlib import Path; from treesearch.journal import Journal; Journal(Path({str(path)!r}))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "another process is writing" in other.stderr
    with pytest.raises(UsageError, match="another process is writing"):
        Journal(path)
    first.append("p", [Closed(0)])
    first.close()
    assert len(list(read_journal(path))) == 1
    Journal(path).close()


def test_lines_wait_for_the_group_commit(path: Path) -> None:
    now = [0.0]
    journal = Journal(path, clock=lambda: now[0])
    journal.append("p", [Closed(0)])
    assert path.read_bytes() == b""
    now[0] = COMMIT_SECONDS
    journal.append("p", [Closed(1)])
    assert len(list(read_journal(path))) == 2
    journal.append("p", [Closed(2)])
    journal.flush()
    assert len(list(read_journal(path))) == 3
    journal.close()
    journal.close()
