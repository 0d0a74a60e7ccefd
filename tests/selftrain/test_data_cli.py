"""`search selftrain build` and `export`: from the trees of runs to training data and to other formats."""

from __future__ import annotations

import asyncio
import json
import math
from pathlib import Path
from typing import Any

import pytest

from selftrain.builders import builder_inputs, builder_names
from selftrain.builders.inputs import READERS, read_input
from selftrain.builders.session import RunData, build, read_runs
from selftrain.cli import COMMANDS
from selftrain.data.exports import preferences, read_preferences, read_step_labels, step_rows
from selftrain.data.files import read_trees
from tasks.errors import DataError, UsageError
from tasks.math import MathTask
from treesearch.cli import main
from treesearch.engines.scripted import CharTokenizer, ScriptedEngine
from treesearch.policies import embedded_folder, policy_config
from treesearch.policy import Policy

PROBLEMS = [
    {"id": "ants", "question": "Count the ants.", "answer": "0", "meta": {"solution": "step 0: 0\n#### 0"}},
    {"id": "bees", "question": "Count the bees.", "answer": "1"},
    {"id": "cats", "question": "Count the cats.", "answer": "2"},
]


@pytest.fixture(autouse=True)
def no_grading_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("treesearch.run.session.prewarm", lambda: None)


SAMPLES = ("--algorithm", "best-of-n", "--set", "n=12", "--value", "logprob", "--budget-tokens", "none")


def solve(
    folder: Path, problems: list[dict[str, Any]], *more: str, search: tuple[str, ...] = SAMPLES
) -> Path:
    """A run over problems with the scripted engine, whose answers are 0 to 3."""
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "problems.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in problems), encoding="utf-8")
    run = folder / "run"
    engine = ["--engine", "scripted", "--policy", "embedded"]
    assert main(["solve", "--data", str(data), *engine, *search, *more, "--run", str(run), "--json"]) == 0
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("treesearch.run.session.prewarm", lambda: None)
        return solve(tmp_path_factory.mktemp("world"), PROBLEMS)


@pytest.fixture(scope="module")
def data(run: Path) -> RunData:
    return asyncio.run(read_runs([run]))


def called(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command of the group."""
    capsys.readouterr()
    code = main(["selftrain", *map(str, arguments)])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def lines(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


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


def test_prompts_are_those_that_the_policy_was_asked_with(data: RunData) -> None:
    config, _ = policy_config(str(embedded_folder()), {})
    policy = Policy(engine=ScriptedEngine(), task=MathTask(), config=config)
    for one in data.searched:
        assert list(one.tree.segments[0]) == policy.prompt_ids(one.problem)
        assert one.problem.question in one.texts[0]
    assert data.delimiter == config.delimiter


@pytest.mark.parametrize("name", sorted(set(builder_names()) - {"step-q", "agent-q", "advantages"}))
def test_every_builder_works_by_its_name_on_the_trees_of_a_run(name: str, data: RunData) -> None:
    given: dict[str, Any] = {
        "earlier": data.searched,
        "uncertainty": lambda *_: 0.1,
        "demonstrations": {one.problem.id: "step 0: 7\n#### 7" for one in data.searched},
    }
    settings = {"rest-mcts": {"min_value": "none", "min_tokens": "5"}}.get(name, {})
    inputs = {key: value for key, value in given.items() if key in builder_inputs(name, optional=False)}
    built = build(data, {name: settings}, inputs)
    assert built.trees
    assert all(tree.meta == {"builders": [name]} for tree in built.trees)


@pytest.mark.parametrize("name", ["step-q", "agent-q", "advantages"])
def test_builders_of_backed_up_values_say_that_a_run_without_any_has_none(name: str, data: RunData) -> None:
    # best-of-n scores the ends of solutions alone, so that no sibling in the middle has a value.
    built = build(data, {name: {}})
    assert built.counts["dropped.no_value"] > 0


def test_builders_of_backed_up_values_make_pairs_of_a_run_that_scores_every_step(tmp_path: Path) -> None:
    run = solve(tmp_path, PROBLEMS, search=("--algorithm", "mcts", "--budget-tokens", "2k"))
    found = asyncio.run(read_runs([run]))
    for name in ("step-q", "agent-q", "advantages"):
        assert build(found, {name: {}}).trees, name


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


def test_a_row_of_an_input_that_is_missing_double_or_wrong_is_named(data: RunData, tmp_path: Path) -> None:
    doubts = lines(tmp_path / "d.jsonl", {"problem": "p", "chosen": "a", "rejected": "b", "uncertainty": 0.1})
    with pytest.raises(DataError, match=r"d\.jsonl: no uncertainty of .* of problem 'ants'; add a row"):
        build(data, {"upo": {}}, {"uncertainty": read_input("uncertainty", doubts)})
    critic = lines(tmp_path / "c.jsonl", {"problem": "p", "text": "a", "critique": None})
    with pytest.raises(DataError, match=r"c\.jsonl: no critique of .*; add a row"):
        build(data, {"critique-refine": {}}, {"critic": read_input("critic", critic)})
    twice = lines(tmp_path / "t.jsonl", {"problem": "p", "text": "a"}, {"problem": "p", "text": "b"})
    with pytest.raises(DataError, match=r"t\.jsonl:2: a second row of problem 'p'"):
        read_input("demonstrations", twice)
    with pytest.raises(DataError, match=r"t\.jsonl:1: no key 'reward'"):
        read_input("previous_rewards", twice)
    with pytest.raises(UsageError, match="unknown input that a file holds 'critics'; did you mean 'critic'"):
        read_input("critics", twice)
    with pytest.raises(UsageError, match="unknown input of sft and upo 'uncertaint'; did you mean"):
        build(data, {"sft": {}, "upo": {}}, {"uncertaint": None})
    assert set(READERS) <= {key for name in builder_names() for key in builder_inputs(name)}


def test_a_tokenizer_that_does_not_read_the_run_is_refused(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Other(CharTokenizer):
        def decode(self, token_ids: Any) -> str:
            return super().decode([token + 1 for token in token_ids])

    monkeypatch.setattr("selftrain.builders.session.tokenizer_of", lambda *_: Other())
    with pytest.raises(DataError, match="does not read the ids that the policy wrote"):
        asyncio.run(read_runs([run]))

    def unknown(*_: object) -> None:
        raise UsageError("not known")

    monkeypatch.setattr("selftrain.builders.session.tokenizer_of", unknown)
    with pytest.raises(UsageError, match="name its folder with --tokenizer"):
        asyncio.run(read_runs([run]))
    with pytest.raises(UsageError, match="at least one run"):
        asyncio.run(read_runs([]))


def test_runs_of_two_tasks_are_not_built_together(run: Path, tmp_path: Path) -> None:
    puzzle = {"id": "n", "numbers": [1, 2, 3], "target": 6}
    other = solve(tmp_path, [puzzle], "--task", "countdown")
    with pytest.raises(DataError, match=r"is of the task math, .* of countdown; build each by itself"):
        asyncio.run(read_runs([run, other]))


@pytest.fixture
def trees(data: RunData, tmp_path: Path) -> Path:
    """A file with traces, pairs and targets of two rules."""
    from selftrain.builders import together
    from selftrain.data.files import write_trees

    built = build(data, {"sft": {}, "tree-plv": {}, "targets": {}})
    hard = build(data, {"targets": {"rule": "hard"}})
    path = tmp_path / "trees.jsonl"
    write_trees(path, together([built, hard]).trees)
    return path


def test_one_format_goes_to_one_file_and_is_read_back(
    trees: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "pairs.jsonl"
    code, shown, told = called(capsys, "export", "--data", trees, "--format", "preference", "--out", out)
    rows = read_preferences(out)
    assert (code, shown) == (0, f"{len(rows)} rows in {out}\n")
    assert "3 training trees read" in told
    assert rows == preferences(read_trees(trees))


@pytest.mark.parametrize(
    ("bundle", "names"),
    [
        ("trl", {"preference.jsonl", "sft.jsonl", "stepwise.jsonl"}),
        ("jsonl", {"preference.jsonl", "sft.jsonl", "stepwise.jsonl", "step-rows.jsonl"}),
        ("datasets", {"preference", "sft", "stepwise"}),
    ],
)
def test_a_bundle_is_a_folder_of_all_that_the_trees_hold(
    trees: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], bundle: str, names: set[str]
) -> None:
    if bundle == "datasets":
        pytest.importorskip("datasets")
    out = tmp_path / "out"
    kinds = ["--kind", "sft", "--kind", "tree-plv", "--kind", "soft"]
    code, shown, _ = called(
        capsys, "export", "--data", trees, "--format", bundle, "--out", out, *kinds, "--json"
    )
    assert code == 0
    report = json.loads(shown)
    assert {Path(path).name for path in report["rows"]} == {path.name for path in out.iterdir()} == names
    ending = "" if bundle == "datasets" else ".jsonl"
    assert read_preferences(out / f"preference{ending}") == preferences(read_trees(trees))
    labels = [row.labels for row in read_step_labels(out / f"stepwise{ending}")]
    assert labels == [row.labels for row in step_rows(read_trees(trees), kind="soft")]


def test_a_bundle_leaves_out_what_the_trees_do_not_hold(
    trees: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    given = ["--data", trees, "--format", "trl", "--kind", "tree-plv", "--out", out]
    assert called(capsys, "export", *given)[0] == 0
    assert [path.name for path in out.iterdir()] == ["preference.jsonl"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "preferences"], "unknown export format 'preferences'; did you mean 'preference'"),
        (["--format", "stepwise"], "targets of hard, soft; say which kind"),
        (
            ["--format", "sft", "--kind", "sfd"],
            "unknown kind of record in the file 'sfd'; did you mean 'sft'",
        ),
        (["--format", "sft", "--kind", "soft"], "nothing to write as 'sft'; it holds "),
    ],
)
def test_an_export_that_cannot_be_is_one_line(
    trees: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    out = tmp_path / "x.jsonl"
    code, shown, told = called(capsys, "export", "--data", trees, "--out", out, *arguments)
    errors = [line for line in told.splitlines() if line.startswith("error")]
    assert (code, shown, len(errors), out.exists()) == (2, "", 1, False)
    assert message in errors[0]


def test_a_bundle_is_not_written_over_a_file(
    trees: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, told = called(capsys, "export", "--data", trees, "--format", "trl", "--out", trees)
    assert code == 2
    assert "is a file; 'trl' writes several, name a folder" in told


@pytest.mark.parametrize("name", ["build", "export"])
def test_the_commands_are_in_the_group_and_have_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert name in COMMANDS
    code, shown, _ = called(capsys, name, "--help")
    assert code == 0
    assert "--json" in shown
