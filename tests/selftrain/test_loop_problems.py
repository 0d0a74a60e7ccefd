"""Which training problems an iteration takes, and what becomes of a file of problems."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftrain.loop.problems import choose, freeze, thaw
from tasks.base import Problem
from tasks.errors import DataError


def problems(count: int) -> list[Problem]:
    return [Problem(id=str(number), task="math", question=f"Number {number}?") for number in range(count)]


def ids(chosen: list[Problem]) -> list[int]:
    return [int(problem.id) for problem in chosen]


@given(pool=st.integers(2, 40), most=st.integers(1, 15), seed=st.integers(0, 5))
def test_every_problem_is_taken_before_one_is_taken_again(pool: int, most: int, seed: int) -> None:
    turns = [ids(choose(problems(pool), without=(), most=most, turn=turn, seed=seed)) for turn in range(pool)]
    assert all(turn == sorted(set(turn)) and len(turn) == min(most, pool) for turn in turns)
    if most >= pool:
        return
    taken: list[int] = [0] * pool
    for turn in turns:
        for one in turn:
            taken[one] += 1
        assert max(taken) - min(taken) <= 1


@given(pool=st.integers(2, 40), most=st.integers(1, 15), turn=st.integers(0, 9), data=st.data())
def test_a_turn_is_full_where_enough_problems_are_left(
    pool: int, most: int, turn: int, data: st.DataObject
) -> None:
    without = data.draw(st.sets(st.integers(0, pool - 1)))
    chosen = ids(choose(problems(pool), without=set(map(str, without)), most=most, turn=turn, seed=0))
    assert len(chosen) == min(most, pool - len(without))
    assert not without & set(chosen)


def test_seeds_draw_other_orders_and_a_seed_the_same() -> None:
    drawn = [ids(choose(problems(30), without=(), most=10, turn=0, seed=seed)) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert ids(choose(problems(30), without=(), most=None, turn=2, seed=0)) == list(range(30))


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ([Problem(id="a", question="1?"), Problem(id="a", question="2?")], "two problems have the id 'a'"),
        ([Problem(id="a", question="1?", gold="1", meta={"pair": (1, 2)})], "do not survive being written"),
    ],
)
def test_problems_that_could_not_be_read_again_leave_the_file_that_is_there(
    written: list[Problem], says: str, tmp_path: Path
) -> None:
    path = tmp_path / "problems.jsonl"
    freeze(path, [Problem(id="old", question="1 + 1?", gold="2")], "math")
    before = path.read_bytes()
    with pytest.raises(DataError, match=says):
        freeze(path, written, "math")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_problem_without_a_gold_keeps_its_question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Questions:
        """A task whose answers can be checked without a gold, and whose files hold questions."""

        def load(self, data: Path) -> list[Problem]:
            rows = [json.loads(line) for line in data.read_text().splitlines()]
            return [Problem(id=row["id"], question=row["question"], task="sort") for row in rows]

    monkeypatch.setattr("selftrain.loop.problems.open_task", lambda _: Questions())
    written = [Problem(id="a", question="3 1 2", task="sort"), Problem(id="b", question="2 1", task="sort")]
    freeze(tmp_path / "problems.jsonl", written, "sort")
    assert thaw(tmp_path / "problems.jsonl", "sort") == written
