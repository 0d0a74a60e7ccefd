"""A run that gets a larger budget goes on where its limit had stopped it, and nothing else is touched."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_run import FLAGS, PROBLEMS, run, trees_of

from tasks.errors import UsageError
from treesearch.journal import read_journal
from treesearch.run.config import resolve
from treesearch.run.extend import enlarged, extend
from treesearch.run.plan import prepare
from treesearch.run.session import run_plan
from treesearch.run.store import fold_trees, read_header, read_results


def records(folder: Path) -> list[Any]:
    return list(read_journal(folder / "journal" / "0000.jsonl"))


@pytest.mark.parametrize("limit", ["budget_tokens", "budget_calls", "budget_nodes"])
def test_trees_that_a_limit_stopped_go_on_and_the_others_stay(limit: str, tmp_path: Path) -> None:
    old, new = {"budget_tokens": (150, 600), "budget_calls": (2, 12), "budget_nodes": (6, 40)}[limit]
    flags: dict[str, Any] = {"budget_tokens": None, "algorithm": "beam", limit: old}
    before = {row["id"]: row for row in run(tmp_path / "run", **flags)}
    stopped = {name for name, row in before.items() if row["stop_reason"] == limit}
    assert len(stopped) > 0
    first, trees = records(tmp_path / "run"), trees_of(tmp_path / "run", **flags)

    resolved = extend(tmp_path / "run", {limit: new})
    assert {row["id"] for row in read_results(tmp_path / "run")} == set(before) - stopped
    assert read_header(tmp_path / "run").resolved == resolved
    assert resolved.origin[limit] == "flag"
    assert trees_of(tmp_path / "run", **flags) == trees, "extending changes no tree"

    after = {row["id"]: row for row in run(tmp_path / "run", **flags | {limit: new})}
    assert records(tmp_path / "run")[: len(first)] == first
    config = resolve(FLAGS | flags | {limit: new}).config
    for name, tree in fold_trees(tmp_path / "run", PROBLEMS, config).items():
        used = getattr(tree.usage, limit.removeprefix("budget_"))
        assert used <= new
        if name in stopped:
            assert after[name]["usage"]["nodes"] > before[name]["usage"]["nodes"]
        else:
            assert after[name] == before[name]


def test_a_budget_never_shrinks_and_a_run_without_limit_has_none_to_extend(tmp_path: Path) -> None:
    run(tmp_path / "run")
    kept = read_results(tmp_path / "run")
    for limits in ({"budget_tokens": 299}, {"budget_calls": 10}):
        with pytest.raises(UsageError, match="can only grow"):
            extend(tmp_path / "run", limits)
    assert read_results(tmp_path / "run") == kept


def test_a_limit_without_which_nothing_would_end_is_not_lifted_and_the_run_stays_as_it_was(
    tmp_path: Path,
) -> None:
    run(tmp_path / "run")
    kept, header = read_results(tmp_path / "run"), read_header(tmp_path / "run")
    with pytest.raises(UsageError, match="give simulations or a budget"):
        extend(tmp_path / "run", {"budget_tokens": None})
    assert (read_results(tmp_path / "run"), read_header(tmp_path / "run")) == (kept, header)


def test_the_same_budget_again_searches_nothing(tmp_path: Path) -> None:
    run(tmp_path / "run")
    kept, written = read_results(tmp_path / "run"), records(tmp_path / "run")
    extend(tmp_path / "run", {"budget_tokens": 300})
    assert sorted(read_results(tmp_path / "run"), key=lambda row: row["id"]) == sorted(
        kept, key=lambda row: row["id"]
    )
    assert records(tmp_path / "run") == written


def test_a_kill_after_extending_loses_nothing(tmp_path: Path) -> None:
    run(tmp_path / "run", budget_tokens=150)
    extend(tmp_path / "run", {"budget_tokens": 600})
    extend(tmp_path / "run", {"budget_tokens": 600})
    rows = run(tmp_path / "run", budget_tokens=600)
    assert {row["id"] for row in rows} == {problem.id for problem in PROBLEMS}


def test_a_run_that_cannot_go_on_keeps_its_results_and_its_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = replace(prepare(resolve(FLAGS | {"budget_tokens": 150})), problems=PROBLEMS)
    asyncio.run(run_plan(first, tmp_path / "run"))
    kept, header = read_results(tmp_path / "run"), read_header(tmp_path / "run")
    limits = {"budget_tokens": 600}
    plan = replace(prepare(enlarged(tmp_path / "run", limits)), extends=limits, problems=PROBLEMS)
    other = replace(plan, problems=plan.problems[:-1])
    with pytest.raises(UsageError, match="the problems are not the same"):
        asyncio.run(run_plan(other, tmp_path / "run"))

    def broken(*_: object, **__: object) -> None:
        raise UsageError("the model is gone")

    with monkeypatch.context() as patch:
        patch.setattr("treesearch.run.session.open_policy", broken)
        with pytest.raises(UsageError, match="the model is gone"):
            asyncio.run(run_plan(plan, tmp_path / "run"))
    assert (read_results(tmp_path / "run"), read_header(tmp_path / "run")) == (kept, header)

    after = asyncio.run(run_plan(plan, tmp_path / "run")).rows
    assert {row["id"] for row in after} == {row["id"] for row in kept}
    assert sum(row["usage"]["nodes"] for row in after) > sum(row["usage"]["nodes"] for row in kept)
