"""Kill -9 at the durable writes of every stage and between them: a resumed run is the uninterrupted one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(600)
STAGES = {
    *("0/decontaminate", "0/evaluate", "1/tune"),
    *("1/search", "1/grade", "1/score", "1/build", "1/train"),
    *("1/search-2", "1/grade-2", "1/build-2", "1/train-2", "1/prm"),
    *("1/evaluate", "1/gate", "1/monitors"),
}


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    script = Path(__file__).with_name("loop_kills.py")
    folder = tmp_path_factory.mktemp("kills")
    done = subprocess.run(
        [sys.executable, str(script), str(folder / "world")],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        cwd=script.parents[2],
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_every_stage_was_killed_at_its_first_last_and_a_middle_write(outcome: dict[str, Any]) -> None:
    assert set(outcome["hashes"]) == {*STAGES, "1/iteration"}
    assert {kill["place"] for kill in outcome["kills"]} == set(outcome["writes"])
    assert set(outcome["writes"]) > STAGES
    assert all(kill["killed"] for kill in outcome["kills"])
    assert min(outcome["writes"][stage] for stage in STAGES) >= 5


def test_a_killed_run_that_is_resumed_has_the_hashes_of_one_that_was_not(outcome: dict[str, Any]) -> None:
    for kill in outcome["kills"]:
        where = (kill["place"], kill["number"])
        assert kill["resumed"], where
        assert kill["hashes"] == outcome["hashes"], where


def test_no_finished_stage_is_run_again_and_only_the_killed_one_begins_twice(outcome: dict[str, Any]) -> None:
    for kill in outcome["kills"]:
        where = (kill["place"], kill["number"])
        begun_twice = {stage for stage, count in kill["started"].items() if count > 1}
        assert begun_twice <= {kill["place"]}, where
        assert max(kill["started"].values()) <= 2, where
        assert max(kill["finished"].values()) == 1, where
        # a kill between the manifest and its line in the log leaves a finished stage without the line
        assert STAGES - set(kill["finished"]) <= {kill["place"]}, where
