"""Quarantine: set aside after k failures, tried again every m-th iteration, back for good once solved."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftrain.quarantine import (
    Quarantine,
    Record,
    due,
    in_quarantine,
    observe,
    read_state,
    report,
    set_aside,
    write_state,
)
from tasks.errors import DataError, UsageError

SETTINGS = Quarantine(after=2, retry_every=3)


def run(
    iterations: int, solvable: dict[str, int], settings: Quarantine
) -> tuple[dict[str, Record], list[set[str]]]:
    """Search all that is not set aside; a problem is solved from the iteration `solvable` says on."""
    state: dict[str, Record] = {}
    searched: list[set[str]] = []
    for iteration in range(1, iterations + 1):
        taken = set(solvable) - set_aside(state, iteration, settings)
        state = observe(state, iteration, {name: iteration >= solvable[name] for name in sorted(taken)})
        searched.append(taken)
    return state, searched


def test_a_hard_problem_is_left_out_after_two_failures_and_tried_every_third_iteration() -> None:
    _, searched = run(10, {"easy": 1, "never": 99}, SETTINGS)
    assert [number for number, taken in enumerate(searched, 1) if "never" in taken] == [1, 2, 5, 8]
    assert all("easy" in taken for taken in searched)


def test_a_problem_that_a_try_solves_is_back_for_good() -> None:
    state, searched = run(8, {"late": 5}, SETTINGS)
    assert [number for number, taken in enumerate(searched, 1) if "late" in taken] == [1, 2, 5, 6, 7, 8]
    assert state["late"] == Record(failed=2, solved=5, last=8)
    assert report(state, 9, SETTINGS)["came_back"] == ["late"]


def test_a_problem_that_was_ever_solved_is_never_set_aside() -> None:
    state = observe({}, 1, {"p": True})
    for iteration in range(2, 9):
        state = observe(state, iteration, {"p": False})
    assert in_quarantine(state, SETTINGS) == frozenset()


def test_no_retries_means_never_and_a_search_from_elsewhere_still_frees() -> None:
    settings = Quarantine(after=1, retry_every=0)
    state = observe({}, 1, {"p": False})
    assert set_aside(state, 1_000, settings) == {"p"}
    assert set_aside(observe(state, 5, {"p": True}), 6, settings) == frozenset()


def test_the_report_counts_and_names() -> None:
    state = observe({}, 1, {"a": False, "b": True, "c": False})
    state = observe(state, 2, {"a": False, "b": True, "c": False})
    state = observe(state, 5, {"c": False})
    found = report(state, 6, SETTINGS)
    assert found["counts"] == {"searched": 3, "solved": 1, "set_aside": 1, "tried_again": 1, "came_back": 0}
    assert (found["set_aside"], found["tried_again"]) == (["c"], ["a"])
    assert json.loads(json.dumps(found)) == found


def test_an_iteration_is_observed_once_and_in_order() -> None:
    state = observe({}, 3, {"p": False})
    for iteration in (3, 2):
        with pytest.raises(UsageError, match="observe iterations in order"):
            observe(state, iteration, {"p": False})
    assert state == {"p": Record(failed=1, solved=None, last=3)}


@given(
    st.dictionaries(st.text(min_size=1, max_size=3), st.integers(1, 12), max_size=5),
    st.integers(1, 4),
    st.integers(0, 4),
)
def test_what_is_left_out_failed_often_enough_and_no_wait_is_longer_than_asked(
    solvable: dict[str, int], after: int, retry: int
) -> None:
    settings = Quarantine(after=after, retry_every=retry)
    state, searched = run(12, solvable, settings)
    for name in solvable:
        tries = [number for number, taken in enumerate(searched, 1) if name in taken]
        assert tries[: min(after, 12)] == list(range(1, min(after, 12) + 1))
        gaps = {later - earlier for earlier, later in pairwise(tries)}
        assert gaps <= {1, retry}
        first = state[name].solved
        if first is not None:
            assert set(range(first, 13)) <= set(tries)
    assert set_aside(state, 13, settings) | due(state, 13, settings) == in_quarantine(state, settings)


def test_the_state_survives_the_disk_and_what_is_no_state_is_refused(tmp_path: Path) -> None:
    state, _ = run(6, {"a/1": 1, "ü": 99}, SETTINGS)
    path = tmp_path / "state.json"
    write_state(path, state)
    assert read_state(path) == state
    record = '{"failed": "x", "solved": null, "last": 1}'
    other = ["", "[]", '{"format": "quarantine/1"}', '{"format": "other", "problems": {}}']
    for content in (*other, f'{{"format": "quarantine/1", "problems": {{"p": {record}}}}}'):
        path.write_text(content)
        with pytest.raises(DataError, match=r"state\.json"):
            read_state(path)
    with pytest.raises(DataError, match="cannot read"):
        read_state(tmp_path / "none.json")


@pytest.mark.parametrize("wrong", [{"after": 0}, {"retry_every": -1}])
def test_settings_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Quarantine(**wrong)
