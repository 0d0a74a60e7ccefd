"""A configuration of the loop: files over each other, `--set`, unknown keys, what does not fit together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftrain.loop import from_json, read_config
from selftrain.loop.config import anchored, differences
from selftrain.loop.reading import assign, overlay
from selftrain.loop.sections import ProblemSource
from tasks.errors import DataError, UsageError

TASKS = {"toy": {"train": {"generate": 3}, "heldout": {"generate": 2}}}


def config(**more: Any) -> Any:
    return from_json({"tasks": TASKS} | more)


def test_defaults_fill_what_is_not_given() -> None:
    found = config()
    assert (found.policy, found.policy_from, found.iterations) == ("embedded", "base", 1)
    assert found.search.algorithm == "mcts"
    assert (found.heldout, found.trained) == (["toy"], ["toy"])


@pytest.mark.parametrize(
    ("content", "near"),
    [
        ({"serach": {}}, "did you mean 'search'"),
        ({"search": {"algoritm": "mcts"}}, "did you mean 'algorithm'"),
        ({"tasks": {"toy": {"heldot": {}}}}, "did you mean 'heldout'"),
        ({"gate": {"alpa": 0.1}}, "did you mean 'alpha'"),
        ({"gate": {"hold": ["tou"]}}, "did you mean 'toy'"),
        ({"policy_from": "bass"}, "did you mean 'base'"),
        ({"prm": {"use": "serch"}}, "did you mean 'search'"),
    ],
)
def test_an_unknown_key_or_name_is_answered_with_the_nearest(content: Any, near: str) -> None:
    with pytest.raises(UsageError, match=near):
        config(**content)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({"tasks": {"toy": {"heldout": {"generate": 2}}}}, "no task has train problems"),
        ({"tasks": {"toy": {"train": {"generate": 2}}}}, "no task has heldout problems"),
        ({"tasks": {"toy": {"train": {"generate": 2, "data": "x"}, "heldout": {"generate": 2}}}}, "give one"),
        ({"tasks": {"to/y": TASKS["toy"]}}, "letters, digits"),
        ({"train": None}, "nothing is learned"),
        ({"iterations": 0}, "at least 1"),
        ({"search": {"max_failed": 1.0}}, r"in \[0, 1\)"),
        ({"gate": {"rule": "non-inferior"}}, "needs a margin"),
        ({"evaluate": {"samples": 2}}, "greedy gives the same"),
        ({"search": 3}, "must hold keys and values"),
        ({"builder": {"phases": 3}}, "1 or 2"),
        ({"seed": "one"}, "a whole number"),
    ],
)
def test_what_does_not_fit_says_why(content: Any, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        config(**content)


def test_later_files_are_laid_over_earlier_ones_and_assignments_over_both(tmp_path: Path) -> None:
    below, above = tmp_path / "recipe.yaml", tmp_path / "toy.yaml"
    below.write_text(
        "tasks: {toy: {train: {data: a.jsonl}, heldout: {generate: 9}}}\n"
        "search: {algorithm: beam, settings: {beam_width: 8, policy.temperature: 0.7}}\n"
    )
    above.write_text(
        "tasks: {toy: {train: {data: null, generate: 2}}}\nsearch: {settings: {beam_width: 2}}\n"
    )
    found = read_config(
        [below, above], ["search.settings.policy.temperature=1", "policy-from=last", "seed=7"]
    )
    assert found.task("toy").train.generate == 2
    assert found.search.settings == {"beam_width": 2, "policy.temperature": 1}
    assert (found.policy_from, found.seed) == ("last", 7)


@pytest.mark.parametrize("text", ["a: [", "- 1", ""])
def test_a_file_that_holds_no_mapping_is_refused_with_its_name(tmp_path: Path, text: str) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text(text)
    with pytest.raises((UsageError, DataError), match=r"broken\.yaml"):
        read_config([file])


def test_lists_may_be_written_as_text() -> None:
    assert config(gate={"hold": "toy"}).gate.hold == ("toy",)
    tuned = config(tune={"temperatures": "0.5, 0.9", "thresholds": [0]}).tune
    assert (tuned.temperatures, tuned.thresholds) == ((0.5, 0.9), (0.0,))


def test_none_leaves_a_section_out() -> None:
    assert config(train="none", prm={"use": "evaluate"}).train is None
    assert config(prm=None).prm is None


def test_a_configuration_comes_back_from_its_json() -> None:
    found = config(
        prm={"labels": {"completions": 4}}, tune={}, quarantine={"after": 2}, gate={"hold": ["toy"]}
    )
    assert from_json(found.to_json()) == found


def test_differences_name_the_place_and_both_values_and_allow_more_iterations() -> None:
    old = config(iterations=2)
    assert differences(old, config(iterations=3)) == []
    assert differences(old, config(iterations=2, search={"concurrency": 3})) == []
    assert differences(old, config(iterations=1)) == ["iterations: 2 in the run, 1 now"]
    changed = config(iterations=2, search={"settings": {"width": 8}}, gate={"alpha": 0.01})
    assert differences(old, changed) == [
        "search.settings.width: None in the run, 8 now",
        "gate.alpha: 0.05 in the run, 0.01 now",
    ]


@pytest.mark.parametrize(
    ("above", "assigned", "train"),
    [
        ("{data: mine.jsonl}", [], {"data": "mine.jsonl", "limit": 9}),
        ("{data: mine.jsonl, generate: null}", [], {"data": "mine.jsonl", "limit": 9}),
        ("{limit: 3}", ["data=mine.jsonl"], {"data": "mine.jsonl", "limit": 3}),
        ("{limit: 3}", ["data=mine.jsonl", "generate=none"], {"data": "mine.jsonl", "limit": 3}),
        ("{data: mine.jsonl}", ["generate=7"], {"generate": 7, "limit": 9}),
    ],
)
def test_problems_of_a_file_take_the_place_of_generated_ones_below(
    above: str, assigned: list[str], train: dict[str, Any], tmp_path: Path
) -> None:
    files = [tmp_path / "below.yaml", tmp_path / "above.yaml"]
    files[0].write_text("tasks: {toy: {train: {generate: 5, start: 2, limit: 9}, heldout: {generate: 1}}}")
    files[1].write_text(f"tasks: {{toy: {{train: {above}}}}}")
    found = read_config(files, [f"tasks.toy.train.{one}" for one in assigned])
    assert found.task("toy").train == ProblemSource(**train)


def test_paths_become_absolute_and_names_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    tasks = {"toy": {"train": {"data": "a.jsonl"}, "heldout": {"generate": 1}}}
    found = anchored(from_json({"tasks": tasks, "policy": "model", "prm": {"base": "embedded"}}))
    assert found.policy == str(tmp_path / "model")
    assert found.prm is not None
    assert found.prm.base == "embedded"
    assert found.task("toy").train.data == str(tmp_path / "a.jsonl")


KEYS = st.text(st.sampled_from("abc"), min_size=1, max_size=2)
MAPPINGS = st.recursive(
    st.dictionaries(KEYS, st.integers(), max_size=3),
    lambda inner: st.dictionaries(KEYS, st.one_of(st.integers(), inner), max_size=3),
    max_leaves=6,
)


@given(MAPPINGS, MAPPINGS)
def test_an_overlay_wins_and_changes_nothing_of_what_it_is_given(below: Any, above: Any) -> None:
    before = (repr(below), repr(above))
    merged = overlay(below, above)
    assert overlay(merged, above) == merged
    assert overlay({}, above) == above
    assert overlay(below, {}) == below
    assert (repr(below), repr(above)) == before


@given(MAPPINGS, st.lists(KEYS, min_size=1, max_size=3), st.integers())
def test_an_assignment_sets_the_one_value_at_its_path(below: Any, path: list[str], value: int) -> None:
    found = assign(below, ".".join(path), str(value))
    for key in path:
        found = found[key]
    assert found == value
