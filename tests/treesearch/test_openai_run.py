"""Whole runs against a server: through faults, to the same results, on an exact bill; the command line."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from fake_server import BEFORE, FakeServer
from test_openai_engine import CANARY, check_bill

import treesearch as ts
from tasks.errors import MissingPrerequisiteError, UsageError
from treesearch.cli import ExitCode, main
from treesearch.engines import openai
from treesearch.engines.base import EngineUsage
from treesearch.engines.scripted import CharTokenizer
from treesearch.run.config import RunConfig, from_json, resolve
from treesearch.run.plan import prepare
from treesearch.run.session import Outcome, open_plan, search_plan

PROBLEMS = 40
SETTINGS: dict[str, Any] = {
    "policy.step_tokens": 20,
    "policy.solution_tokens": 100,
    "engine.backoff_s": 0.001,
    "engine.timeout_s": 20,
}


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    # No answer of the script needs the symbolic grader, whose process takes seconds to start.
    monkeypatch.setattr("treesearch.run.session.prewarm", lambda: None)
    rows = [{"id": f"m{i}", "question": f"How much is {i}?", "answer": str(i % 4)} for i in range(PROBLEMS)]
    (tmp_path / "maths.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def run(url: str, folder: str, **flags: Any) -> tuple[Outcome, EngineUsage]:
    """Search into `folder`; the outcome, and the engine's own count."""
    settings = SETTINGS | flags.pop("settings", {})
    flags = {"data": "maths.jsonl", "policy": url, "budget_tokens": 200, "settings": settings} | flags

    async def search() -> tuple[Outcome, EngineUsage]:
        plan = prepare(resolve(flags))
        async with open_plan(plan) as policy:
            return await search_plan(plan, policy, Path(folder)), replace(policy.engine.usage)

    return asyncio.run(search())


def essence(outcome: Outcome) -> dict[str, Any]:
    """What must be the same however the replies came."""
    return {
        row["id"]: {key: row[key] for key in ("answer", "verdict", "usage", "error")} for row in outcome.rows
    }


@pytest.mark.parametrize(
    ("algorithm", "tokenizer"),
    [("mcts", "characters"), ("self-consistency", "none")],
    ids=["mcts on token ids", "self-consistency on text"],
)
def test_a_fifth_of_faults_changes_no_result_and_the_bill_is_exact(
    algorithm: str, tokenizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai, "load_tokenizer", lambda source: (CharTokenizer(), ""))
    flags = {"algorithm": algorithm, "settings": {"engine.tokenizer": tokenizer}}
    with FakeServer(kind="vllm") as server:
        calm, _ = run(server.url, "calm", **flags)
    faults = {"fault_rate": 0.2, "seed": 1, "latency_s": 0.004, "drip_s": 0.0}
    with FakeServer(kind="vllm", **faults) as server:
        outcome, usage = run(server.url, "faulty", **flags)
        assert sum(server.met[fault] for fault in server.met if fault) > 20
        assert len(server.met) > 10
        check_bill(usage, server)
    assert len(outcome.rows) == PROBLEMS
    assert essence(outcome) == essence(calm)
    spent = [row["usage"] for row in outcome.rows]
    assert sum(u["generated_tokens"] + u["value_tokens"] for u in spent) == usage.generated_tokens
    assert sum(u["prompt_tokens"] for u in spent) == usage.prompt_tokens
    assert sum(u["calls"] for u in spent) == usage.requests
    assert outcome.summary["n_errors"] == 0
    assert outcome.summary["engine"] == asdict(usage)


@pytest.mark.parametrize("kind", ["llama.cpp", "openai", "bare"])
def test_a_fifth_of_broken_streams_changes_no_result_and_every_retry_is_counted(kind: str) -> None:
    flags: dict[str, Any] = {"algorithm": "mcts", "limit": 12}
    with FakeServer(kind=kind) as server:
        calm, _ = run(server.url, "calm", **flags)
    faults = (*BEFORE, "torn", "half")
    with FakeServer(kind=kind, fault_rate=0.2, faults=faults, seed=1, latency_s=0.004) as server:
        outcome, usage = run(server.url, "faulty", **flags)
        server.wait_idle()
    assert outcome.summary["n_errors"] == 0
    assert essence(outcome) == essence(calm)
    assert server.count("broken") > 3
    assert usage.retries == sum(server.count(what) for what in ("refused", "unsent", "hidden", "broken"))
    assert usage.requests == len(server.bills) - usage.retries
    assert usage.failed_tokens == server.total("broken", "generated")


@pytest.mark.parametrize("algorithm", ["mcts", "self-consistency"])
def test_problems_whose_requests_stay_broken_are_reported_and_the_others_finish(algorithm: str) -> None:
    faults = {"fault_rate": 0.2, "seed": 1, "drip_s": 0.0}
    with FakeServer(kind="vllm", **faults) as server:
        outcome, first = run(server.url, "run", algorithm=algorithm, settings={"engine.attempts": 2})
        failed = [row for row in outcome.rows if row["error"]]
        assert 0 < len(failed) < len(outcome.rows) == PROBLEMS
        assert all("gave up after 2 attempts" in row["error"] for row in failed)
        server.fault_rate = 0.0
        again, second = run(server.url, "run", algorithm=algorithm, settings={"engine.attempts": 2})
    assert len(again.rows) == PROBLEMS
    assert again.summary["n_errors"] == 0
    parts = asdict(first), asdict(second)
    assert again.summary["engine"] == {name: sum(part[name] for part in parts) for name in parts[0]}
    assert again.summary["engine_tokens"] == sum(p["generated_tokens"] + p["failed_tokens"] for p in parts)


def test_the_summary_tells_what_retries_cost(capsys: pytest.CaptureFixture[str]) -> None:
    with FakeServer(first=["500", "usage", "torn"]) as server:
        words = ["solve", "--policy", server.url, "--data", "maths.jsonl", "--limit", "2", *settings()]
        code, out, _ = search(capsys, *words, "--run", "r")
        cost = server.total("shown", "generated") + server.total("shown", "prompt")
    assert code == ExitCode.DONE
    assert f"retries   3 attempts made again; failed ones cost {cost:,} tokens; 1 did not say" in out


@pytest.mark.parametrize("kind", ["llama.cpp", "bare"])
def test_a_server_that_tells_little_is_searched_all_the_same(kind: str) -> None:
    with FakeServer(kind=kind) as server:
        outcome, usage = run(server.url, "run", limit=6)
        server.wait_idle()
        assert outcome.summary["n_errors"] == 0
        assert usage.requests == len(server.bills)
        assert usage.generated_tokens <= sum(bill.generated for bill in server.bills)
    assert len(outcome.rows) == 6


# -- the command line and Python ----------------------------------------------------------------------------


def search(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main([*words])
    out, err = capsys.readouterr()
    return code, out, err


def settings() -> list[str]:
    words = [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]
    return [*words, "--budget-tokens", "200"]


def test_a_policy_may_be_an_address_and_run_json_holds_the_engine_that_was_chosen(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with FakeServer(models=("toy", "other")) as server:
        words = ["solve", "--policy", server.url, "--data", "maths.jsonl", "--limit", "3", *settings()]
        code, _, err = search(capsys, *words, "--run", "r")
        assert code == ExitCode.USAGE
        assert "--model; it serves other, toy" in err
        assert not Path("r").exists()
        code, out, err = search(capsys, *words, "--run", "r", "--model", "toy", "--json")
        assert code == ExitCode.DONE, err
        assert json.loads(out)["n_problems"] == 3
        config = json.loads(Path("r/run.json").read_text())["config"]
        assert config["engine"] == {"value": "openai", "origin": "default"}
        assert config["policy"] == {"value": server.url, "origin": "flag"}
        assert config["model"] == {"value": "toy", "origin": "flag"}
        assert json.loads(Path("r/run.json").read_text())["model_hash"] == "served:toy"
        code, _, err = search(capsys, *words, "--run", "r", "--model", "other")
        assert code == ExitCode.USAGE
        assert "model: 'toy' in the run, 'other' now" in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--model", "m"], "--model names one of a server's models"),
        (["--engine-args", "--x 1"], "--engine-args is for the engine 'vllm'"),
        (["--policy", "http://h:1", "--engine-args", "--x 1"], "--engine-args is for the engine 'vllm'"),
        (["--policy", "http://h:1", "--engine", "transformers"], "leave --engine out"),
        (["--engine", "openai"], "--policy http://HOST:PORT/v1"),
        (["--policy", "http://me:secret@h:1"], "must hold no user"),
        (["--policy", "http://h:1?key=secret"], "must hold no user"),
        (["--engine", "opnai"], "did you mean 'openai'"),
    ],
)
def test_what_does_not_go_together_is_one_line_that_says_so(
    capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    code, out, err = search(capsys, "solve", "What is 1 + 1?", *words, "--run", "r")
    assert (code, out, err.count("\n")) == (ExitCode.USAGE, "", 1)
    assert told in err
    assert "secret" not in err
    assert not Path("r").exists()


def test_what_needs_self_certainty_is_refused_before_the_search(capsys: pytest.CaptureFixture[str]) -> None:
    with FakeServer() as server:
        for words in (["--value", "self-certainty"], ["--set", "policy.certainty=true"]):
            code, _, err = search(
                capsys,
                "solve",
                "--policy",
                server.url,
                "--data",
                "maths.jsonl",
                *words,
                *settings(),
                "--run",
                "r",
            )
            assert code == ExitCode.USAGE
            assert "self-certainty" in err
            assert not Path("r").exists()
        assert not server.bodies


def test_no_server_is_a_missing_prerequisite(capsys: pytest.CaptureFixture[str]) -> None:
    with FakeServer() as server:
        url = server.url
    code, out, err = search(capsys, "solve", "What is 1 + 1?", "--policy", url, *settings())
    assert (code, out) == (MissingPrerequisiteError.exit_code, "")
    assert f"no server answers at {url}" in err


def test_the_key_is_in_no_file_of_a_run_and_in_no_message(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    with FakeServer(key=CANARY, fault_rate=0.3, seed=3, drip_s=0.0) as server:
        words = ["solve", "--policy", server.url, "--data", "maths.jsonl", "--limit", "5", *settings()]
        said = search(capsys, *words, "--run", "r", "--set", "engine.attempts=2")
        assert len(server.bills) > 5
        server.key = "changed"
        said += search(capsys, *words, "--run", "r2")
    assert CANARY not in str(said)
    assert CANARY not in caplog.text
    files = [path for path in Path("r").rglob("*") if path.is_file()]
    assert len(files) >= 4
    assert not [path for path in files if CANARY.encode() in path.read_bytes()]


def test_python_searches_by_address_and_model_and_keeps_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("treesearch.api._open", {})
    with FakeServer(models=("toy", "other")) as server:
        for _ in range(2):  # two event loops, one after the other
            found = ts.solve("How far?", policy=server.url, model="other", algorithm=ts.SelfConsistency(n=3))
            assert found.answer in {"0", "1", "2", "3"}
        assert len([headers for headers in server.headers if "content-length" not in headers]) == 1
        assert {body["model"] for body in server.bodies} == {"other"}
        with pytest.raises(UsageError, match="--model"):
            ts.solve("How far?", policy=server.url)


def test_a_run_of_an_older_version_is_read_with_the_defaults_of_newer_settings() -> None:
    stored = resolve({"task": "countdown"}).to_json()
    for name in ("model", "engine_args"):
        del stored[name]
    stored["engine"] = {"value": "transformers", "origin": "default"}
    old = from_json(stored)
    assert old.config == replace(RunConfig(task="countdown"), engine="transformers")
    assert old.to_json() == resolve({"task": "countdown"}).to_json()
    assert resolve({"policy": "https://h/v1"}).config.engine == "openai"
    assert resolve({"policy": "https://h/v1", "engine": "scripted"}).config.engine == "scripted"


def test_an_address_is_not_made_a_path_and_a_tokenizer_folder_is_made_absolute(tmp_path: Path) -> None:
    (tmp_path / "tok").mkdir()
    plan = prepare(
        resolve({"policy": "http://h/v1", "question": "?", "settings": {"engine.tokenizer": "tok"}})
    )
    assert plan.resolved.config.policy == "http://h/v1"
    assert plan.resolved.config.settings["engine.tokenizer"] == str(tmp_path / "tok")
    (tmp_path / "treesearch.json").write_text('{"note": "not this one"}')
    assert prepare(resolve({"policy": "http://h/v1", "question": "?"})).note == ""
