"""`search selftrain build`: from the trees of runs to a file of training data."""

from __future__ import annotations

import asyncio
import json
import math
from pathlib import Path
from typing import Any

import pytest
from data_worlds import PROBLEMS, called, lines, solve

from selftrain.builders.session import RunData, build, read_runs
from selftrain.cli import COMMANDS
from selftrain.data.files import read_trees


@pytest.fixture(autouse=True)
def no_grading_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("treesearch.run.session.prewarm", lambda: None)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("treesearch.run.session.prewarm", lambda: None)
        return solve(tmp_path_factory.mktemp("world"), PROBLEMS)


@pytest.fixture(scope="module")
def data(run: Path) -> RunData:
    return asyncio.run(read_runs([run]))


def test_the_command_writes_what_the_builder_makes_of_the_run_and_reports_every_count(
    run: Path, data: RunData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "deep" / "trees.jsonl"
    more = ["--builder", "tree-plv", "--set", "alpha=0.5", "--out", out]
    code, shown, _ = called(capsys, "build", "--run", run, *more, "--json")
    assert code == 0
    built = build(data, {"tree-plv": {"alpha": 0.5}})
    assert tuple(read_trees(out)) == built.trees
    report = json.loads(shown)
    assert report["counts"] == built.counts
    assert (report["out"], report["searched"], report["trees"]) == (str(out), 3, len(built.trees))
    before = out.read_bytes()
    code, shown, told = called(capsys, "build", "--run", run, *more)
    assert (code, out.read_bytes()) == (0, before)
    assert shown.splitlines()[0].startswith(f"{len(built.trees)} training trees from 3 searched ones in ")
    assert f"kept      {built.counts['kept.tree-plv']} tree-plv" in shown
    assert f"{built.counts['dropped.tie']} tie" in shown
    assert f"written   {out}" in shown
    assert "3 trees read; building tree-plv" in told


def test_several_builders_share_a_tree_and_have_settings_of_their_own(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "trees.jsonl"
    named = ["--builder", "sft", "--builder", "tree-plv", "--set", "sft.max_traces=1"]
    named += ["--set", "tree-plv.max_pairs=2"]
    assert called(capsys, "build", "--run", run, *named, "--out", out)[0] == 0
    trees = read_trees(out)
    assert len({tree.problem for tree in trees}) == len(trees) == 3
    assert all(len(tree.traces) <= 1 and len(tree.pairs) <= 2 for tree in trees)
    assert any(tree.traces and tree.pairs for tree in trees)


def test_runs_of_one_task_are_built_together(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = solve(tmp_path / "other", PROBLEMS, "--seed", "7")
    found: dict[str, int] = {}
    for name, runs in {"one": [run], "both": [run, other]}.items():
        out = tmp_path / f"{name}.jsonl"
        named = [part for each in runs for part in ("--run", each)]
        assert called(capsys, "build", *named, "--builder", "rft", "--out", out)[0] == 0
        trees = read_trees(out)
        assert len({tree.problem for tree in trees}) == len(trees)
        found[name] = sum(len(tree.traces) for tree in trees)
    assert found["both"] > found["one"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--builder", "tree-plw"], "unknown builder 'tree-plw'; did you mean 'tree-plv'"),
        (["--builder", "sft", "--builder", "sft"], "--builder sft is given twice"),
        (["--builder", "sft", "--set", "max_trace=3"], "did you mean 'max_traces'"),
        (["--builder", "sft", "--set", "max_traces=0"], "max_traces must be at least 1"),
        (["--builder", "sft", "--builder", "rft", "--set", "max_traces=3"], "--set sft.max_traces=3"),
        (["--builder", "sft", "--set", "rft.max_traces=3"], "no --builder rft; there is sft"),
        (["--builder", "spin", "--set", "encode=x"], "spin takes it from a run or a file; see --input"),
        (["--builder", "temporal"], "needs earlier; give it by --input earlier=PATH"),
        (["--builder", "upo"], "needs uncertainty; give it by --input uncertainty=PATH"),
        (["--builder", "sft", "--input", "earlier=x"], "sft takes nothing from a file"),
        (["--builder", "temporal", "--input", "earliest=x"], "did you mean 'earlier'"),
        (["--builder", "temporal", "--input", "earlier"], "--input takes NAME=PATH"),
        (["--builder", "temporal", "--input", "earlier=nowhere"], "'nowhere' is not a run directory"),
    ],
)
def test_mistakes_are_one_line_exit_with_2_and_leave_the_file_as_it_was(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    out = tmp_path / "trees.jsonl"
    out.write_text("mine\n", encoding="utf-8")
    code, shown, told = called(capsys, "build", "--run", run, "--out", out, *arguments)
    errors = [line for line in told.splitlines() if line.startswith("error")]
    assert (code, shown, len(errors)) == (2, "", 1)
    assert message in errors[0]
    assert out.read_text(encoding="utf-8") == "mine\n"


def test_a_run_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, told = called(capsys, "build", "--run", tmp_path / "no", "--builder", "sft", "--out", "x.jsonl")
    assert code == 2
    assert "is not a run directory" in told


def test_nothing_kept_is_an_error_with_the_reasons_and_roll_outs_are_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Two steps, from each a roll-out to the end: answers are found, but no step of the tree ends the text.
    search = ("--algorithm", "mcts", "--value", "rollout", "--budget-nodes", "2")
    run = solve(tmp_path, PROBLEMS[:1], search=search)
    out = tmp_path / "trees.jsonl"
    code, shown, told = called(capsys, "build", "--run", run, "--builder", "sft", "--out", out)
    assert (code, shown, out.exists()) == (2, "", False)
    assert f"error: nothing was kept of 1 trees (dropped: 1 no_solution); {out} is as it was" in told
    assert "roll-outs are no training texts" in told


def test_a_problem_without_a_gold_is_built_from_by_what_needs_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unreadable = {"id": "x", "question": "How many?", "answer": "1" * 100_000}
    run = solve(tmp_path / "open", [unreadable, PROBLEMS[1]])
    out = tmp_path / "trees.jsonl"
    code, shown, _ = called(
        capsys, "build", "--run", run, "--builder", "self-rewarding", "--out", out, "--json"
    )
    assert (code, json.loads(shown)["counts"]["kept.self-rewarding"]) == (0, 2)
    code, shown, _ = called(capsys, "build", "--run", run, "--builder", "rft", "--out", out, "--json")
    assert (code, json.loads(shown)["counts"]["dropped.no_gold"]) == (0, 1)


def test_ctrl_c_leaves_the_file_as_it_was(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from treesearch.cli.interrupt import Interrupted

    def interrupted(job: Any) -> Any:
        job.close()
        raise Interrupted

    monkeypatch.setattr("treesearch.cli.interrupt.run_interruptible", interrupted)
    out = tmp_path / "trees.jsonl"
    code, _, told = called(capsys, "build", "--run", run, "--builder", "sft", "--out", out)
    assert code == 130
    assert f"interrupted; {out} is as it was" in told
    assert not out.exists()


def test_demonstrations_come_from_the_problems_or_from_a_file(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "trees.jsonl"
    code, shown, _ = called(capsys, "build", "--run", run, "--builder", "spin", "--out", out, "--json")
    assert (code, [tree.problem for tree in read_trees(out)]) == (0, ["ants"])
    assert json.loads(shown)["counts"]["dropped.no_demonstration"] == 2
    file = lines(tmp_path / "shown.jsonl", {"problem": "bees", "text": "step 0: 1\n#### 1"})
    given = ["--input", f"demonstrations={file}"]
    assert called(capsys, "build", "--run", run, "--builder", "spin", "--out", out, *given)[0] == 0
    (tree,) = read_trees(out)
    assert tree.problem == "bees"
    assert tree.texts[tree.pairs[0].chosen] == "step 0: 1\n#### 1"


def test_uncertainties_rewards_and_critiques_are_read_from_files(
    run: Path, data: RunData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "trees.jsonl"
    ends = [
        (one.problem.id, "".join(one.texts[step] for step in one.tree.path(node)[1:]))
        for one in data.searched
        for node in one.solutions
    ]
    pairs = {(problem, text, other) for problem, text in ends for name, other in ends if name == problem}
    doubts = lines(
        tmp_path / "doubts.jsonl",
        *(
            {"problem": p, "chosen": a, "rejected": b, "uncertainty": math.log(2)}
            for p, a, b in sorted(pairs)
        ),
    )
    given = ["--builder", "upo", "--input", f"uncertainty={doubts}"]
    assert called(capsys, "build", "--run", run, *given, "--out", out)[0] == 0
    assert [tree.pairs[0].smoothing for tree in read_trees(out)] == pytest.approx([0.5] * 3)

    rewards = lines(
        tmp_path / "rewards.jsonl",
        *({"problem": p, "text": text, "reward": -float(len(text))} for p, text in sorted(set(ends))),
    )
    given = ["--builder", "cream", "--input", f"previous_rewards={rewards}"]
    assert called(capsys, "build", "--run", run, *given, "--out", out)[0] == 0
    previous = {p: {text: -float(len(text)) for name, text in ends if name == p} for p, _ in ends}
    assert tuple(read_trees(out)) == build(data, {"cream": {}}, {"previous_rewards": previous}).trees

    critiques = lines(
        tmp_path / "critiques.jsonl",
        *({"problem": p, "text": text, "critique": "No, count again."} for p, text in sorted(set(ends))),
    )
    given = ["--builder", "critique-refine", "--input", f"critic={critiques}"]
    assert called(capsys, "build", "--run", run, *given, "--out", out)[0] == 0
    assert any("No, count again." in text for tree in read_trees(out) for text in tree.texts)


def test_earlier_trees_are_those_of_another_run(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    earlier = solve(tmp_path / "earlier", PROBLEMS, "--seed", "5")
    out = tmp_path / "trees.jsonl"
    given = ["--builder", "temporal", "--input", f"earlier={earlier}"]
    assert called(capsys, "build", "--run", run, *given, "--out", out)[0] == 0
    assert all(len(tree.pairs) == 1 for tree in read_trees(out))


@pytest.mark.parametrize("name", ["build", "export"])
def test_the_commands_are_in_the_group_and_have_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert name in COMMANDS
    code, shown, _ = called(capsys, name, "--help")
    assert code == 0
    assert "--json" in shown
