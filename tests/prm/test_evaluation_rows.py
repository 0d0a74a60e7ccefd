"""Reading records: each is looked at by itself, however long the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from prm.evaluation import rows
from prm.evaluation.rows import read_rows
from tasks.errors import DataError

RECORDS = ['{"text": "one"}', '{"text": "two",\n "more": "\\ud83d\\ude00"}', '{"text": "three"}']


@pytest.mark.parametrize("array", [False, True], ids=["lines", "array"])
def test_what_a_record_is_checked_against_is_its_own_text(
    array: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[str] = []
    monkeypatch.setattr(rows, "check_text", lambda content, written: checked.append(written))
    written = RECORDS if array else [record.replace("\n", "") for record in RECORDS]
    path = tmp_path / "records.json"
    path.write_text("[" + ",\n".join(written) + "]" if array else "\n\n".join(written))
    assert [row.line for row in read_rows(path)] == ([1, 2, 4] if array else [1, 3, 5])
    assert checked == written


@pytest.mark.parametrize("array", [False, True], ids=["lines", "array"])
def test_half_of_a_surrogate_pair_is_told_with_its_line(array: bool, tmp_path: Path) -> None:
    written = ['{"text": "one"}', '{"text": "\\ud83d"}']
    path = tmp_path / "records.json"
    path.write_text("[" + ",\n".join(written) + "]" if array else "\n".join(written))
    found = read_rows(path)
    assert next(found).line == 1
    with pytest.raises(DataError, match=r"records\.json:2: .*half of a surrogate pair"):
        next(found)
