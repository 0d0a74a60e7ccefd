"""Reading runs and building from them in Python: prompts, inputs, tokenizers, every builder by name."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from data_worlds import PROBLEMS, lines, solve

from selftrain.builders import builder_inputs, builder_names
from selftrain.builders.inputs import READERS, read_input
from selftrain.builders.session import RunData, build, read_runs
from tasks.errors import DataError, UsageError
from tasks.math import MathTask
from treesearch.engines.scripted import CharTokenizer, ScriptedEngine
from treesearch.policies import embedded_folder, policy_config
from treesearch.policy import Policy


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
