"""A model's card: its settings and its value apply where the caller gave none, and nowhere else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import DataError, UsageError
from treesearch.policies import embedded_folder, policy_config, read_card
from treesearch.run.config import resolve
from treesearch.run.plan import prepare
from treesearch.run.recommended import recommended

RANKED = ("best-of-n", "beam", "dvts", "best-first")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "treesearch.json").write_text(
        json.dumps({"step_tokens": 7, "note": "a toy", "values": {"countdown": "verifier"}})
    )
    return tmp_path


def value_of(**flags: Any) -> tuple[str | None, str]:
    found = recommended(resolve(flags))
    return found.config.value, found.origin["value"]


@pytest.mark.parametrize("algorithm", RANKED)
def test_a_card_names_the_value_where_log_probability_would_rank(model: Path, algorithm: str) -> None:
    assert value_of(policy=str(model), task="countdown", algorithm=algorithm) == ("verifier", "card")
    plan = prepare(recommended(resolve({"policy": str(model), "task": "countdown", "algorithm": algorithm})))
    assert plan.value.name == "verifier"
    assert plan.note == "a toy"


@pytest.mark.parametrize(
    ("flags", "value", "origin"),
    [
        ({"task": "math", "algorithm": "best-of-n"}, None, "default"),
        ({"algorithm": "mcts"}, None, "default"),
        ({"algorithm": "self-consistency"}, None, "default"),
        ({"algorithm": "beam", "value": "logprob"}, "logprob", "flag"),
        ({"algorithm": "beam", "settings": {"value.n": "3"}}, None, "default"),
        ({"algorithm": "beam", "engine": "scripted"}, None, "default"),
        ({"algorithm": "beam", "policy": "http://localhost:8000/v1"}, None, "default"),
        ({"algorithm": "beam", "policy": "organisation/model"}, None, "default"),
    ],
)
def test_it_is_silent_elsewhere(model: Path, flags: dict[str, Any], value: str | None, origin: str) -> None:
    assert value_of(**{"policy": str(model), "task": "countdown"} | flags) == (value, origin)


def test_settings_of_the_card_yield_to_those_given(model: Path) -> None:
    assert policy_config(str(model), {})[0].step_tokens == 7
    assert policy_config(str(model), {"step_tokens": "9"})[0].step_tokens == 9


@pytest.mark.parametrize(
    ("card", "error", "message"),
    [
        ("[]", DataError, "must hold a JSON object"),
        ("{", DataError, "not JSON"),
        ('{"values": "verifier"}', DataError, "'values' must be an object"),
        ('{"values": {"countdown": 3}}', DataError, "'values' must be an object"),
        ('{"values": {"countdown": "verifyer"}}', UsageError, "verifier"),
        ('{"step_tokes": 3}', UsageError, "step_tokens"),
    ],
)
def test_a_wrong_card_is_refused(model: Path, card: str, error: type[Exception], message: str) -> None:
    (model / "treesearch.json").write_text(card)
    with pytest.raises(error, match=message):
        prepare(recommended(resolve({"policy": str(model), "task": "countdown", "algorithm": "beam"})))


def test_the_model_that_ships_names_its_reward_model_for_countdown_alone() -> None:
    assert read_card(str(embedded_folder()))["values"] == {"countdown": "embedded"}
    assert value_of(task="countdown", algorithm="best-of-n") == ("embedded", "card")
