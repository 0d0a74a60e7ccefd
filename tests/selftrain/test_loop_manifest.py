"""Manifests, hashes, the event log and the layout of a run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from selftrain.loop.events import EventLog, read_events, seconds_before
from selftrain.loop.hashing import data_hash, model_hash
from selftrain.loop.layout import parse_stage
from selftrain.loop.manifest import (
    Costs,
    Identity,
    Manifest,
    file_output,
    model_output,
    read_manifest,
    write_manifest,
)
from tasks.errors import DataError, UsageError
from treesearch.lock import locked


def made(folder: Path) -> Manifest:
    (folder / "data.txt").write_text("content")
    identity = Identity(stage="build", iteration=1, inputs={"a": "1"}, settings={"x": {"y": 1}}, seed=3)
    return Manifest(
        identity=identity,
        outputs={"data": file_output(folder, "data.txt")},
        results={"kept": 4},
        costs=Costs(generated_tokens=5, seconds=1.5),
        versions={"python": "3"},
    )


def test_a_manifest_comes_back_and_says_when_nothing_differs(tmp_path: Path) -> None:
    manifest = made(tmp_path)
    assert read_manifest(tmp_path) is None
    write_manifest(tmp_path, manifest)
    found = read_manifest(tmp_path)
    assert found == manifest
    assert found.differences(manifest.identity) == []
    assert found.damaged(tmp_path) == []


def test_costs_seconds_and_versions_are_no_part_of_the_hash_and_all_else_is(tmp_path: Path) -> None:
    manifest = made(tmp_path)
    same = replace(manifest, costs=Costs(seconds=99), versions={"python": "4"})
    assert same.hash == manifest.hash
    identity = manifest.identity
    others = [
        replace(manifest, results={"kept": 5}),
        replace(manifest, outputs={}),
        replace(manifest, identity=replace(identity, seed=4)),
        replace(manifest, identity=replace(identity, inputs={"a": "2"})),
        replace(manifest, identity=replace(identity, settings={})),
        replace(manifest, identity=replace(identity, stage="train")),
        replace(manifest, identity=replace(identity, iteration=2)),
    ]
    assert len({manifest.hash, *(each.hash for each in others)}) == len(others) + 1


def test_differences_name_inputs_settings_and_seed(tmp_path: Path) -> None:
    manifest = made(tmp_path)
    now = replace(manifest.identity, inputs={"b": "1"}, settings={"x": {"y": 2}}, seed=4)
    assert manifest.differences(now) == [
        "input a was 1, is None now",
        "input b was None, is 1 now",
        "setting x y was 1, is 2 now",
        "seed was 3, is 4 now",
    ]


def test_outputs_that_are_gone_or_changed_are_named(tmp_path: Path) -> None:
    manifest = made(tmp_path)
    (tmp_path / "data.txt").write_text("other")
    assert manifest.damaged(tmp_path) == [f"{tmp_path / 'data.txt'} is not what the stage wrote"]
    (tmp_path / "data.txt").unlink()
    assert manifest.damaged(tmp_path) == [f"{tmp_path / 'data.txt'} is gone"]


@pytest.mark.parametrize(
    ("key", "value"), [("seed", 9), ("results", {}), ("hash", "0"), ("outputs", {"data": {"hash": "1"}})]
)
def test_a_manifest_that_was_edited_or_torn_is_refused(tmp_path: Path, key: str, value: object) -> None:
    write_manifest(tmp_path, made(tmp_path))
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(DataError, match=r"manifest\.json"):
        read_manifest(tmp_path)
    path.write_text("{")
    with pytest.raises(DataError, match="damaged"):
        read_manifest(tmp_path)


def test_a_model_is_known_by_weights_and_tokenizer_wherever_it_is(tmp_path: Path) -> None:
    for name in ("one", "two"):
        folder = tmp_path / name / "model"
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"weights")
        (folder / "config.json").write_text("{}")
    (tmp_path / "two" / "model" / "treesearch.json").write_text("{}")
    one, two = model_output(tmp_path / "one", "model"), model_output(tmp_path / "two", "model")
    assert one == two
    assert model_hash(str(tmp_path / "one" / "model")) == one.hash
    (tmp_path / "two" / "model" / "model.safetensors").write_bytes(b"Weights")
    assert model_output(tmp_path / "two", "model").hash != one.hash
    assert model_hash("org/model") == "name:org/model"
    with pytest.raises(DataError, match="no model"):
        model_output(tmp_path, "one")


def test_data_hashes_do_not_depend_on_the_order_of_keys() -> None:
    assert data_hash({"a": 1, "b": [1, 2]}) == data_hash({"b": [1, 2], "a": 1})
    assert data_hash({"a": 1}) != data_hash({"a": 2})


def test_costs_add_up() -> None:
    one = Costs(generated_tokens=1, prompt_tokens=2, value_tokens=3, trained_tokens=4, calls=5, seconds=0.5)
    assert one + one == Costs(
        generated_tokens=2, prompt_tokens=4, value_tokens=6, trained_tokens=8, calls=10, seconds=1.0
    )


def test_a_torn_line_of_the_event_log_is_cut_off_before_the_next_append(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    log("start", stage="train", iteration=1)
    with log.path.open("a") as file:
        file.write('{"event": "fini')
    assert [event["event"] for event in read_events(tmp_path)] == ["start"]
    EventLog(tmp_path)("finish", stage="train", iteration=1)
    assert [event["event"] for event in read_events(tmp_path)] == ["start", "finish"]


def test_the_seconds_of_interrupted_parts_are_those_since_the_stage_was_last_done(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    log("interrupt", stage="train", iteration=1, seconds=100)
    log("finish", stage="train", iteration=1)
    log("interrupt", stage="train", iteration=1, seconds=2)
    log("fail", stage="train", iteration=1, seconds=3)
    log("interrupt", stage="train", iteration=2, seconds=50)
    log("interrupt", stage="search", iteration=1, seconds=50)
    assert seconds_before(tmp_path, "train", 1) == 5
    assert seconds_before(tmp_path, "train", 3) == 0


def test_a_stage_to_redo_is_of_the_newest_iteration_unless_one_is_named(tmp_path: Path) -> None:
    for name in ("000", "001", "002"):
        (tmp_path / "iterations" / name).mkdir(parents=True)
    assert parse_stage("train", tmp_path) == (2, "train")
    assert parse_stage("1/gate", tmp_path) == (1, "gate")
    assert parse_stage("0/evaluate", tmp_path) == (0, "evaluate")
    for text, why in (("trian", "did you mean 'train'"), ("9/train", "not begun"), ("x/train", "ITERATION")):
        with pytest.raises(UsageError, match=why):
            parse_stage(text, tmp_path)


def test_only_one_process_works_on_a_run(tmp_path: Path) -> None:
    with (
        locked(tmp_path / "run"),
        pytest.raises(UsageError, match="another process"),
        locked(tmp_path / "run"),
    ):
        pass
    with locked(tmp_path / "run"):
        pass
