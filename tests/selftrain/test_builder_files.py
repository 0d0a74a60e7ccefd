"""Training trees on disk: read back equal, replaced at once, and precise about what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from builder_worlds import Step, forests, opened, searched
from hypothesis import HealthCheck, given, settings

from selftrain.builders import builder_names, together
from selftrain.data.files import read_trees, write_trees
from selftrain.data.record import Advantages, Pair, Target, Trace, TrainingTree
from selftrain.data.searched import Searched
from selftrain.packing import TokenTree
from tasks.errors import DataError

FILES = settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])


def full() -> TrainingTree:
    """Every kind of record with nothing at its default."""
    return TrainingTree(
        problem="p17",
        tree=TokenTree(
            segments=((5, 6), (7,), (8, 9), (), (1,)),
            parents=(-1, 0, 0, 1, 2),
            logprobs=(None, (-0.125,), (-1e-6, -2.5), (), None),
        ),
        texts=("Frage: é\n", "a\u2028", "b\n", "", "\n\n"),
        traces=(Trace(node=4, weight=2.5, right=False, untrained=(2,), kind="x"), Trace(node=3)),
        pairs=(
            Pair(above=0, chosen=1, rejected=2),
            Pair(
                above=0,
                chosen=3,
                rejected=4,
                q_chosen=0.1 + 0.2,
                q_rejected=-1.0,
                visits_chosen=3,
                visits_rejected=4,
                weight=0.5,
                offset=0.25,
                smoothing=0.125,
                kind="k",
            ),
        ),
        advantages=(Advantages(state=0, nodes=(1, 2), advantages=(1 / 3, -1 / 3)),),
        targets=(Target(node=1, value=2 / 3, completions=3, right=2, kind="soft"),),
        meta={"builders": ["x"], "iteration": 3},
    )


def test_everything_is_read_back_equal(tmp_path: Path) -> None:
    path = tmp_path / "trees.jsonl"
    write_trees(path, [full(), full()])
    assert read_trees(path) == [full(), full()]
    assert path.read_text(encoding="utf-8").count("\n") == 2


@FILES
@given(forest=forests())
def test_what_builders_make_is_read_back_equal_and_written_in_the_same_bytes(
    forest: list[Searched], tmp_path: Path
) -> None:
    built = together(opened(name)(forest) for name in builder_names())
    path = tmp_path / "trees.jsonl"
    write_trees(path, built.trees)
    before = path.read_bytes()
    assert tuple(read_trees(path)) == built.trees
    write_trees(path, read_trees(path))
    assert path.read_bytes() == before


def test_no_trees_are_a_file_too(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "trees.jsonl"
    write_trees(path, [])
    assert read_trees(path) == []


def test_a_failure_while_writing_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "trees.jsonl"
    write_trees(path, [full()])

    def broken() -> object:
        yield full()
        raise RuntimeError("the builder failed")

    with pytest.raises(RuntimeError, match="the builder failed"):
        write_trees(path, broken())  # type: ignore[arg-type]
    assert read_trees(path) == [full()]
    assert [entry.name for entry in tmp_path.iterdir()] == ["trees.jsonl"]


def test_defaults_and_empty_lists_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "trees.jsonl"
    made = opened("sft")([searched(Step(text="a", correct=True), stored=False)]).trees
    write_trees(path, made)
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["traces"] == [{"node": 1, "right": True}]
    assert set(content) == {"problem", "segments", "parents", "texts", "traces", "meta"}


def line(**changes: object) -> str:
    content = {"problem": "p", "segments": [[1], [2]], "parents": [-1, 0], "texts": ["q", "a"]} | changes
    return json.dumps({key: value for key, value in content.items() if value is not None}) + "\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{\n", "not JSON"),
        ("[1]\n", "expected a JSON object"),
        (line(texts=None), "no key 'texts'"),
        (line(segmens=[]), "unknown key 'segmens'; did you mean 'segments'"),
        (line(segments=[[1], ["x"]]), "'segments' must be a list of whole numbers"),
        (line(segments=[[1], [True]]), "'segments' must be a list of whole numbers"),
        (line(parents=[-1, 5]), "node 1 has parent 5"),
        (line(texts=["q"]), "2 nodes but 1 texts"),
        (line(logprobs=[None, [0.5, 0.5]]), "1 tokens but 2 stored log-probs"),
        (line(logprobs=[None, ["x"]]), "'logprobs' must be a list of finite numbers"),
        (line(traces=[{"node": 7}]), "steps 1 to 1, not 7"),
        (line(traces=[{}]), "no key 'node'"),
        (line(traces=[{"node": 1, "rigth": True}]), "unknown key of traces 'rigth'; did you mean 'right'"),
        (line(traces=[{"node": 1, "right": 1}]), r"'traces\.right' must be true, false or null, got 1"),
        (line(traces=[{"node": 1.5}]), r"'traces\.node' must be a whole number, got 1\.5"),
        (
            line(pairs=[{"above": 0, "chosen": 1, "rejected": 1, "weight": "x"}]),
            r"'pairs\.weight' must be a finite",
        ),
        (line(advantages=[{"state": 0, "nodes": [1], "advantages": [1.0]}]), "sum to zero"),
        (line(targets=["x"]), "'targets' must be an object"),
        (line(meta=[1]), "'meta' must be an object"),
    ],
)
def test_a_line_that_is_no_tree_is_named_with_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "trees.jsonl"
    path.write_text(line() + text, encoding="utf-8")
    with pytest.raises(DataError, match=message) as caught:
        read_trees(path)
    assert f"{path}:2" in str(caught.value)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*nowhere\.jsonl"):
        read_trees(tmp_path / "nowhere.jsonl")


def test_numbers_that_are_none_are_never_written(tmp_path: Path) -> None:
    from dataclasses import replace

    bad = replace(full(), targets=(Target(node=1, value=float("nan")),))
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_trees(tmp_path / "trees.jsonl", [bad])
