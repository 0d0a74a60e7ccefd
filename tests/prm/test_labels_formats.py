"""Formats of other people's labels: round trips, choices made explicit, broken lines named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prm.evaluation.processbench import CheckedSolution, read_processbench
from prm.labels.convert import READERS, WRITERS, ConvertOptions, convert
from prm.labels.math_shepherd import read_math_shepherd, write_math_shepherd
from prm.labels.prm800k import read_prm800k, to_records, to_rows, write_prm800k
from prm.labels.processbench import to_rows as processbench_rows
from prm.labels.processbench import write_processbench
from prm.labels.stepwise import read_stepwise, write_stepwise
from prm.training.rows import StepRow, read_rows
from tasks.errors import DataError, UsageError
from treesearch.cli import ExitCode, main

words = st.text(alphabet="ab 1.=+-\n$", min_size=1, max_size=8).filter(lambda text: bool(text.strip()))


def row(prompt: str, steps: list[str], labels: list[float | None]) -> StepRow:
    return StepRow(id=prompt, prompt=prompt, steps=tuple(steps), labels=tuple(labels))


# stepwise


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(words, st.lists(st.tuples(words, st.none() | st.floats(0, 1)), min_size=1, max_size=4)),
        min_size=1,
        max_size=3,
    )
)
def test_stepwise_rows_come_back(tmp_path_factory: pytest.TempPathFactory, made: list[Any]) -> None:
    rows = [row(prompt, [s for s, _ in steps], [label for _, label in steps]) for prompt, steps in made]
    file = tmp_path_factory.mktemp("stepwise") / "s.jsonl"
    write_stepwise(file, rows)
    assert read_stepwise(file) == rows


def test_stepwise_labels_are_booleans_where_they_can_be(tmp_path: Path) -> None:
    file = tmp_path / "s.jsonl"
    write_stepwise(file, [row("q", ["a", "b", "c"], [1, 0, None]), row("q", ["a", "b"], [1, 0.5])])
    assert [json.loads(line)["labels"] for line in file.read_text().splitlines()] == [
        [True, False, None],
        [1, 0.5],
    ]
    file.write_text('{"prompt": "q", "completions": ["a"], "labels": [true], "extra": 1}\n{"prompt": "q"}\n')
    with pytest.raises(DataError, match=r"s\.jsonl:2: no key 'completions'"):
        read_stepwise(file)


# Math-Shepherd

SHEPHERD = {
    "input": "How many? Step 1: One and one is 2. ки\nStep 2: 2 and\n2 is 5. ки\nStep 3: The answer is: 5 ки",
    "label": "How many? Step 1: One and one is 2. +\nStep 2: 2 and\n2 is 5. -\nStep 3: The answer is: 5 -",
    "task": "GSM8K",
}


def test_math_shepherd_text_is_split_at_its_tags_and_written_back_byte_for_byte(tmp_path: Path) -> None:
    file = tmp_path / "m.jsonl"
    file.write_text(json.dumps(SHEPHERD, ensure_ascii=False) + "\n")
    (found,) = read_math_shepherd(file)
    assert found.prompt == "How many?"
    assert found.steps == (
        "Step 1: One and one is 2.",
        "Step 2: 2 and\n2 is 5.",
        "Step 3: The answer is: 5",
    )
    assert found.labels == (1, 0, 0)
    again = tmp_path / "again.jsonl"
    write_math_shepherd(again, [found], task="GSM8K")
    assert again.read_bytes() == file.read_bytes()


def test_math_shepherd_numbers_steps_and_refuses_labels_that_it_can_not_hold(tmp_path: Path) -> None:
    file = tmp_path / "m.jsonl"
    write_math_shepherd(file, [row("q", ["a\n", "b"], [1, 0])], task="t")
    (found,) = read_math_shepherd(file)
    assert (found.steps, found.labels) == (("Step 1: a", "Step 2: b"), (1, 0))
    for label in (0.5, None):
        with pytest.raises(UsageError, match=f"has the labels 0 and 1, got {label} in 'q'"):
            write_math_shepherd(file, [row("q", ["a"], [label])], task="t")
    with pytest.raises(UsageError, match="holds the tag"):
        write_math_shepherd(file, [row("q", ["a ки b"], [1])], task="t")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input": "How many? One. ки"}, ":1: 'input' has no 'Step 1:'"),
        ({"input": SHEPHERD["input"] + " and more"}, ":1: 'input' must end every step"),
        ({"label": SHEPHERD["label"].replace("2 is 5", "2 is 4")}, ":1: 'label' is not 'input' with"),
        ({"label": SHEPHERD["label"].replace(" -", " ?")}, ":1: 'label' is not 'input' with"),
        ({"label": "Other? " + SHEPHERD["label"]}, ":1: 'label' does not begin with the question"),
        ({"label": SHEPHERD["label"] + "\nmore"}, ":1: 'label' goes on after its last step"),
    ],
)
def test_a_broken_math_shepherd_record_is_named(tmp_path: Path, change: dict[str, str], message: str) -> None:
    file = tmp_path / "m.jsonl"
    file.write_text(json.dumps(SHEPHERD | change) + "\n")
    with pytest.raises(DataError, match=message):
        read_math_shepherd(file)


# PRM800K


def rated(*steps: dict[str, Any], finish: str = "found_error") -> dict[str, Any]:
    return {
        "labeler": "x",
        "generation": 9,
        "question": {"problem": "p", "ground_truth_answer": "4", "pre_generated_steps": ["a"]},
        "label": {"steps": list(steps), "total_time": 5, "finish_reason": finish},
    }


def options(*ratings: tuple[str, int | None], chosen: int | None, human: str | None = None) -> dict[str, Any]:
    return {
        "completions": [{"text": text, "rating": rating, "flagged": None} for text, rating in ratings],
        "human_completion": None if human is None else {"text": human, "rating": None},
        "chosen_completion": chosen,
    }


LINES = [
    rated(
        options(("a", 1), chosen=0),
        options(("b", 0), ("x", -1), chosen=0),
        options(("y", -1), ("z", 0), ("w", -1), chosen=None),
    ),
    rated(options(("bad", -1), chosen=None, human="good"), options(("end", 1), chosen=0), finish="solution"),
]


def prm800k_file(path: Path, lines: list[dict[str, Any]] = LINES) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_prm800k_is_written_back_with_all_that_it_said(tmp_path: Path) -> None:
    found = read_prm800k(prm800k_file(tmp_path / "a.jsonl"))
    write_prm800k(tmp_path / "b.jsonl", found)
    assert [json.loads(line) for line in (tmp_path / "b.jsonl").read_text().splitlines()] == LINES
    assert read_prm800k(tmp_path / "b.jsonl")[1].steps == found[1].steps


def test_a_trajectory_that_found_an_error_ends_with_it(tmp_path: Path) -> None:
    found = read_prm800k(prm800k_file(tmp_path / "a.jsonl"))
    assert [each.finish for each in found] == ["found_error", "solution"]
    rows = to_rows(found)
    assert [(each.steps, each.labels) for each in rows] == [
        (("a", "b", "y"), (1, 1, 0)),
        (("good", "end"), (1, 1)),
    ]


def test_what_neutral_counts_as_is_the_callers_choice(tmp_path: Path) -> None:
    found = read_prm800k(prm800k_file(tmp_path / "a.jsonl"))
    assert [to_rows(found, neutral=way)[0].labels for way in ("right", "wrong", "none")] == [  # type: ignore[arg-type]
        (1, 1, 0),
        (1, 0, 0),
        (1, None, 0),
    ]


def test_every_rated_alternative_is_a_record_with_its_prefix(tmp_path: Path) -> None:
    found = to_records(read_prm800k(prm800k_file(tmp_path / "a.jsonl")), neutral="none")
    assert [("".join(each.prefix), each.step, each.right) for each in found] == [
        ("", "a", 1),
        ("a", "x", 0),
        ("ab", "y", 0),
        ("ab", "w", 0),
        ("", "bad", 0),
        ("", "good", 1),
        ("good", "end", 1),
    ]
    assert {(each.completions, each.source) for each in found} == {(1, "human:prm800k")}


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([options(("a", 2), chosen=0)], ":1: 'rating' must be -1, 0, 1 or null, got 2"),
        ([options(("a", 1), chosen=1)], ":1: 'chosen_completion' must be an index of 1 completions"),
        (["a"], ":1: 'steps' must be an object"),
    ],
)
def test_a_broken_prm800k_record_is_named(tmp_path: Path, steps: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_prm800k(prm800k_file(tmp_path / "a.jsonl", [rated(*steps)]))


# ProcessBench


@settings(max_examples=30)
@given(
    st.lists(
        st.lists(words, min_size=1, max_size=4).flatmap(
            lambda steps: st.tuples(st.just(steps), st.integers(-1, len(steps) - 1), st.booleans())
        ),
        min_size=1,
        max_size=4,
    )
)
def test_processbench_solutions_come_back(tmp_path_factory: pytest.TempPathFactory, made: list[Any]) -> None:
    solutions = [
        CheckedSolution(
            id=str(i), generator="g", problem="p", steps=tuple(steps), final_answer_correct=right, label=label
        )
        for i, (steps, label, right) in enumerate(made)
    ]
    file = tmp_path_factory.mktemp("bench") / "p.jsonl"
    write_processbench(file, solutions)
    assert read_processbench(file) == solutions
    for each, labelled in zip(solutions, processbench_rows(solutions), strict=True):
        wrong = [index for index, label in enumerate(labelled.labels) if label == 0]
        assert wrong == ([] if each.label == -1 else [each.label])


# convert


HARD = [row("q", ["a", "b"], [1.0, 0.0]), row("r", ["c", "d"], [1.0, 1.0])]


@pytest.mark.parametrize("first", sorted(set(WRITERS) & set(READERS)))
@pytest.mark.parametrize("second", sorted(set(WRITERS) & set(READERS)))
def test_hard_labels_pass_through_every_pair_of_formats(first: str, second: str, tmp_path: Path) -> None:
    write_stepwise(tmp_path / "stepwise", HARD)
    ways = [("stepwise", first), (first, second), (second, "rows")]
    names = ["stepwise", "a", "b", "rows"]
    for (source, target), data, out in zip(ways, names, names[1:], strict=False):
        found = convert(tmp_path / data, tmp_path / out, source=source, target=target)
        assert (found.n_solutions, found.n_steps, found.n_labels) == (2, 4, 4)
    got = read_rows(tmp_path / "rows")
    assert [(each.prompt, each.labels) for each in got] == [(each.prompt, each.labels) for each in HARD]
    numbered = "math-shepherd" in (first, second)
    wanted = (
        [["Step 1: a", "Step 2: b"], ["Step 1: c", "Step 2: d"]] if numbered else [["a", "b"], ["c", "d"]]
    )
    assert [list(each.steps) for each in got] == wanted


def test_soft_labels_become_hard_ones_only_by_a_threshold(tmp_path: Path) -> None:
    write_stepwise(tmp_path / "in", [HARD[0], row("s", ["a", "b"], [0.75, 0.25])])
    (tmp_path / "out").write_text("what was there")
    with pytest.raises(UsageError, match=r"solution 2 \('s'\) has the label 0.75.*--threshold X"):
        convert(tmp_path / "in", tmp_path / "out", source="stepwise", target="processbench")
    assert (tmp_path / "out").read_text() == "what was there"
    options = ConvertOptions(threshold=0.5)
    convert(tmp_path / "in", tmp_path / "out", source="stepwise", target="processbench", options=options)
    found = read_processbench(tmp_path / "out")
    assert [(each.id, each.label, each.final_answer_correct) for each in found] == [
        ("out-0", 1, False),
        ("out-1", 1, False),
    ]


def test_a_first_error_that_is_not_known_is_no_processbench_record(tmp_path: Path) -> None:
    write_stepwise(tmp_path / "in", [row("s", ["a", "b"], [None, 0.0])])
    with pytest.raises(UsageError, match=r"solution 1 \('s'\): step 1 has no label"):
        convert(tmp_path / "in", tmp_path / "out", source="stepwise", target="processbench")


def test_neutral_ratings_count_as_they_are_said_to(tmp_path: Path) -> None:
    step = {"completions": [{"text": "a", "rating": 0, "flagged": None}], "chosen_completion": 0}
    content = {"question": {"problem": "q"}, "label": {"steps": [step], "finish_reason": "solution"}}
    (tmp_path / "in").write_text(json.dumps(content))
    for neutral, label in (("right", 1.0), ("wrong", 0.0)):
        options = ConvertOptions(neutral=neutral)  # type: ignore[arg-type]
        convert(tmp_path / "in", tmp_path / "out", source="prm800k", target="stepwise", options=options)
        assert [each.labels for each in read_stepwise(tmp_path / "out")] == [(label,)]
    options = ConvertOptions(neutral="none")
    with pytest.raises(UsageError, match=r"no solution of .* has a label; nothing is written"):
        convert(tmp_path / "in", tmp_path / "out", source="prm800k", target="stepwise", options=options)


def test_the_command_converts_and_refuses_what_it_does_not_know(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_stepwise(tmp_path / "in", HARD)
    data, out = ["--data", str(tmp_path / "in")], ["--out", str(tmp_path / "out")]
    command = ["prm", "convert", *data, *out, "--from", "stepwise"]
    assert main([*command, "--to", "math-shepherd", "--task", "GSM8K", "--json"]) == ExitCode.DONE
    assert json.loads(capsys.readouterr().out)["n_labels"] == 4
    assert json.loads((tmp_path / "out").read_text().splitlines()[0])["task"] == "GSM8K"
    assert main(command) == ExitCode.DONE
    assert "2 solutions with 4 steps, 4 of them labelled" in capsys.readouterr().out
    for words, told in (
        ([*command, "--to", "prm80k"], "did you mean 'prm800k'"),
        (["prm", "convert", *data, "--out", str(tmp_path / "in"), "--from", "stepwise"], "--out"),
        ([*command, "--neutral", "maybe"], "reading of neutral"),
        ([*command, "--threshold", "0"], "above 0"),
    ):
        assert main(words) == ExitCode.USAGE
        assert told in capsys.readouterr().err
    assert len(read_rows(tmp_path / "out")) == 2
