"""The JSON object of a command is JSON whatever numbers are in it."""

from __future__ import annotations

import json
import math

import pytest

from treesearch.cli.terminal import say_json


def test_numbers_that_are_not_finite_are_null(capsys: pytest.CaptureFixture[str]) -> None:
    say_json({"a": [1, math.inf, {"b": -math.inf}], "c": (math.nan, 0.5), "d": "nan", "e": None, "f": True})

    def refuse(word: str) -> None:
        raise AssertionError(word)

    found = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert found == {"a": [1, None, {"b": None}], "c": [None, 0.5], "d": "nan", "e": None, "f": True}
