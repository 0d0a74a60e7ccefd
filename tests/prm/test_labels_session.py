"""A whole labelling: from problems, from a run's trees, from the command line; refusing what does not fit."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from evaluation_worlds import TableScorer
from labels_worlds import PROBLEM, ToyTask, record, step, toy_policy
from prm_models import byte_level, sentence_pieces
from transformers import AutoTokenizer

from prm.cli.label import label
from prm.conventions import find
from prm.labels.rows import write_rows
from prm.labels.session import LabelConfig, prepare_labels, run_labels
from prm.labels.store import read_records, write_records
from prm.labels.trees import parse_steps, readable_chains, run_trees, tree_chains, tree_records
from prm.scoring.base import StepScores
from prm.training.rows import read_pairs, read_rows
from tasks.errors import DataError, UsageError
from treesearch.cli.exit_codes import ExitCode
from treesearch.engines.hf_tokenizer import HFTokenizer
from treesearch.events import Added, Backed, BackupRule, Rolled, Scored
from treesearch.formats import delimiter
from treesearch.policies import embedded_folder
from treesearch.run.config import resolve
from treesearch.run.session import run_problems
from treesearch.tree import Tree

SCRIPTED: dict[str, Any] = {
    "policy": "scripted",
    "engine": "scripted",
    "settings": {"policy.solution_tokens": 110},
}


@pytest.fixture(autouse=True)
def no_grading_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain numbers are graded in process; the worker need not start."""
    monkeypatch.setattr("treesearch.run.session.prewarm", lambda: None)


def problems(tmp_path: Path, n: int = 3) -> Path:
    """Problems for the scripted engine's walks, which end with an answer from 0 to 3."""
    file = tmp_path / "problems.jsonl"
    file.write_text("".join(json.dumps({"question": f"Walk {i}?", "answer": "2"}) + "\n" for i in range(n)))
    return file


def run_of(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    config = {"data": str(problems(tmp_path)), "algorithm": "mcts", "value": "rollout", "budget_tokens": 900}
    asyncio.run(run_problems(resolve(SCRIPTED | config), folder))
    return folder


def labelled(config: LabelConfig) -> dict[str, Any]:
    return asyncio.run(run_labels(prepare_labels(config)))


def test_problems_are_labelled_into_records_rows_and_pairs(tmp_path: Path) -> None:
    config = LabelConfig(
        out=str(tmp_path / "r.jsonl"),
        data=str(problems(tmp_path)),
        completions=4,
        solutions=3,
        rows=str(tmp_path / "rows.jsonl"),
        pairs=str(tmp_path / "pairs.jsonl"),
        gap=0.25,
        **SCRIPTED,
    )
    found = labelled(config)
    records = read_records(tmp_path / "r.jsonl")
    assert (found["method"], found["n_problems"], found["n_failed"]) == ("mc", 3, 0)
    assert found["n_records"] == found["n_new_records"] == len(records)
    assert found["n_rows"] == len(read_rows(tmp_path / "rows.jsonl")) > 0
    assert found["n_pairs"] == len(read_pairs(tmp_path / "pairs.jsonl")) > 0
    assert found["rule"] == "soft"
    assert {(each.source, each.model) for each in records} == {("mc", "scripted")}
    before = (tmp_path / "r.jsonl").read_bytes()
    again = labelled(config)
    assert (tmp_path / "r.jsonl").read_bytes() == before
    assert (again["n_new_records"], again["completions"]) == (0, 0)


def test_a_file_of_other_labels_is_refused_and_says_why(tmp_path: Path) -> None:
    shared = {"out": str(tmp_path / "r.jsonl"), "data": str(problems(tmp_path)), **SCRIPTED}
    labelled(LabelConfig(completions=2, solutions=1, **shared))
    with pytest.raises(UsageError, match=r"holds labels from 2 completions, not 4; name another file"):
        labelled(LabelConfig(completions=4, solutions=1, **shared))
    with pytest.raises(UsageError, match="holds labels of mc by scripted, not of omega by scripted"):
        labelled(LabelConfig(completions=2, method="omega", **shared))


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"seed": 1}, "seed 0, not 1"),
        ({"temperature": 0.5}, "temperature None, not 0.5"),
        ({"solutions": 2}, "solutions 1, not 2"),
        ({"settings": {**SCRIPTED["settings"], "policy.top_p": 0.9}}, "policy.top_p None, not 0.9"),
    ],
)
def test_a_file_is_not_gone_on_with_under_other_settings(
    tmp_path: Path, other: dict[str, Any], said: str
) -> None:
    shared = {"out": str(tmp_path / "r.jsonl"), "data": str(problems(tmp_path)), "completions": 2, **SCRIPTED}
    labelled(LabelConfig(solutions=1, limit=1, **shared))
    before = (tmp_path / "r.jsonl").read_bytes()
    with pytest.raises(UsageError, match=f"holds labels made with {said}; name another file"):
        labelled(LabelConfig(**{"solutions": 1, **shared, **other}))
    assert (tmp_path / "r.jsonl").read_bytes() == before
    assert labelled(LabelConfig(solutions=1, concurrency=3, **shared))["n_new_records"] > 0


def test_damaged_settings_beside_a_file_are_named(tmp_path: Path) -> None:
    shared = {"out": str(tmp_path / "r.jsonl"), "data": str(problems(tmp_path)), "completions": 2, **SCRIPTED}
    labelled(LabelConfig(**shared))
    (tmp_path / "r.jsonl.settings.json").write_text("{")
    with pytest.raises(DataError, match=r"r\.jsonl\.settings\.json: not the settings of labels"):
        labelled(LabelConfig(**shared))


def test_a_file_of_another_of_a_servers_models_is_refused_and_one_of_the_only_model_is_not(
    tmp_path: Path,
) -> None:
    url, out = "http://127.0.0.1:9/v1", tmp_path / "r.jsonl"
    shared = {"out": str(out), "data": str(problems(tmp_path, n=1)), "policy": url, "completions": 2}
    (wanted,) = prepare_labels(LabelConfig(**shared)).plan.problems
    for made_by, names, others in (
        (url, [{}], [{"model": "A"}]),
        (f"{url} A", [{"model": "A"}, {"settings": {"engine.model": "A"}}], [{"model": "B"}, {}]),
    ):
        done = record("", 2, 1, problem=wanted.id, question=wanted.question, model=made_by)
        write_records(out, [done])
        for name in names:
            assert labelled(LabelConfig(**shared, **name))["n_new_records"] == 0
        for name in others:
            with pytest.raises(UsageError, match=f"holds labels of mc by {made_by}, not of mc by"):
                labelled(LabelConfig(**shared, **name))


def test_the_trees_of_a_run_become_records_without_a_model(tmp_path: Path) -> None:
    folder = run_of(tmp_path)
    found = labelled(
        LabelConfig(out=str(tmp_path / "t.jsonl"), run=str(folder), rows=str(tmp_path / "rows.jsonl"))
    )
    records = read_records(tmp_path / "t.jsonl")
    trees = run_trees(folder).trees
    assert (found["method"], found["source"], found["rule"]) == ("tree", "tree:mcts", "quality")
    assert len(records) == sum(len({t.text(n.id) for n in t.nodes}) for t in trees)
    assert all(each.value is not None for each in records if each.visits)
    assert found["n_rows"] > 0
    limited = labelled(LabelConfig(out=str(tmp_path / "u.jsonl"), run=str(folder), limit=1))
    assert limited["n_problems"] == 1


def test_the_steps_of_a_run_are_labelled_by_monte_carlo(tmp_path: Path) -> None:
    folder = run_of(tmp_path)
    config = LabelConfig(out=str(tmp_path / "m.jsonl"), run=str(folder), method="mc", completions=3)
    labelled(config)
    records = read_records(tmp_path / "m.jsonl")
    in_trees = {
        (tree.problem.id, tuple(s.text for s in tree.path(node.id)))
        for tree in run_trees(folder).trees
        for node in tree.nodes
    }
    assert {(each.problem, each.path) for each in records} == in_trees
    assert {each.completions for each in records if not each.finished} <= {0, 3}


def test_the_steps_of_a_run_are_completed_by_a_policy_of_another_tokenizer_in_its_own_ids(
    tmp_path: Path,
) -> None:
    folder = run_of(tmp_path)
    labelled(
        LabelConfig(
            out=str(tmp_path / "m.jsonl"),
            run=str(folder),
            method="mc",
            limit=1,
            policy="embedded",
            completions=1,
            settings={"engine.device": "cpu", "engine.threads": "1"},
        )
    )
    tokenizer = AutoTokenizer.from_pretrained(embedded_folder())
    records = read_records(tmp_path / "m.jsonl")
    trees = run_trees(folder).trees[:1]
    assert {each.path for each in records if each.path} == {
        tuple(step.text for step in chain[:length])
        for chain in tree_chains(trees[0])
        for length in range(1, len(chain) + 1)
    }
    for each in records:
        ids = [token for step in each.step_ids or () for token in step]
        assert tokenizer.decode(ids, skip_special_tokens=True) == "".join(each.path)
        assert each.model == "embedded"
        if each.finished:
            assert ids[-1] == tokenizer.eos_token_id
    assert any(each.finished for each in records)


def test_chains_keep_their_ids_where_the_tokenizer_reads_them_and_their_answers_where_it_does_not() -> None:
    tree, other = Tree(problem=PROBLEM), toy_policy()
    last = replace(step("aab", end=True), answer="aaab", vote="aaab")
    tree.apply([Added(0, step("a\n"), 1.0), Added(1, last, 0.5), Added(0, step(" b\n"), 1.0)])
    chains = tree_chains(tree)
    assert readable_chains([tree], toy_policy()) == {"toy": chains}
    other.engine.tokenizer = tokenizer = HFTokenizer(sentence_pieces())
    found = readable_chains([tree], other)["toy"]
    for chain, old in zip(found, chains, strict=True):
        ids = [token for each in chain for token in each.token_ids]
        assert tokenizer.continuation(ids) == "".join(each.text for each in old)
        assert [replace(each, token_ids=()) for each in chain] == [
            replace(each, token_ids=(), logprobs=()) for each in old
        ]
    assert found[0][-1].token_ids[-1] == tokenizer.eos_token_id
    assert [each.answer for each in found[0]] == [None, "aaab"]


def test_a_step_that_a_tokenizer_cannot_write_is_refused() -> None:
    policy = toy_policy()
    policy.engine.tokenizer = HFTokenizer(byte_level())
    assert parse_steps(["a\n"], policy)[0].text == "a\n"
    with pytest.raises(UsageError, match=r"cannot write the step 'a<\|im_end\|>b' as it stands"):
        parse_steps(["a<|im_end|>b"], policy)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"method": "tree"}, "name one with --run"),
        ({"method": "mcc"}, "did you mean 'mc'"),
        ({"rule": "sofft"}, "did you mean 'soft'"),
        ({"settings": {"width": "3"}}, r"--set takes policy\.KEY and engine\.KEY here, got 'width'"),
        ({"completions": 0}, "completions must be at least 1"),
        ({"run": "nowhere"}, "not a run"),
        ({"task": "mth"}, "did you mean 'math'"),
    ],
)
def test_names_and_settings_are_checked_before_a_model_is_loaded(
    tmp_path: Path, config: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        prepare_labels(LabelConfig(out=str(tmp_path / "x.jsonl"), **config))
    assert not (tmp_path / "x.jsonl").exists()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"searches": 3},
            "--searches is for the method omega, not for mc; leave it out, or give --method omega",
        ),
        ({"max_completions": 9}, "--max-completions is for the method omega, not for mc"),
        ({"method": "omega", "solutions": 9}, "--solutions is for the method mc, not for omega"),
        ({"run": "r", "completions": 9}, "--completions is for the method mc or omega, not for tree"),
        ({"run": "r", "policy": "x"}, "--policy is for the method mc or omega, not for tree; .* --method mc"),
        ({"run": "r", "method": "mc", "solutions": 9}, "leave --solutions out"),
        ({"gap": 0.5, "rows": "x"}, "--gap is for what --pairs FILE writes; give that, or leave --gap out"),
        ({"consensus": "f", "pairs": "x"}, "--consensus is for what --rows FILE writes"),
        ({"run": "r", "judge": "x"}, "--judge is for the method judge, not for tree"),
        ({"method": "judge", "run": "r"}, "name one with --judge"),
        ({"method": "judge", "judge": "x"}, "name one with --run"),
        ({"method": "judge", "judge": "x", "settings": {"policy.top_p": 1}}, r"--set takes judge\.KEY here"),
        ({"method": "judge", "judge": "x", "settings": {"judge.sample": 1}}, "did you mean 'samples'"),
        ({"extremes": True, "rows": "x"}, "--extremes is for what --pairs FILE writes"),
        ({"once": True, "pairs": "x"}, "--once is for what --rows FILE writes"),
        ({"rule": "hard"}, "--rule is for what --rows FILE or --pairs FILE writes"),
        (
            {"rule": "tree", "rows": "x"},
            "which the method mc does not record; take --method tree, or another",
        ),
        (
            {"rule": "dual", "pairs": "x", "rows": "y"},
            "siblings have no values by it; write the pairs by another",
        ),
        ({"penalty": 0.3, "rows": "x"}, "--penalty is for the rule dual, not for soft"),
        ({"penalty": -1.0, "rule": "dual", "rows": "x"}, "penalty must be at least 0, got -1"),
        ({"threshold": 0.3}, "--threshold is for the method judge, not for mc"),
        ({"consensus": "/nowhere/rows.jsonl", "rows": "x"}, "cannot read /nowhere/rows.jsonl: No such file"),
    ],
)
def test_a_setting_that_the_method_or_the_files_have_no_use_for_is_refused(
    config: dict[str, Any], message: str
) -> None:
    with pytest.raises((UsageError, DataError), match=message):
        prepare_labels(LabelConfig(out="x.jsonl", **config))


def test_omega_ends_before_the_most_completions_a_problem(tmp_path: Path) -> None:
    found = labelled(
        LabelConfig(
            out=str(tmp_path / "r.jsonl"),
            data=str(problems(tmp_path)),
            method="omega",
            completions=4,
            max_completions=8,
            **SCRIPTED,
        )
    )
    assert 3 * 4 <= found["completions"] <= 3 * 8
    assert (
        found["completions"]
        < labelled(
            LabelConfig(
                out=str(tmp_path / "all.jsonl"),
                data=str(problems(tmp_path)),
                method="omega",
                completions=4,
                **SCRIPTED,
            )
        )["completions"]
    )


class Doubts(TableScorer):
    """A judge of two samples: one finds the second step wrong, the other the third, where there are such."""

    name = "generative"

    async def score(self, question: str, steps: Sequence[str]) -> StepScores:
        self.calls.append((question, tuple(steps)))
        members = tuple((0.2 if at == 1 else 0.9, 0.1 if at == 2 else 0.8) for at in range(len(steps)))
        return StepScores(tuple(sum(each) / 2 for each in members), 5, members)


def judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scorer: TableScorer, **more: Any
) -> dict[str, Any]:
    """The summary of labelling a run by a judge, whose settings are looked at."""
    folder = tmp_path / "run" if (tmp_path / "run").exists() else run_of(tmp_path)

    def opened(name: str, settings: dict[str, Any]) -> TableScorer:
        assert (name, settings) == ("mine", {"samples": "2"})
        return scorer

    monkeypatch.setattr("prm.labels.session.open_scorer", opened)
    shared = {"run": str(folder), "method": "judge", "judge": "mine", "settings": {"judge.samples": "2"}}
    return labelled(LabelConfig(**({"out": str(tmp_path / "j.jsonl")} | shared | more)))


def test_a_judges_verdicts_on_the_solutions_of_a_run_are_counts_and_rows_keep_whole_solutions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = Doubts(lambda question, steps: [])
    found = judged(tmp_path, monkeypatch, scorer, rows=str(tmp_path / "rows.jsonl"))
    assert (found["n_failed"], found["source"], found["model"]) == (0, "judge:mine", "mine")
    assert scorer.closed
    asked = len(scorer.calls)
    solutions = {
        (tree.problem.question, tuple(each.text for each in chain))
        for tree in run_trees(tmp_path / "run").trees
        for chain in tree_chains(tree)
    }
    rows = read_rows(tmp_path / "rows.jsonl")
    assert set(scorer.calls) == solutions == {(row.prompt, row.steps) for row in rows}
    assert found["tokens"] == 5 * asked
    for row in rows:
        assert row.labels == (1.0, 0.5, 0.0, None, None, None, None)[: len(row.steps)]
    again = judged(tmp_path, monkeypatch, scorer)
    assert (again["n_new_records"], len(scorer.calls)) == (0, asked)


def test_a_consensus_keeps_the_rows_whose_first_error_both_labellings_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged(tmp_path, monkeypatch, Doubts(lambda q, s: []), rows=str(tmp_path / "all.jsonl"))
    rows = read_rows(tmp_path / "all.jsonl")
    long = [row for row in rows if len(row.steps) > 2]
    other = [replace(long[0], labels=(0.0, *long[0].labels[1:])), *long[1:]]
    write_rows(tmp_path / "other.jsonl", other)
    kept = {"rows": str(tmp_path / "rows.jsonl"), "consensus": str(tmp_path / "other.jsonl")}
    found = judged(tmp_path, monkeypatch, Doubts(lambda q, s: []), **kept)
    assert (found["n_compared"], found["n_rows"]) == (len(long), len(long) - 1)
    assert [row.steps for row in read_rows(tmp_path / "rows.jsonl")] == [row.steps for row in long[1:]]


class Margins(TableScorer):
    """A judge of the family PURE, whose scores are in [-1, 1] and right from 0 on."""

    convention = find("pure")


def test_a_step_is_wrong_below_the_threshold_of_the_judges_family_or_the_one_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def labels(name: str, **more: Any) -> set[float | None]:
        scorer, rows = Margins(lambda question, steps: [0.2] * len(steps)), tmp_path / f"{name}-rows.jsonl"
        found = judged(tmp_path, monkeypatch, scorer, out=str(tmp_path / name), rows=str(rows), **more)
        assert found["n_failed"] == 0
        return {row.labels[0] for row in read_rows(rows)}

    assert labels("usual") == {1.0}
    assert labels("given", threshold=0.25) == {0.0}
    with pytest.raises(UsageError, match=r"usual holds labels made with threshold None, not 0\.25"):
        labels("usual", threshold=0.25)


def test_a_judge_without_a_threshold_and_without_probabilities_needs_one_before_it_judges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = Margins(lambda question, steps: [0.2] * len(steps))
    scorer.convention = find("implicitprm")
    with pytest.raises(UsageError, match=r"'implicitprm' names no threshold.*--threshold X"):
        judged(tmp_path, monkeypatch, scorer)
    assert (scorer.calls, scorer.closed) == ([], True)
    assert judged(tmp_path, monkeypatch, scorer, threshold=0.0)["n_failed"] == 0


def test_scores_that_are_no_probabilities_give_no_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = judged(tmp_path, monkeypatch, TableScorer(lambda question, steps: [-3.0] * len(steps)))
    assert found["n_failed"] == 3
    assert "no probabilities" in next(iter(found["failed"].values()))


def test_a_run_brings_its_own_problems(tmp_path: Path) -> None:
    folder = run_of(tmp_path)
    with pytest.raises(UsageError, match="leave --task out"):
        prepare_labels(LabelConfig(out="x", run=str(folder), task="math"))
    problems(tmp_path, n=2)
    with pytest.raises(UsageError, match="the problems are not the same"):
        prepare_labels(LabelConfig(out="x", run=str(folder)))
    (folder / "journal" / "0000.jsonl").write_bytes(b"")
    problems(tmp_path)
    with pytest.raises(DataError, match="no problem was searched yet"):
        prepare_labels(LabelConfig(out="x", run=str(folder)))


def grown() -> Tree:
    """a (two children: b finished right, c open with two roll-outs) and d without anything."""
    tree = Tree(problem=PROBLEM)
    end = step("b", end=True)
    right = type(end)("aab\na", end.token_ids, end.logprobs, end.finish, None, "aaba", "aaba")
    tree.apply([Added(0, step("a\n"), 1.0), Added(1, right, 0.5), Added(1, step("c\n"), 0.5)])
    tree.apply([Rolled(3, "x\ny\naaa", 7, "aaa", "aaa", None), Rolled(3, "bb", 2, "bb", "bb", None)])
    tree.apply([Added(0, step("d\n"), 1.0), Scored(4, 0.25)])
    tree.apply([Backed(2, 1.0, BackupRule.MEAN), Backed(3, 0.5, BackupRule.MEAN)])
    return tree


def test_outcomes_are_counted_at_and_below_every_node() -> None:
    records = asyncio.run(tree_records(grown(), ToyTask(), model="m", source="tree:x", prompt_ids=(1,)))
    assert [(each.right, each.completions, each.shortest, each.value) for each in records] == [
        (2, 3, 2, 0.75),
        (2, 3, 1, 0.75),
        (1, 1, 0, 1.0),
        (1, 2, 3, 0.5),
        (0, 0, None, 0.25),
    ]
    finished = next(each for each in records if each.finished)
    assert (finished.right, finished.completions, finished.shortest) == (1, 1, 0)
    assert [each.visits for each in records] == [2, 2, 1, 1, 0]
    assert records[3].step_ids == (step("a\n").token_ids, step("c\n").token_ids)


def test_nodes_of_one_path_are_one_record_with_their_counts_added() -> None:
    tree = grown()
    tree.apply([Added(0, step("d\n"), 1.0), Rolled(5, "aaaa", 4, "aaaa", "aaaa", None)])
    records = asyncio.run(tree_records(tree, ToyTask(), model="m", source="s"))
    (both,) = (each for each in records if each.path == ("d\n",))
    assert (both.right, both.completions, both.value) == (1, 1, 0.25)
    assert len(records) == len(tree.nodes) - 1


def test_roll_outs_are_as_many_steps_as_their_text_has() -> None:
    for name, steps in (("line", 3), ("tokens:2", 4)):
        records = asyncio.run(tree_records(grown(), ToyTask(), model="m", source="s", step=delimiter(name)))
        assert records[3].shortest == steps


def test_the_chains_of_a_tree_are_its_leaves_paths() -> None:
    assert [[s.text[:1] for s in chain] for chain in tree_chains(grown())] == [["a", "a"], ["a", "c"], ["d"]]


def test_steps_of_somebody_else_are_encoded_by_the_policy() -> None:
    found = parse_steps(["a\n", "b\n"], toy_policy())
    assert [each.text for each in found] == ["a\n", "b\n"]
    assert found[0].token_ids == step("a\n").token_ids


def test_the_command_writes_one_json_object_and_its_exit_code_tells_of_failures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(problems(tmp_path, n=2))
    settings = ["policy.solution_tokens=110"]
    shared: dict[str, Any] = {"data": data, "policy": "scripted", "engine": "scripted", "completions": 2}
    code = label(out=str(tmp_path / "r.jsonl"), settings=settings, as_json=True, **shared)
    written = capsys.readouterr().out
    assert code == ExitCode.DONE
    assert json.loads(written)["n_problems"] == 2
    assert written.count("\n") == 1
    code = label(out=str(tmp_path / "f.jsonl"), settings=[*settings, "engine.fault_rate=1"], **shared)
    shown = capsys.readouterr()
    assert code == ExitCode.PROBLEMS_FAILED
    assert "2 problems failed; the same command tries them again" in shown.err
    assert "injected fault" in shown.err
