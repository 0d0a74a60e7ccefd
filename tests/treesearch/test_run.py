"""A run that is killed and taken up again loses nothing and does nothing twice; failures are results."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from toy_worlds import ALGORITHMS, SCENARIOS, UnrulyEngine, tree_bytes

from tasks.base import Problem
from tasks.errors import DataError, UsageError
from tasks.math import MathTask
from treesearch import journal as journal_module
from treesearch.engines.base import EngineError, Sample, SamplingParams
from treesearch.events import Record
from treesearch.journal import read_journal
from treesearch.policy import Policy
from treesearch.registry import find
from treesearch.run.config import RunConfig, resolve
from treesearch.run.runner import Progress, Runner
from treesearch.run.store import RunStore, fold_trees, make_header, read_results

PROBLEMS = [Problem(id=f"p{i}", question=f"How far is {i}?", gold=str(i % 4)) for i in range(7)]
FLAGS: dict[str, Any] = {"task": "math", "engine": "scripted", "budget_tokens": 300, "concurrency": 3}


@pytest.fixture(autouse=True)
def _every_record_reaches_the_disk_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "COMMIT_SECONDS", 0.0)
    monkeypatch.setattr(os, "fsync", lambda _: None)


def run(
    folder: Path,
    *,
    engine: UnrulyEngine | None = None,
    on_append: Callable[[str, Record], None] = lambda *_: None,
    policy: Policy | None = None,
    **flags: Any,
) -> list[dict[str, Any]]:
    """Start the run in `folder`, or take it up; all results of the run, by id."""
    return asyncio.run(_run(folder, engine, on_append, policy, flags))


async def _run(
    folder: Path,
    engine: UnrulyEngine | None,
    on_append: Callable[[str, Record], None],
    policy: Policy | None,
    flags: dict[str, Any],
) -> list[dict[str, Any]]:
    resolved = resolve(FLAGS | flags)
    config = resolved.config
    store = RunStore.create(folder, make_header(resolved, PROBLEMS, "model"))
    try:
        append = store.journal.append

        def hooked(problem: str, record: Record) -> None:
            on_append(problem, record)
            append(problem, record)

        store.journal.append = hooked  # type: ignore[method-assign]
        done = {row["id"] for row in store.finished()}
        algorithm = find("algorithm", config.algorithm)()
        runner = Runner(
            config=config,
            policy=policy or SCENARIOS["default value"].policy(engine),
            algorithm=algorithm,
            value=find("value", algorithm.default_value)(),
            store=store,
            progress=Progress(total=len(PROBLEMS)),
        )
        trees = fold_trees(folder, PROBLEMS, config)
        await runner.run([problem for problem in PROBLEMS if problem.id not in done], trees)
    finally:
        store.close()
    return sorted(read_results(folder), key=lambda row: row["id"])


def essence(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Results without their seconds."""
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def trees_of(folder: Path, **flags: Any) -> dict[str, bytes]:
    config = resolve(FLAGS | flags).config
    return {name: tree_bytes(tree) for name, tree in sorted(fold_trees(folder, PROBLEMS, config).items())}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_what_a_kill_leaves_at_any_moment_goes_on_to_the_same_results_and_trees(
    name: str, tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    records = 0
    copies: list[Path] = []

    def copy_now_and_then(problem: str, record: Record) -> None:
        nonlocal records
        records += 1
        if records % 17 == 1 and len(copies) < 8:
            copies.append(shutil.copytree(whole, tmp_path / f"killed-{records}"))
            with (copies[-1] / "journal" / "0000.jsonl").open("ab") as file:
                file.write(b'{"crc": "00000000","seq":'[: records % 25])  # a torn write

    expected = run(whole, algorithm=name, on_append=copy_now_and_then)
    assert [row["id"] for row in expected] == [problem.id for problem in PROBLEMS]
    assert copies
    for killed in copies:
        finished = {row["id"] for row in read_results(killed)}
        appended: list[str] = []
        rows = run(killed, algorithm=name, on_append=lambda problem, _: appended.append(problem))  # noqa: B023
        assert essence(rows) == essence(expected)
        assert not finished & set(appended), "a finished problem was searched again"
        assert trees_of(killed, algorithm=name) == trees_of(whole, algorithm=name)


@pytest.mark.parametrize("requests", [1, 5, 20, 45])
def test_a_cancelled_run_flushes_and_goes_on_to_the_same_results(tmp_path: Path, requests: int) -> None:
    expected = run(tmp_path / "whole")
    job: asyncio.Future[Any]

    async def cancelled() -> None:
        nonlocal job
        engine = UnrulyEngine(disorder=1)
        engine.on_request = lambda number: job.cancel() if number == requests else None
        job = asyncio.ensure_future(_run(tmp_path / "cut", engine, lambda *_: None, None, {}))
        await asyncio.wait([job])
        assert job.cancelled()
        assert engine.active == 0

    asyncio.run(cancelled())
    done = essence(read_results(tmp_path / "cut"))
    rows = run(tmp_path / "cut")
    assert essence(rows) == essence(expected)
    assert all(row in essence(rows) for row in done)


def test_a_finished_run_is_not_searched_again(tmp_path: Path) -> None:
    expected = run(tmp_path / "run")
    engine = UnrulyEngine()
    assert run(tmp_path / "run", engine=engine) == expected
    assert engine.usage.requests == 0


def test_failures_are_results_and_are_tried_again_when_the_run_is_taken_up(tmp_path: Path) -> None:
    expected = run(tmp_path / "calm")
    rows = run(tmp_path / "run", engine=UnrulyEngine(fault_rate=0.05, seed=3))
    failed = [row for row in rows if row["error"]]
    assert 0 < len(failed) < len(PROBLEMS)
    assert len(rows) == len(PROBLEMS)
    for row in failed:
        assert row["error"] == "EngineError: injected fault"
        assert row["stop_reason"] == "error"
        assert row["verdict"] is None
    again = run(tmp_path / "run")
    assert essence(again) == essence(expected)
    assert Counter(row["id"] for row in again).most_common(1)[0][1] == 1


def test_a_failure_of_any_kind_stays_with_its_problem(tmp_path: Path) -> None:
    class Failing(MathTask):
        def extract(self, solution: str) -> Any:
            raise RecursionError("too deep") if "step 0: 7" in solution else ZeroDivisionError("odd")

    class Broken(UnrulyEngine):
        async def sample(self, prompt_ids: Any, n: int, params: SamplingParams) -> list[Sample]:
            if "far is 3" in self.tokenizer.decode(prompt_ids):
                raise EngineError("only this one")
            return await super().sample(prompt_ids, n, params)

    rows = run(tmp_path / "engine", engine=Broken())
    assert [row["id"] for row in rows if row["error"]] == ["p3"]
    policy = replace_task(SCENARIOS["default value"].policy(), Failing())
    rows = run(tmp_path / "task", policy=policy)
    assert {row["error"] for row in rows} <= {"RecursionError: too deep", "ZeroDivisionError: odd"}
    assert len(rows) == len(PROBLEMS)


def replace_task(policy: Policy, task: MathTask) -> Policy:
    return Policy(engine=policy.engine, task=task, config=policy.config)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"seed": 1}, "seed: 0 in the run, 1 now"),
        ({"algorithm": "beam"}, "algorithm: 'mcts' in the run, 'beam' now"),
        ({"budget_tokens": 301}, "budget_tokens: 300 in the run, 301 now"),
        ({"settings": {"width": 2}}, "settings: {} in the run"),
    ],
    ids=["seed", "algorithm", "budget", "setting"],
)
def test_another_configuration_is_refused_and_what_differs_is_said(
    tmp_path: Path, flags: dict[str, Any], told: str
) -> None:
    before = run(tmp_path / "run")
    with pytest.raises(UsageError, match=told):
        run(tmp_path / "run", **flags)
    assert run(tmp_path / "run", concurrency=1) == before


def test_other_problems_another_model_or_a_foreign_folder_are_refused(tmp_path: Path) -> None:
    run(tmp_path / "run")
    resolved = resolve(FLAGS)
    other = [replace(PROBLEMS[0], question="Why?"), *PROBLEMS[1:]]
    with pytest.raises(UsageError, match="the problems are not the same"):
        RunStore.create(tmp_path / "run", make_header(resolved, other, "model"))
    with pytest.raises(UsageError, match="the model's weights are not the same"):
        RunStore.create(tmp_path / "run", make_header(resolved, PROBLEMS, "other weights"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("do not touch")
    with pytest.raises(UsageError, match="is not empty and holds no run"):
        RunStore.create(tmp_path / "mine", make_header(resolved, PROBLEMS, "model"))
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_two_processes_never_write_to_the_same_run(tmp_path: Path) -> None:
    header = make_header(resolve(FLAGS), PROBLEMS, "model")
    store = RunStore.create(tmp_path / "run", header)
    with pytest.raises(UsageError, match="another process is writing"):
        RunStore.create(tmp_path / "run", header)
    store.close()
    RunStore.create(tmp_path / "run", header).close()


def test_concurrency_is_never_passed_and_changes_no_tree(tmp_path: Path) -> None:
    for concurrency in (1, 7):
        problems_open: set[str] = set()
        most = 0

        def watch(problem: str, record: Record) -> None:
            nonlocal most
            problems_open.add(problem)  # noqa: B023
            if any(type(event).__name__ == "Stopped" for event in record):
                problems_open.discard(problem)  # noqa: B023
            most = max(most, len(problems_open))  # noqa: B023

        run(tmp_path / str(concurrency), concurrency=concurrency, on_append=watch)
        assert most <= concurrency
    assert trees_of(tmp_path / "1") == trees_of(tmp_path / "7")


def test_a_torn_result_is_searched_again_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    expected = run(tmp_path / "run")
    path = tmp_path / "run" / "results.jsonl"
    whole = path.read_text()
    path.write_text(whole[:-9])
    assert len(read_results(tmp_path / "run")) == len(PROBLEMS) - 1
    assert essence(run(tmp_path / "run")) == essence(expected)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[0], "{\n", *lines[1:]]))
    with pytest.raises(DataError, match=r"results\.jsonl:2: not JSON"):
        read_results(tmp_path / "run")


@pytest.mark.parametrize("odd", ["\u2028", "\u0085", "\u2029"])
def test_an_answer_with_a_unicode_line_end_is_read_back(tmp_path: Path, odd: str) -> None:
    run(tmp_path / "run")
    rows = read_results(tmp_path / "run")
    store = RunStore(tmp_path / "run")
    store.append_result(rows[0] | {"answer": f"a{odd}b"})
    store.close()
    assert read_results(tmp_path / "run")[-1]["answer"] == f"a{odd}b"


def test_a_line_torn_inside_a_character_counts_as_torn(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    whole = '{"id": "a", "verdict": null, "answer": null, "stop_reason": null, "usage": {}}'
    path.write_bytes(f'{whole}\n{{"id": "b", "answer": "é'.encode()[:-1])
    assert [row["id"] for row in read_results(tmp_path)] == ["a"]


def test_a_line_that_is_no_result_is_named(tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").write_text('{"id": "a", "labels": [1]}\n')
    with pytest.raises(DataError, match=r"results.jsonl:1: not the result of a problem"):
        read_results(tmp_path)


def test_results_are_one_json_object_a_line_with_what_the_readme_promises(tmp_path: Path) -> None:
    run(tmp_path / "run")
    for line in (tmp_path / "run" / "results.jsonl").read_text().splitlines():
        row = json.loads(line)
        assert {"id", "answer", "verdict", "stop_reason", "usage", "seconds"} <= set(row)
        assert set(row["usage"]) == {"generated_tokens", "prompt_tokens", "value_tokens", "calls", "nodes"}


def test_the_journal_alone_holds_every_tree(tmp_path: Path) -> None:
    rows = run(tmp_path / "run")
    names = {name for name, _ in read_journal(tmp_path / "run" / "journal" / "0000.jsonl")}
    assert names == {problem.id for problem in PROBLEMS}
    trees = fold_trees(tmp_path / "run", PROBLEMS, RunConfig(**FLAGS))
    for row in rows:
        tree = trees[row["id"]]
        assert row["usage"]["nodes"] == len(tree.nodes) - 1
        assert row["stop_reason"] == tree.stop
