"""Decontamination: planted evaluation problems are found, templates are not, and nothing passes unread."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selftrain.decontamination import (
    ContaminationError,
    Decontamination,
    clean,
    decontaminate,
    find_overlaps,
    read_held_out,
    require_clean,
)
from tasks.base import Problem
from tasks.countdown.task import puzzle_problem
from tasks.errors import DataError, UsageError
from tasks.generator import generate
from tasks.math import MathTask

# Five questions of GSM8K's test set (openai/grade-school-math, MIT licence).
GSM8K = [
    "A robe takes 2 bolts of blue fiber and half that much white fiber. "
    "How many bolts in total does it take?",
    "James decides to run 3 sprints 3 times a week. He runs 60 meters each sprint. "
    "How many total meters does he run a week?",
    "Kylar went to the store to buy glasses for his new apartment. One glass costs $5, but every second "
    "glass costs only 60% of the price. Kylar wants to buy 16 glasses. "
    "How much does he need to pay for them?",
    "Toulouse has twice as many sheep as Charleston. Charleston has 4 times as many sheep as Seattle. "
    "How many sheep do Toulouse, Charleston, and Seattle have together if Seattle has 20 sheep?",
    "Max bought stamps at the post office. Some of the stamps had a snowflake design, some had a truck "
    "design, and some had a rose design. Max bought 16 snowflake stamps. He bought 3 more truck stamps than "
    "snowflake stamps, and 9 fewer rose stamps than truck stamps. How many stamps did Max buy in all?",
]
# The training set's nearest neighbour of the last one: the same words, other numbers.
STAMPS = (
    "Bella bought stamps at the post office. Some of the stamps had a snowflake design, some had a truck "
    "design, and some had a rose design. Bella bought 11 snowflake stamps. She bought 9 more truck stamps "
    "than snowflake stamps, and 13 fewer rose stamps than truck stamps. How many stamps did Bella buy in all?"
)


def problems(*questions: str, prefix: str = "p") -> list[Problem]:
    return [Problem(id=f"{prefix}{number}", question=one) for number, one in enumerate(questions)]


HELD_OUT = {"gsm8k": problems(*GSM8K, prefix="test")}
OWN = problems("A farmer has 12 cows and sells 5. How many are left?", "What is 7 * 8?", STAMPS)


def shouted(text: str) -> str:
    return f"  {text.upper()}\n".replace(",", " ,")


def renamed(text: str) -> str:
    for name, other in [("James", "Wen"), ("Kylar", "Ada"), ("Toulouse", "Bree"), ("Max", "Olga")]:
        text = text.replace(name, other)
    return text.replace("robe", "gown")


def quoted(text: str) -> str:
    return (
        f"Solve the problem.\n\n{text}\n\nThink first; there were 8 others on this page, and 31 on the next."
    )


def turned(text: str) -> str:
    first, second, *rest = text.split(". ")
    return ". ".join([second, first, *rest]) if rest else text


@pytest.mark.parametrize("rewrite", [str, shouted, renamed, quoted, turned])
def test_every_planted_problem_is_found_and_named_and_nothing_else(rewrite: Callable[[str], str]) -> None:
    planted = problems(*map(rewrite, GSM8K), prefix="planted")
    report = find_overlaps(OWN + planted, HELD_OUT)
    pairs = {(found.training_id, found.held_out, found.held_out_id) for found in report.overlaps}
    assert pairs == {(f"planted{number}", "gsm8k", f"test{number}") for number in range(5)}
    assert report.contaminated == {3, 4, 5, 6, 7}


@pytest.mark.parametrize(("rewrite", "method"), [(str, "exact"), (quoted, "ngram"), (renamed, "ngram")])
def test_a_pair_is_reported_once_by_the_first_method_that_finds_it(
    rewrite: Callable[[str], str], method: str
) -> None:
    report = find_overlaps(problems(rewrite(GSM8K[3])), HELD_OUT)
    assert [found.method for found in report.overlaps] == [method]


def test_minhash_finds_what_shares_no_long_run_of_words() -> None:
    told = (
        "James will run 3 sprints 3 times a week. He runs 60 meters in each sprint. "
        "How many meters in total does he run each week?"
    )
    assert [found.method for found in find_overlaps(problems(told), HELD_OUT).overlaps] == ["minhash"]
    assert not find_overlaps(problems(told), HELD_OUT, Decontamination(shingle=0)).overlaps


def test_a_neighbour_with_other_numbers_is_a_variant_unless_any_numbers_will_do() -> None:
    assert find_overlaps(OWN, HELD_OUT).overlaps == ()
    found = find_overlaps(OWN, HELD_OUT, Decontamination(numbers="any")).overlaps
    assert [(one.training, one.held_out_index) for one in found] == [(2, 4)]


def test_the_same_words_with_other_numbers_are_counted_as_variants() -> None:
    report = find_overlaps(problems(GSM8K[1].replace("60", "80")), HELD_OUT)
    assert (report.overlaps, report.variants) == ((), {"gsm8k": 1})


def test_generated_problems_overlap_only_where_they_ask_the_same() -> None:
    training = [generate(seed, split="train") for seed in range(1700, 2000)]
    held_out = [generate(seed, split="test") for seed in range(400, 500)]
    report = find_overlaps(
        problems(*(one.question for one in training)), {"made": problems(*(one.question for one in held_out))}
    )
    (found,) = report.overlaps
    one, other = training[found.training], held_out[found.held_out_index]
    assert (one.id, other.id) == ("train-1869", "test-493")
    assert one.gold == other.gold


def test_templates_are_not_contamination_and_a_planted_copy_among_them_is() -> None:
    training = problems(*(f"Ann has {n} pens and buys {n + 2} more. How many has she?" for n in range(3, 60)))
    held_out = problems(*(f"Bob has {n} pens and buys {n + 3} more. How many has he?" for n in range(3, 60)))
    assert not find_overlaps(training, {"made": held_out}).overlaps
    copy = replace(training[0], id="copy", question=held_out[9].question)
    assert [one.held_out_index for one in find_overlaps([*training, copy], {"made": held_out}).overlaps] == [
        9
    ]


def test_data_problems_are_compared_by_their_data_and_not_by_their_sentence() -> None:
    training = [
        puzzle_problem(id="a", numbers=[3, 5, 8, 11], target=24),
        puzzle_problem(id="b", numbers=[3, 5, 8, 12], target=24),
        puzzle_problem(id="c", numbers=[11, 8, 5, 3], target=25),
    ]
    held_out = {"c": [puzzle_problem(id="x", numbers=[11, 3, 8, 5], target=24)]}
    report = find_overlaps(training, held_out)
    assert [(one.training_id, one.method) for one in report.overlaps] == [("a", "exact")]
    assert report.only_exact == {"c": 1}


@given(st.lists(st.sampled_from([*GSM8K, *(one.question for one in OWN)]), min_size=1, max_size=6))
@settings(max_examples=25)
def test_what_is_clean_stays_clean_and_a_superset_of_held_out_finds_no_less(questions: list[str]) -> None:
    training = problems(*questions)
    report = find_overlaps(training, HELD_OUT)
    left = [one for one in training if one.question not in GSM8K]
    if left:
        kept, again = clean(training, HELD_OUT)
        assert (kept, again) == (left, report)
        require_clean(find_overlaps(kept, HELD_OUT))
    more = find_overlaps(training, {**HELD_OUT, "other": problems("Name a prime.")})
    assert more.contaminated >= report.contaminated


def test_no_set_an_empty_set_and_a_problem_without_text_are_errors_and_no_pass() -> None:
    with pytest.raises(UsageError, match="no evaluation set"):
        find_overlaps(OWN, {})
    with pytest.raises(DataError, match="evaluation set 'empty' holds no problem"):
        find_overlaps(OWN, {**HELD_OUT, "empty": []})
    with pytest.raises(DataError, match="the training set holds no problem"):
        find_overlaps([], HELD_OUT)
    with pytest.raises(DataError, match="evaluation set 'bad': problem 'p0' has no text"):
        find_overlaps(OWN, {"bad": problems(" ?")})


def test_an_evaluation_file_that_is_missing_broken_or_empty_is_an_error(tmp_path: Path) -> None:
    good = json.dumps({"question": GSM8K[0], "answer": "3"})
    (tmp_path / "broken.jsonl").write_text(f'{good}\n{{"question": "cut o')
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "good.jsonl").write_text(good + "\n")
    for name in ("missing", "broken", "empty"):
        with pytest.raises(DataError, match=name):
            read_held_out({name: tmp_path / f"{name}.jsonl"}, MathTask())
    assert len(read_held_out({"good": tmp_path / "good.jsonl"}, MathTask())["good"]) == 1


def test_stop_writes_the_report_and_raises_and_drop_goes_on_without(tmp_path: Path) -> None:
    training, path = [*OWN, *problems(GSM8K[0], prefix="leak")], tmp_path / "report.json"
    with pytest.raises(
        ContaminationError, match=r"1 of 4 training problems .*report.json.*'leak0' is gsm8k 'test0'"
    ):
        decontaminate(training, HELD_OUT, path=path)
    written = json.loads(path.read_text())
    assert (written["clean"], written["counts"]["pairs"]) == (False, 1)
    assert written["overlaps"][0]["training_id"] == "leak0"
    kept, report = decontaminate(training, HELD_OUT, Decontamination(on_overlap="drop"), path=path)
    assert kept == OWN
    assert report.counts() == {
        "pairs": 1,
        "training_problems": 1,
        "by_method.exact": 1,
        "by_method.ngram": 0,
        "by_method.minhash": 0,
        "by_set.gsm8k": 1,
    }


def test_a_training_set_that_is_nothing_but_evaluation_problems_is_an_error() -> None:
    with pytest.raises(DataError, match="all 5 training problems"):
        clean(HELD_OUT["gsm8k"], HELD_OUT)


def test_the_report_knows_what_was_compared() -> None:
    first = find_overlaps(OWN, HELD_OUT)
    changed = find_overlaps(OWN, {"gsm8k": problems(*GSM8K[:-1], GSM8K[-1] + " Now.", prefix="test")})
    assert first == find_overlaps(list(OWN), dict(HELD_OUT))
    assert first.training.sha256 == changed.training.sha256
    assert first.held_out["gsm8k"].sha256 != changed.held_out["gsm8k"].sha256


@pytest.mark.parametrize(
    "wrong",
    [
        {"coverage": 0.0},
        {"jaccard": 1.1},
        {"recall": 1.0},
        {"ngram": -1},
        {"numbers": "some"},
        {"on_overlap": "x"},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Decontamination(**wrong)  # type: ignore[arg-type]
