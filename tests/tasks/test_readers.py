"""`tasks.readers`: each format by content, and every broken line named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.errors import DataError
from tasks.readers import read_problems

FIXTURES = Path(__file__).parent.parent / "data" / "problems"


def write(folder: Path, *lines: str, name: str = "data.jsonl") -> Path:
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "form", "count", "gold"),
    [
        ("gsm8k.jsonl", "gsm8k", 5, "18"),
        ("math500.jsonl", "math500", 21, r"\left( 3, \frac{\pi}{2} \right)"),
        ("aime.jsonl", "aime", 3, None),
        ("game24.csv", "game24", 3, None),
    ],
)
def test_a_real_file_is_recognised_and_read_whole(name: str, form: str, count: int, gold: str | None) -> None:
    report = read_problems(FIXTURES / name)
    problems = report.require_clean()
    assert (report.format, len(problems)) == (form, count)
    assert len({problem.id for problem in problems}) == count
    assert gold is None or problems[0].gold == gold


def test_recognition_ignores_the_file_name(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes((FIXTURES / "gsm8k.jsonl").read_bytes())
    assert read_problems(path).format == "gsm8k"


def test_gsm8k_golds_lose_their_commas_and_keep_their_solution() -> None:
    problem = read_problems(FIXTURES / "gsm8k.jsonl").require_clean()[-1]
    assert problem.gold is not None
    assert problem.gold.isdigit()
    assert "<<" in problem.meta["solution"]
    assert "####" not in problem.meta["solution"]


def test_math500_keeps_its_own_id_and_what_the_file_says() -> None:
    problem = read_problems(FIXTURES / "math500.jsonl").require_clean()[0]
    assert problem.id == "test/precalculus/807.json"
    assert (problem.meta["level"], problem.meta["subject"]) == ("Level 2", "Precalculus")


def test_an_aime_gold_keeps_its_leading_zero() -> None:
    golds = [problem.gold for problem in read_problems(FIXTURES / "aime.jsonl").require_clean()]
    assert all(gold is not None and gold.isdigit() for gold in golds)


def test_game_of_24_becomes_countdown_with_target_24() -> None:
    first = read_problems(FIXTURES / "game24.csv").require_clean()[0]
    assert (first.task, first.gold) == ("countdown", None)
    assert first.meta == {"numbers": [1, 1, 4, 6], "target": 24}
    assert "24" in first.question


def test_countdown_lines_keep_numbers_and_target(tmp_path: Path) -> None:
    path = write(tmp_path, '{"id": 7, "numbers": [3, 5, 25], "target": 40}')
    problem = read_problems(path).require_clean()[0]
    assert (problem.id, problem.task) == ("7", "countdown")
    assert problem.meta == {"numbers": [3, 5, 25], "target": 40}


def test_a_numeric_answer_becomes_text(tmp_path: Path) -> None:
    path = write(tmp_path, '{"question": "2+2?", "answer": 4}', '{"question": "1/4?", "answer": 0.25}')
    assert [problem.gold for problem in read_problems(path).require_clean()] == ["4", "0.25"]


def test_a_record_without_id_is_named_after_its_file_and_line(tmp_path: Path) -> None:
    path = write(tmp_path, "", '{"question": "q", "answer": "1"}', name="quiz.jsonl")
    assert read_problems(path).require_clean()[0].id == "quiz-2"


def test_a_byte_order_mark_and_blank_lines_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "bom.jsonl"
    path.write_bytes(
        b'\xef\xbb\xbf{"question": "q", "answer": "1"}\n\n   \n{"question": "r", "answer": "2"}\n'
    )
    assert len(read_problems(path).require_clean()) == 2


GOOD = '{"question": "q", "answer": "1"}'


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{not json", "not JSON"),
        ("[1, 2]", "expected a JSON object, found list"),
        ('{"question": "q"}', "missing 'answer'"),
        ('{"question": "q", "answer": null}', "missing 'answer'"),
        ('{"question": "  ", "answer": "1"}', "'question' is empty"),
        ('{"question": 5, "answer": "1"}', "'question' must be text, found int"),
        ('{"question": "q", "answer": true}', "'answer' must be text, found bool"),
        ('{"question": "q", "answer": ["1"]}', "'answer' must be text, found list"),
        ('{"question": "q", "answer": "1", "id": ""}', "the id must be text"),
        ('{"question": "q", "answer": "1", "id": [1]}', "the id must be text"),
        ('{"question": "q", "answer": "1", "id": "data-1"}', "'data-1' occurs twice"),
        ('{"question": "q", "answer": "1", "meta": 3}', "'meta' must be an object"),
        ('{"question": "q", "answer": ' + "9" * 5000 + "}", "not usable JSON"),
        ("[" * 100_000, "not usable JSON"),
    ],
)
def test_a_broken_line_is_reported_with_its_number_and_reason(tmp_path: Path, line: str, reason: str) -> None:
    report = read_problems(write(tmp_path, GOOD, "", line, GOOD))
    assert [problem.id for problem in report.problems] == ["data-1", "data-4"]
    assert [broken.line for broken in report.broken] == [3]
    assert reason in report.broken[0].reason


def test_a_line_that_is_not_utf8_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "latin.jsonl"
    path.write_bytes(GOOD.encode() + b'\n{"question": "caf\xe9", "answer": "1"}\n')
    assert "not UTF-8" in read_problems(path).broken[0].reason


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"numbers": "1 2", "target": 3}', "'numbers' must be a list of integers"),
        ('{"numbers": [1, true], "target": 3}', "'numbers' must be a list of integers"),
        ('{"numbers": [1, 2], "target": "3"}', "'target' must be an integer"),
        ('{"numbers": [1, 2]}', "missing 'target'"),
    ],
)
def test_a_broken_countdown_line_is_reported(tmp_path: Path, line: str, reason: str) -> None:
    report = read_problems(write(tmp_path, '{"numbers": [1, 2], "target": 3}', line))
    assert (len(report.problems), report.broken[0].line) == (1, 2)
    assert reason in report.broken[0].reason


def test_a_record_longer_than_a_cell_of_a_csv_file_may_be_is_read(tmp_path: Path) -> None:
    long = json.dumps({"question": "x" * 200_000, "answer": 1})
    assert len(read_problems(write(tmp_path, long, GOOD)).require_clean()) == 2
    table = read_problems(write(tmp_path, "Puzzles", "1 1 4 6", "1 " * 100_000, name="long.csv"))
    assert [broken.line for broken in table.broken] == [3]


def test_the_column_of_a_mistake_is_that_of_the_line(tmp_path: Path) -> None:
    report = read_problems(write(tmp_path, GOOD, '{"question": "q", "answer": "1"', GOOD))
    assert report.broken[0].reason == "not JSON: Expecting ',' delimiter at column 32"


def test_a_broken_puzzle_is_reported_with_its_line(tmp_path: Path) -> None:
    report = read_problems(write(tmp_path, "Rank,Puzzles", "1,1 1 4 6", "2,1 one 4 6", "3", name="p.csv"))
    assert len(report.problems) == 1
    assert [broken.line for broken in report.broken] == [3, 4]


def test_a_gsm8k_record_without_its_mark_is_broken(tmp_path: Path) -> None:
    lines = ['{"question": "q", "answer": "so #### 5"}', '{"question": "q", "answer": "so 5"}']
    report = read_problems(write(tmp_path, *lines))
    assert (report.format, report.broken[0].line) == ("gsm8k", 2)


def test_require_clean_names_the_first_five_and_counts_the_rest(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD, *["{"] * 7)
    with pytest.raises(DataError) as caught:
        read_problems(path).require_clean()
    message = str(caught.value)
    assert all(f"{path}:{line}: not JSON" in message for line in range(2, 7))
    assert f"{path}:7:" not in message
    assert "and 2 more" in message


def test_a_missing_file_is_a_data_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.jsonl"):
        read_problems(tmp_path / "absent.jsonl")


def test_an_unknown_format_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gsm8k.*countdown.*game24"):
        read_problems(write(tmp_path, json.dumps({"prompt": "q", "label": "1"})))


@pytest.mark.parametrize("content", ["", "\n\n", "just text\n"])
def test_a_file_without_any_record_is_a_data_error(tmp_path: Path, content: str) -> None:
    path = tmp_path / "empty.jsonl"
    path.write_text(content)
    with pytest.raises(DataError, match="no record in a known format"):
        read_problems(path)


def test_the_limit_takes_the_first_problems_and_reads_no_further(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD, GOOD, "{broken")
    assert len(read_problems(path, limit=2).require_clean()) == 2


def test_half_of_a_surrogate_pair_is_a_broken_line_and_a_whole_one_is_text(tmp_path: Path) -> None:
    path = tmp_path / "some.jsonl"
    path.write_text(r'{"question": "a \ud800 b", "answer": "1"}' + "\n")
    with pytest.raises(DataError, match=r"some.jsonl:1: .*half of a surrogate pair"):
        read_problems(path).require_clean()
    path.write_text(r'{"question": "a \ud83d\ude00 b", "answer": "1"}' + "\n")
    assert read_problems(path).require_clean()[0].question == "a \U0001f600 b"
