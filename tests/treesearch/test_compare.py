"""Comparisons: equal tokens, resumption, refusals, forecasts, and the files and tables that they leave."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import treesearch as ts
from tasks.errors import DataError, MissingPrerequisiteError, UsageError
from treesearch.algorithms.sampling import SelfConsistency
from treesearch.cli import ExitCode, main
from treesearch.cli.compare import fitting
from treesearch.comparison.cells import Cell, cells
from treesearch.comparison.config import CompareConfig, read_config, read_wanted, settle
from treesearch.comparison.forecast import forecast
from treesearch.comparison.methods import BASELINES, Method, parse_method, read_method, with_baselines
from treesearch.comparison.plot import draw, method_lines
from treesearch.comparison.session import Comparison, prepare_cells, read_comparison, run_comparison
from treesearch.comparison.statistics import mean_interval, paired_p
from treesearch.engines import scripted
from treesearch.registry import TABLES, find, names
from treesearch.run.reanswer import answers_from
from treesearch.run.store import read_results

ROOT = Path(__file__).parents[2]
SETTINGS = {"policy.step_tokens": 20, "policy.solution_tokens": 120}
FLAGS = [
    *["--engine", "scripted", "--policy", "script", "--data", "maths.jsonl"],
    *["--set", "policy.step_tokens=20", "--set", "policy.solution_tokens=120"],
]


@pytest.fixture(autouse=True)
def _in_a_folder_with_problems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [{"id": f"m{i}", "question": f"How much is {i}?", "answer": str(i % 4)} for i in range(6)]
    Path("maths.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    # No answer of the script needs the symbolic grader, whose process takes seconds to start.
    monkeypatch.setattr("treesearch.run.session.prewarm", lambda: None)
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every engine that is opened from now on."""
    engines: list[Any] = []
    real = scripted.open_engine

    def counted(model: str, settings: dict[str, Any]) -> Any:
        engines.append(real(model, settings))
        return engines[-1]

    monkeypatch.setattr(scripted, "open_engine", counted)
    return engines


def config(*methods: str, stored: CompareConfig | None = None, **flags: Any) -> CompareConfig:
    common = {"engine": "scripted", "policy": "script", "data": "maths.jsonl", "settings": SETTINGS}
    wanted = {"methods": list(methods), "budgets": [300, 600], "seeds": 2} | common | flags
    return settle(read_wanted(wanted), stored)


def run(found: CompareConfig, folder: Path, **callbacks: Callable[..., None]) -> Comparison:
    return asyncio.run(run_comparison(found, folder, **callbacks))


def row_of(comparison: Comparison, name: str, budget: int) -> dict[str, Any]:
    return next(r for r in comparison.rows if (r["name"], r["budget_tokens"]) == (name, budget))


def essence(comparison: Comparison) -> list[dict[str, Any]]:
    """The rows without what depends on the clock, and without the engine's count, which a kill raises."""
    clock = ("seconds", "tokens_per_second", "engine_tokens")
    return [{key: value for key, value in row.items() if key not in clock} for row in comparison.rows]


def trees(run_folder: Path) -> list[Any]:
    """The records of its journal without the scores."""
    lines = map(json.loads, (run_folder / "journal/0000.jsonl").read_text().splitlines())
    return sorted([one["problem"], [e for e in one["events"] if e[0] != "score"]] for one in lines)


def search(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(list(words))
    out, err = capsys.readouterr()
    return code, out, err


# -- methods ----------------------------------------------------------------------------------------------


def test_a_method_on_one_line_has_typed_settings_and_is_called_what_was_written() -> None:
    found = parse_method("mcts:value=rollout,width=6,value.n=4,policy.temperature=0.5,backup=max")
    assert found == Method(
        name="mcts:value=rollout,width=6,value.n=4,policy.temperature=0.5,backup=max",
        algorithm="mcts",
        value="rollout",
        settings={"width": 6, "value.n": 4, "policy.temperature": 0.5, "backup": "max"},
    )
    assert parse_method("mcts:name=wide,width=6").name == "wide"
    assert read_method(found.to_json()) == found
    assert read_method({"algorithm": "mcts", "value": "rollout", "settings": {"width": "6"}}) == read_method(
        {"algorithm": "mcts", "value": "rollout", "settings": {"width": 6}}
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("bream", "unknown algorithm 'bream'; did you mean 'beam'?"),
        ("mcts:widht=6", "unknown setting of mcts 'widht'; did you mean 'width'?"),
        ("mcts:value=rolout", "unknown value 'rolout'; did you mean 'rollout'?"),
        ("mcts:value.m=6", "unknown setting of value rollout 'm'"),
        ("mcts:width", "a method is ALGORITHM or ALGORITHM:key=value"),
        ("mcts:width=six", "mcts.width must be a whole number, got 'six'"),
        ("mcts:engine.seed=1", "one engine serves all methods"),
        ("mcts:policy.temprature=1", "unknown setting of policy 'temprature'; did you mean 'temperature'?"),
        ("mcts:name=..", "a method's name has 1 to 100 characters"),
    ],
)
def test_a_wrong_method_is_refused_and_the_nearest_name_said(text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told.replace("?", r"\?")):
        parse_method(text)


def test_a_method_goes_on_until_its_budget_is_spent_unless_told_otherwise() -> None:
    assert parse_method("beam").settings == {"rounds": None}
    assert parse_method("dvts:beam_width=2").settings == {"n": None, "beam_width": 2}
    assert parse_method("self-consistency:n=8").settings == {"n": 8}
    assert parse_method("greedy").settings == {}


def test_the_baselines_come_first_and_are_not_repeated() -> None:
    found = with_baselines([parse_method("best-of-n"), parse_method("beam"), parse_method("beam")])
    assert [method.name for method in found] == [*BASELINES, "beam"]
    assert [method.settings for method in found[:2]] == [{"n": None}, {"n": None}]


@pytest.mark.parametrize(
    ("methods", "told"),
    [
        (["mcts:name=beam", "beam"], "two methods are called 'beam'"),
        (["mcts:name=self-consistency"], "two methods are called 'self-consistency'"),
        (["mcts:name=a b", "mcts:name=a/b"], "the names 'a b' and 'a/b' are too much alike"),
    ],
)
def test_two_methods_that_could_be_mixed_up_are_refused(methods: list[str], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        with_baselines(map(parse_method, methods))


# -- configuration ----------------------------------------------------------------------------------------


def test_a_file_gives_methods_budgets_seeds_and_what_runs_share_and_flags_win(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(
        "methods:\n  - beam\n  - {name: wide, algorithm: mcts, value: rollout, settings: {width: 6}}\n"
        "budgets: [1k, 4000]\nseeds: [3, 5]\nlimit: 4\ntask: math\nsettings: {policy.temperature: 0.7}\n"
    )
    wanted = read_wanted({"limit": 2, "settings": {"policy.top_p": "0.9"}}, file)
    found = settle(wanted)
    assert [method.name for method in found.methods] == [*BASELINES, "beam", "wide"]
    assert (found.budgets, found.seeds, found.common.config.limit) == ((1000, 4000), (3, 5), 2)
    assert found.common.config.settings == {"policy.temperature": 0.7, "policy.top_p": "0.9"}
    origin = found.common.origin
    assert [origin[name] for name in ("limit", "task", "data")] == ["flag", "file", "default"]
    assert read_config(json.loads(json.dumps(found.to_json()))) == found


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("methods: [beam\n", "not YAML"),
        ("- beam\n", "must hold keys and values"),
        ("method: [beam]\n", "unknown key in .*; did you mean 'methods'"),
        ("algorithm: beam\n", "unknown key"),
        ("methods: beam\n", "methods must be a list"),
        ("methods: [{name: x}]\n", "a method has an algorithm"),
        ("methods: [{algorithm: beam, setings: {}}]\n", "did you mean 'settings'"),
        ("budgets: [4.5]\n", "a budget must be a whole number of tokens"),
        ("budgets: [-3]\n", "a budget must be a whole number of tokens"),
        ("seeds: 0\n", "seeds must be at least 1"),
        ("seeds: many\n", "seeds must be how many"),
        ("settings: {width: 6}\n", "the setting width belongs to a method"),
        ("settings: {value.n: 6}\n", "the setting value.n belongs to a method"),
        ("settings: [6]\n", "settings must be keys and values"),
        ("methods: [{algorithm: beam, settings: 6}]\n", "settings must be keys and values"),
        ("methods: [{algorithm: beam, settings: {1: 6}}]\n", "unknown setting of beam '1'"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=told) as caught:
        settle(read_wanted({}, file))
    assert "\n" not in str(caught.value)


def test_a_mistyped_python_argument_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'policy'"):
        ts.compare(["beam"], polcy="embedded")


# -- running ----------------------------------------------------------------------------------------------


def test_every_cell_is_an_ordinary_run_on_one_engine_and_spends_its_budget(
    opened: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    found = run(config("beam", "dvts", "mcts:value=rollout"), Path("c"))
    assert len(opened) == 1
    assert (found.content["n_done"], found.content["n_cells"]) == (20, 20)
    for row in found.rows:
        assert row["n_budget_stops"] == 12, row["name"]
        assert row["tokens_per_problem"] == row["budget_tokens"]
        assert row["engine_tokens"] == 12 * row["budget_tokens"]
    searched = [row for row in found.rows if row["name"] != "self-consistency"]  # it answers from best-of-n's
    assert sum(row["engine_tokens"] for row in searched) == opened[0].usage.generated_tokens
    run_folder = str(Path("c") / row_of(found, "beam", 600)["runs"][1])
    code, out, _ = search(capsys, "show", run_folder, "--json")
    shown = json.loads(out)
    assert (code, shown["state"]) == (ExitCode.DONE, "finished")
    assert shown["config"]["seed"] == {"value": 1, "origin": "comparison"}
    assert shown["config"]["settings"]["value"] == SETTINGS | {"rounds": None}


def test_the_rows_are_what_the_results_of_the_runs_come_to() -> None:
    found = run(config("best-first", seeds=3), Path("c"))
    base: list[dict[str, bool]] = []
    for row in found.rows:
        right = [
            {line["id"]: line["verdict"] == "correct" for line in read_results(Path("c") / name)}
            for name in row["runs"]
        ]
        means = [sum(seed[problem] for seed in right) / 3 for problem in right[0]]
        assert row["accuracy"] == pytest.approx(sum(means) / 6)
        assert row["accuracy_ci95"] == pytest.approx(mean_interval(means, per_problem=3))
        if row["name"] == "self-consistency":
            assert row["difference"] is None
            base = right
            continue
        steps = [sum(s[p] - b[p] for s, b in zip(right, base, strict=True)) for p in right[0]]
        assert row["difference"]["accuracy"] == pytest.approx(sum(steps) / 18)
        assert row["difference"]["p"] == paired_p(steps) <= row["difference"]["p_holm"]
    assert json.loads(Path("c/comparison.json").read_text()) == found.content
    assert found.table() == Path("c/table.md").read_text()


def test_a_finished_comparison_opens_no_engine_and_changes_nothing(opened: list[Any]) -> None:
    first = run(config("beam"), Path("c"))
    assert run(config("beam"), Path("c")).content == first.content
    assert len(opened) == 1


@pytest.mark.parametrize("stop_after", [1, 9, 40])
def test_one_that_was_cut_short_goes_on_to_the_same_rows(stop_after: int, opened: list[Any]) -> None:
    asked = config("beam", "adaptive-self-consistency")
    whole = run(asked, Path("whole"))

    async def cut() -> None:
        job = asyncio.ensure_future(run_comparison(asked, Path("cut")))
        while not opened[1:] or opened[1].usage.requests < stop_after * 3:
            await asyncio.sleep(0)
        job.cancel()
        await asyncio.wait([job])
        assert job.cancelled()

    asyncio.run(cut())
    before = read_comparison(Path("cut"))
    assert before == read_comparison(Path("whole"))
    done = [cell for cell in cells(asked) if cell.done(Path("cut"))]
    assert len(done) < len(cells(asked))
    kept = {cell.name: (cell.folder(Path("cut")) / "journal/0000.jsonl").read_bytes() for cell in done}
    assert essence(run(asked, Path("cut"))) == essence(whole)
    for name, journal in kept.items():
        assert (Path("cut/runs") / name / "journal/0000.jsonl").read_bytes() == journal
    for cell in cells(asked):
        torn, calm = (read_results(cell.folder(Path(name))) for name in ("cut", "whole"))
        assert [[r["id"], r["answer"], r["usage"]] for r in sorted(torn, key=lambda r: r["id"])] == [
            [r["id"], r["answer"], r["usage"]] for r in sorted(calm, key=lambda r: r["id"])
        ]


def test_methods_that_only_answer_otherwise_are_searched_once_and_answer_as_if_searched(
    opened: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ranked = "best-of-n:answer=borda,name=ranked"  # asks for self-certainty, so its steps are others
    asked = config("best-of-n:value=logprob,answer=vote,name=voted", ranked, seeds=1)
    before = asyncio.run(forecast(asked, Path("shared")))
    assert {(one.method, one.tokens) for one in before.cells if one.basis == "shared"} == {
        ("self-consistency", 0),
        ("voted", 0),
    }
    shared = run(asked, Path("shared"))
    with monkeypatch.context() as patch:
        patch.setattr("treesearch.comparison.sharing.answers_from", lambda *_: False)
        alone = run(asked, Path("alone"))
    clock = ("seconds", "run", "tokens_per_second", "trees_of")
    for cell in cells(asked):
        ours, theirs = (cell.folder(Path(name)) for name in ("shared", "alone"))
        told = [
            {k: v for k, v in cell.summary(Path(name)).items() if k not in clock}
            for name in ("shared", "alone")
        ]
        assert told[0] == told[1]
        assert trees(ours) == trees(theirs)
        source = f"best-of-n-{cell.budget}-s0"
        searched = source if cell.method.name in ("voted", "self-consistency") else None
        assert cell.summary(Path("shared")).get("trees_of") == searched
        answers = [
            {row["id"]: (row["answer"], row["verdict"]) for row in read_results(at)} for at in (ours, theirs)
        ]
        assert answers[0] == answers[1]
    assert [row["accuracy"] for row in shared.rows] == [row["accuracy"] for row in alone.rows]
    assert opened[0].usage.requests < opened[1].usage.requests
    assert run(asked, Path("shared")).content == shared.content


def test_a_search_of_ones_own_shares_no_trees_with_what_it_is_derived_from() -> None:
    class Own(SelfConsistency):
        pass

    plans = prepare_cells(config(seeds=1, budgets=[300]))
    vote, best = (plans[f"{name}-300-s0"] for name in BASELINES)
    own = replace(vote.resolved, config=replace(vote.resolved.config, algorithm="own"))
    assert answers_from(vote, best)
    assert not answers_from(best, vote)
    assert not answers_from(replace(vote, algorithm=Own(n=None), resolved=own), best)


def test_a_comparison_grows_and_keeps_what_it_has(opened: list[Any]) -> None:
    first = run(config("beam", budgets=[300], seeds=1), Path("c"))
    stored = read_comparison(Path("c"))
    grown = run(config("dvts", stored=stored, budgets=[600], seeds=2), Path("c"))
    assert grown.content["n_cells"] == 4 * 2 * 2
    again = run(settle(read_wanted({}), read_comparison(Path("c"))), Path("c"))
    assert again.content == grown.content
    assert len(opened) == 2
    assert row_of(first, "beam", 300)["runs"][0] in row_of(grown, "beam", 300)["runs"]


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"limit": 3}, "limit: None there, 3 now"),
        ({"task": "countdown"}, "task: 'math' there, 'countdown' now"),
        ({"settings": {"policy.temperature": 0.1}}, "settings: "),
        ({"methods": ["mcts:name=beam"]}, "method beam: beam with .* there, mcts with .* now"),
    ],
    ids=["limit", "task", "settings", "method"],
)
def test_another_comparison_is_refused_and_what_differs_is_said(flags: dict[str, Any], told: str) -> None:
    run(config("beam", budgets=[300], seeds=1), Path("c"))
    with pytest.raises(UsageError, match=f"another comparison is there: {told}"):
        settle(read_wanted(flags), read_comparison(Path("c")))
    same = read_wanted({"data": "maths.jsonl", "concurrency": 2, "settings": {"policy.step_tokens": "20"}})
    assert settle(same, read_comparison(Path("c"))).common.config.concurrency == 2


def test_other_problems_a_foreign_folder_and_a_damaged_file_are_refused() -> None:
    asked = config("beam", budgets=[300], seeds=1)
    run(asked, Path("c"))
    Path("maths.jsonl").write_text('{"id": "x", "question": "Why?", "answer": "1"}\n')
    with pytest.raises(UsageError, match="the problems are not the same"):
        run(asked, Path("c"))
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("do not touch")
    with pytest.raises(UsageError, match="is not empty and holds no comparison"):
        run(asked, Path("mine"))
    assert os.listdir("mine") == ["thesis.txt"]
    Path("c/comparison.json").write_text("{}")
    with pytest.raises(DataError, match="damaged"):
        read_comparison(Path("c"))


def test_other_weights_are_refused_before_anything_is_run(opened: list[Any]) -> None:
    asked = config("beam", budgets=[300], seeds=1)
    run(asked, Path("c"))
    header = Path("c/runs/beam-300-s0/run.json")
    header.write_text(header.read_text().replace('"model_hash": ""', '"model_hash": "other"'))
    more = settle(read_wanted({"seeds": 2}), read_comparison(Path("c")))
    with pytest.raises(UsageError, match="the model's weights are not the same"):
        run(more, Path("c"))
    assert opened[1].usage.requests == 0


def test_failed_problems_count_as_wrong_and_are_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = config("beam", budgets=[300], seeds=1)
    whole = run(asked, Path("whole"))

    def fails(self: Any, prompt: str, params: ts.SamplingParams) -> None:
        if "How much is 3?" in prompt:
            raise ts.EngineError("down")

    with monkeypatch.context() as patch:
        patch.setattr(ts.ScriptedEngine, "_maybe_fail", fails)
        first = run(asked, Path("c"))
    assert first.n_errors == 3
    assert [(row["n_errors"], row["n_problems"], row["stops"]["error"]) for row in first.rows] == [
        (1, 6, 1)
    ] * 3
    assert essence(run(asked, Path("c"))) == essence(whole)


def test_tokens_of_cancelled_requests_are_not_hidden() -> None:
    asked = config("adaptive-self-consistency:name=fast,speculate=true,threshold=0.5", budgets=[2000])
    found = run(asked, Path("c"))
    row = row_of(found, "fast", 2000)
    in_trees = row["usage"]["generated_tokens"]
    assert row["n_cancelled"] >= 12
    assert row["stops"] == {"confident": 12}
    assert row["engine_tokens"] > 2 * in_trees
    assert row["tokens_per_problem"] == row["engine_tokens"] / 12
    assert "by the engine's own count" in found.table()


def test_settings_of_the_policy_may_differ_between_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    asked_for: set[float] = set()
    real = ts.ScriptedEngine.sample

    async def spied(self: Any, prompt_ids: Any, n: int, params: ts.SamplingParams) -> list[ts.Sample]:
        asked_for.add(params.temperature)
        return await real(self, prompt_ids, n, params)

    monkeypatch.setattr(ts.ScriptedEngine, "sample", spied)
    cold = "self-consistency:name=cold,policy.temperature=0.25"
    run(config(cold, settings=SETTINGS | {"policy.temperature": 0.75}, budgets=[300]), Path("c"))
    assert asked_for == {0.25, 0.75}


def test_an_oracle_is_marked_and_a_task_without_golds_has_no_accuracy() -> None:
    found = run(config("best-of-n:value=verifier", budgets=[600]), Path("c"))
    assert [row["oracle"] for row in found.rows] == [False, False, True]
    assert "best-of-n:value=verifier (oracle)" in found.table()
    Path("maths.jsonl").write_text(json.dumps({"id": "a", "question": "Why?", "answer": "7" * 100_000}))
    blind = run(config("beam", budgets=[300]), Path("d"))
    assert {row["accuracy"] for row in blind.rows} == {None}
    assert {row["difference"] for row in blind.rows} == {None}
    assert blind.lacking == "no plot: no method has an accuracy and spent tokens"


def test_python_users_get_the_same_and_are_told_inside_a_running_loop() -> None:
    shared = {"engine": "scripted", "policy": "script", "data": "maths.jsonl", "settings": SETTINGS}
    found = ts.compare(["beam"], budgets=[300], out="c", **shared)
    assert [row["name"] for row in found.rows] == [*BASELINES, "beam"]

    async def inside() -> None:
        ts.compare(["beam"])

    with pytest.raises(UsageError, match=r"await treesearch\.acompare"):
        asyncio.run(inside())


# -- forecast ---------------------------------------------------------------------------------------------


def test_a_forecast_is_exact_at_most_and_spends_nothing(opened: list[Any], tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    found = asyncio.run(forecast(config("beam", "mcts", "greedy"), tokens_per_second=100.0))
    content = found.to_json()
    assert not opened
    assert sorted(tmp_path.rglob("*")) == before
    assert content["most_tokens"] == 6 * (300 + 600) * 4 * 2
    by_method = {cell["method"]: cell for cell in content["cells"] if cell["budget"] == 600}
    assert by_method["beam"]["tokens"] == by_method["beam"]["most_tokens"] == 3600
    assert by_method["greedy"]["tokens"] == 6 * 120 // 2  # one solution a problem, half as long as it may be
    assert by_method["beam"]["calls"] == round(3600 / (4 * 4 * 20 / 2))
    assert by_method["greedy"]["calls"] == 6
    assert content["seconds"] == round(content["tokens"] / 100, 1)


def test_a_forecast_learns_from_finished_cells_and_leaves_them_out() -> None:
    fast = "adaptive-self-consistency:name=fast,threshold=0"
    run(config(fast, budgets=[600], seeds=1), Path("c"))
    grown = settle(read_wanted({"budgets": [1200]}), read_comparison(Path("c")))
    found = asyncio.run(forecast(grown, Path("c")))
    assert (found.n_cells, len(found.cells)) == (6, 3)
    assert [cell.basis for cell in found.cells] == ["shared", "measured", "measured"]
    cell = next(cell for cell in found.cells if cell.method == "fast")
    summary = Cell(method=grown.methods[2], budget=600, seed=0).summary(Path("c"))
    assert cell.tokens == 2 * summary["usage"]["generated_tokens"] < cell.most_tokens / 2
    assert found.seconds is not None


def test_a_forecast_counts_only_the_problems_that_are_left() -> None:
    asked = config("beam", budgets=[300], seeds=1)
    run(asked, Path("c"))
    folder = cells(asked)[2].folder(Path("c"))
    lines = (folder / "results.jsonl").read_text().splitlines(keepends=True)
    (folder / "results.jsonl").write_text("".join(lines[:4]))
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps(summary | {"finished": False}))
    (cell,) = asyncio.run(forecast(asked, Path("c"))).cells
    assert (cell.method, cell.problems, cell.most_tokens) == ("beam", 2, 600)


@pytest.mark.parametrize("name", names("algorithm"))
def test_the_probe_for_a_forecast_leaves_no_task_behind(name: str) -> None:
    async def probed() -> None:
        await forecast(config(name))
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(probed())


# -- plot -------------------------------------------------------------------------------------------------


def test_the_plot_is_a_picture_with_a_line_for_every_method(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found = run(config("beam", "best-of-n:value=verifier"), Path("c"))
    assert Path("c/plot.png").read_bytes().startswith(b"\x89PNG")
    lines = method_lines(found.content)
    assert list(lines) == [*BASELINES, "beam", "best-of-n:value=verifier"]
    assert [[row["budget_tokens"] for row in line] for line in lines.values()] == [[300, 600]] * 4
    assert (found.lacking, os.listdir("c").count("plot.png.new")) == ("", 0)


def test_without_matplotlib_the_plot_is_left_out_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingPrerequisiteError, match="plot"):
        draw({"rows": [], "config": {"methods": []}}, Path("p.png"))
    found = run(config("beam", budgets=[300]), Path("c"))
    assert found.lacking == "no plot: it needs matplotlib; run: pip install 'treesearch-toolkit[plot]'"
    assert not Path("c/plot.png").exists()


# -- the command ------------------------------------------------------------------------------------------


def test_the_command_prints_a_table_and_where_it_wrote(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["compare", *FLAGS, "--method", "beam", "--budgets", "300", "--out", "c"]
    code, out, err = search(capsys, *words)
    assert code == ExitCode.DONE
    assert out.splitlines()[0].split()[:3] == ["method", "budget", "accuracy"]
    assert [line.split()[0] for line in out.splitlines()[1:4]] == [*BASELINES, "beam"]
    assert "McNemar's exact test" in out
    assert "written: c/comparison.json, c/table.md" in out
    assert "[3/3] beam, 300 tokens, seed 0: c/runs/beam-300-s0" in err
    assert search(capsys, "compare", "--out", "c")[1] == out


def test_the_command_gives_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["compare", *FLAGS, "--method", "beam", "--budgets", "300", "--out", "c", "--json"]
    code, out, _ = search(capsys, *words)
    assert (code, out.count("\n")) == (ExitCode.DONE, 1)
    found = json.loads(out)
    assert found.pop("out") == "c"
    assert found == json.loads(Path("c/comparison.json").read_text())


@given(st.lists(st.integers(1, 30), min_size=3, max_size=14), st.integers(60, 200))
def test_tables_of_a_terminal_hold_every_column_once_and_fit(widths: list[int], most: int) -> None:
    parts = fitting(widths, most)
    assert [column for part in parts for column in part[2:]] == list(range(2, len(widths)))
    for part in parts:
        assert part[:2] == [0, 1]
        first = min(widths[0], max(16, most // 3))
        assert first + sum(widths[c] for c in part[1:]) + 2 * len(part) <= most or len(part) == 3


def test_without_out_a_new_folder_is_made(capsys: pytest.CaptureFixture[str]) -> None:
    search(capsys, "compare", *FLAGS, "--budgets", "300")
    (made,) = Path("comparisons").iterdir()
    assert made.name.startswith("math-")


def test_a_dry_run_prints_totals_and_writes_nothing(
    capsys: pytest.CaptureFixture[str], opened: list[Any]
) -> None:
    words = ["compare", *FLAGS, "--method", "beam", "--seeds", "2", "--budgets", "300", "--dry-run"]
    code, out, err = search(capsys, *words, "--out", "c")
    assert (code, err) == (ExitCode.DONE, "")
    assert "at most 7,200 tokens; expected 7,200" in out
    assert "time unknown" in out
    assert "time 1:12 at 100 tokens/s" in search(capsys, *words, "--tokens-per-second", "100")[1]
    assert json.loads(search(capsys, *words, "--json")[1])["most_tokens"] == 7_200
    assert not opened
    assert os.listdir() == ["maths.jsonl"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--method", "bream"], "unknown algorithm 'bream'; did you mean 'beam'?"),
        (["--method", "beam:widht=2"], "unknown setting of beam 'widht'"),
        (["--budgets", "lots"], "a budget must be a whole number of tokens such as 4000 or 4k, got 'lots'"),
        (["--config", "none.yaml"], "config file 'none.yaml' cannot be read: No such file"),
        (["--config", "."], "config file '.' cannot be read"),
        (["--dry-run", "--tokens-per-second", "0"], "tokens_per_second must be above 0, got 0.0"),
        (["--dry-run", "--tokens-per-second", "nan"], "tokens_per_second must be above 0"),
        (["--task", "maths"], "unknown task 'maths'; did you mean 'math'?"),
        (["--metod", "beam"], "unknown option '--metod'; did you mean '--method'?"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    code, out, err = search(capsys, "compare", *words)
    assert (code, out, err.count("\n")) == (ExitCode.USAGE, "", 1)
    assert told in err


def test_failures_end_with_exit_code_3_and_the_command_that_tries_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["compare", *FLAGS, "--set", "engine.fault_rate=1", "--budgets", "300", "--out", "c"]
    code, out, err = search(capsys, *words)
    assert code == ExitCode.PROBLEMS_FAILED
    assert "12 problems failed and count as not right." in out
    assert "to try them again: search compare --out c" in err


def test_ctrl_c_prints_the_command_that_goes_on_and_it_does() -> None:
    slow = [*FLAGS, "--set", "engine.latency_s=0.05", "--budgets", "300", "--out", "c", "--limit", "3"]
    start = [sys.executable, "-m", "treesearch.cli", "compare"]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    popen = subprocess.Popen(
        [*start, *slow], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    journal = Path("c/runs/self-consistency-300-s0/journal/0000.jsonl")
    deadline = time.monotonic() + 60
    while not (journal.exists() and journal.stat().st_size):
        assert time.monotonic() < deadline, "the comparison wrote nothing"
        time.sleep(0.02)
    popen.send_signal(signal.SIGINT)
    _, err = popen.communicate(timeout=60)
    assert popen.returncode == ExitCode.INTERRUPTED
    assert err.splitlines()[-1] == "interrupted; go on with: search compare --out c"
    assert main(["compare", "--out", "c"]) == ExitCode.DONE
    assert json.loads(Path("c/comparison.json").read_text())["n_done"] == 2


# -- the page ---------------------------------------------------------------------------------------------


def page() -> str:
    return (ROOT / "docs" / "compare.md").read_text(encoding="utf-8")


def first_cells(header: str) -> Iterator[list[str]]:
    """The names in the first column of the table with this header."""
    table = page().split(f"| {header} |", 1)[1].split("\n\n")[0].splitlines()[2:]
    return (re.findall(r"`([^`]+)`", line.split(" | ")[0]) for line in table)


def test_the_page_lists_every_key_of_a_row_and_of_the_file() -> None:
    found = run(config("beam", budgets=[300]), Path("c"))
    listed = {name for cell in first_cells("key") for name in cell}
    assert all(set(row) == listed for row in found.rows)
    for key in (*found.content, *(found.rows[1]["difference"])):
        assert f"`{key}`" in page()


def test_the_page_says_how_every_algorithm_spends_its_budget() -> None:
    said = page().split("| algorithm |", 1)[1].split("\n\n")[0].splitlines()[2:]
    listed: dict[str, set[str]] = {}
    for line in said:
        algorithms, added, _ = line.strip("|").split(" | ")
        for name in re.findall(r"`([^`]+)`", algorithms):
            listed[name] = set(re.findall(r"`([^`]+)`", added))
    assert listed == {
        name: {
            f"{key}={'none' if value is None else value}"
            for key, value in find("algorithm", name).until_budget.items()
        }
        for name in TABLES["algorithm"]
    }


def test_the_page_names_every_option_and_its_file_is_read(tmp_path: Path) -> None:
    from typer.main import get_command

    from treesearch.cli.app import app

    for option in get_command(app).commands["compare"].params:  # type: ignore[attr-defined]
        assert option.opts[0] in page(), option.name
    block = re.search(r"^```yaml\n(.*?)^```", page(), re.DOTALL | re.MULTILINE)
    assert block is not None
    file = tmp_path / "config.yaml"
    file.write_text(block.group(1))
    found = settle(read_wanted({}, file))
    assert [method.name for method in found.methods] == [*BASELINES, "beam", "wide mcts"]
    assert (found.budgets, found.seeds) == ((1000, 4000, 16000), (0, 1, 2))
