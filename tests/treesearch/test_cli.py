"""The command `search`: its output, its exit codes, its messages. The engine is the scripted one."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import DataError, MissingPrerequisiteError, UsageError
from treesearch.cli import ExitCode, doctor, main, options
from treesearch.cli.terminal import clean, one_line

ROOT = Path(__file__).parents[2]
SCRIPTED = ["--engine", "scripted", "--policy", "script", "--set", "policy.step_tokens=20"]
SCRIPTED += ["--set", "policy.solution_tokens=200"]
SLOW = [*SCRIPTED, "--set", "engine.latency_s=0.05", "--budget-tokens", "2k"]


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SEARCH_DEBUG", raising=False)
    # No answer of the script needs the symbolic grader, whose process takes seconds to start.
    monkeypatch.setattr("treesearch.run.session.prewarm", lambda: None)


@pytest.fixture
def countdown(tmp_path: Path) -> str:
    """Four puzzles."""
    puzzles = [[1, 2, 7, 11], [3, 9, 11, 12], [4, 8, 9, 11], [2, 3, 4, 5]]
    rows = [{"id": f"p{i}", "numbers": numbers, "target": 24} for i, numbers in enumerate(puzzles)]
    path = tmp_path / "countdown.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def maths(tmp_path: Path) -> str:
    """Questions with the golds 0 to 3, which the script answers by chance."""
    rows = [{"id": f"m{i}", "question": f"How much is {i}?", "answer": str(i)} for i in range(4)]
    path = tmp_path / "maths.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def search(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main([*words])
    out, err = capsys.readouterr()
    return code, out, err


def solve_json(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    code, out, err = search(capsys, "solve", *SCRIPTED, "--json", *words)
    assert code == ExitCode.DONE, err
    assert out.count("\n") == 1
    return json.loads(out)


def one_error_line(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    code, out, err = search(capsys, *words)
    assert code == ExitCode.USAGE
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("error: ")
    return err


def start(*words: str, cwd: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "treesearch.cli", *words],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_journal(folder: Path) -> None:
    """Until the run has written something that a kill must not lose."""
    journal = folder / "journal" / "0000.jsonl"
    deadline = time.monotonic() + 30
    while not (journal.exists() and journal.stat().st_size):
        assert time.monotonic() < deadline, "the run wrote nothing"
        time.sleep(0.02)


# -- solve ------------------------------------------------------------------------------------------------


def test_solve_reports_accuracy_usage_and_the_run_as_one_json_object(
    capsys: pytest.CaptureFixture[str], countdown: str
) -> None:
    found = solve_json(capsys, "--task", "countdown", "--data", countdown, "--budget-tokens", "0.5k")
    assert found["n_problems"] == 4
    assert found["accuracy"] == 0.0
    assert found["accuracy_ci95"][0] == 0.0
    assert found["n_errors"] == 0
    usage = found["usage"]
    assert set(usage) == {"generated_tokens", "prompt_tokens", "value_tokens", "calls", "nodes"}
    assert 0 < usage["generated_tokens"] + usage["value_tokens"] <= 4 * 500
    assert Path(found["run"]).parent == Path("runs")
    assert json.loads((Path(found["run"]) / "summary.json").read_text()) == found


def test_the_summary_for_people_has_accuracy_interval_tokens_by_role_and_speed(
    capsys: pytest.CaptureFixture[str], maths: str
) -> None:
    words = ["--data", maths, "--algorithm", "self-consistency", "--budget-tokens", "1k", "--run", "r"]
    code, out, err = search(capsys, "solve", *SCRIPTED, *words)
    assert code == ExitCode.DONE
    for part in ("accuracy", "95 % interval", "generated", "for values", "of prompts", "tokens/s", "r"):
        assert part in out
    assert "4 math problems (maths.jsonl): self-consistency, value none" in err
    assert "oracle" not in out


def test_a_result_made_with_the_gold_says_that_it_is_no_result(
    capsys: pytest.CaptureFixture[str], maths: str
) -> None:
    words = ["--data", maths, "--value", "verifier", "--algorithm", "best-of-n", "--budget-tokens", "1k"]
    _, out, _ = search(capsys, "solve", *SCRIPTED, *words)
    assert "oracle: the search read the gold answers; an upper bound, not a result" in out


def test_a_question_is_answered_with_its_steps_and_leaves_no_run(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = search(capsys, "solve", "What is 1 + 1?", *SCRIPTED, "--algorithm", "greedy")
    assert code == ExitCode.DONE
    assert out.startswith("step 0: ")
    assert "\nanswer: " in out
    assert "no reference answers" in out
    assert not Path("runs").exists()


def test_a_question_as_json_has_its_answer_and_no_accuracy_without_a_gold(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = solve_json(capsys, "What is 1 + 1?", "--algorithm", "self-consistency", "--budget-calls", "3")
    assert found["answer"] in {"0", "1", "2", "3"}
    assert found["steps"][-1] == f"#### {found['answer']}"
    assert (found["n_problems"], found["accuracy"], found["run"]) == (1, None, None)


def test_a_question_that_the_task_verifies_has_a_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["Make 24 from 3 5 8 11", "--task", "countdown", "--budget-tokens", "400"]
    assert solve_json(capsys, *words)["verdict"] == "incorrect"


def test_a_question_with_a_run_directory_can_be_shown_and_resumed(capsys: pytest.CaptureFixture[str]) -> None:
    first = solve_json(capsys, "What is 1 + 1?", "--run", "q", "--budget-tokens", "600")
    assert first["run"] == "q"
    _, out, _ = search(capsys, "show", "q", "question")
    assert out.splitlines()[2].startswith("0: What is 1 + 1?")
    code, out, err = search(capsys, "resume", "q", "--json")
    assert code == ExitCode.DONE
    assert "finished; nothing to do" in err
    assert json.loads(out)["usage"] == first["usage"]


def test_value_none_is_a_value_and_not_the_default(capsys: pytest.CaptureFixture[str], maths: str) -> None:
    found = solve_json(capsys, "--data", maths, "--value", "none", "--budget-tokens", "400")
    assert found["usage"]["value_tokens"] == 0


def test_a_config_file_gives_defaults_and_options_win(
    capsys: pytest.CaptureFixture[str], countdown: str, tmp_path: Path
) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(f"task: countdown\ndata: {countdown}\nalgorithm: beam\nlimit: 3\nbudget_tokens: 300\n")
    found = solve_json(capsys, "--config", str(file), "--limit", "2", "--run", "r")
    assert found["n_problems"] == 2
    config = json.loads(Path("r/run.json").read_text())["config"]
    assert config["algorithm"] == {"value": "beam", "origin": "file"}
    assert config["limit"] == {"value": 2, "origin": "flag"}


def test_solve_on_a_finished_run_gives_the_same_summary(
    capsys: pytest.CaptureFixture[str], countdown: str
) -> None:
    words = ["--task", "countdown", "--data", countdown, "--run", "r", "--budget-tokens", "300"]
    first = solve_json(capsys, *words)
    second = solve_json(capsys, *words)
    assert second["usage"] == first["usage"]
    assert len(Path("r/results.jsonl").read_text().splitlines()) == 4


def test_solve_into_another_run_is_refused_and_says_what_differs(
    capsys: pytest.CaptureFixture[str], countdown: str
) -> None:
    words = ["--task", "countdown", "--data", countdown, "--run", "r", "--budget-tokens", "300"]
    solve_json(capsys, *words)
    code, out, err = search(capsys, "solve", *SCRIPTED, *words, "--seed", "7")
    assert (code, out) == (ExitCode.USAGE, "")
    assert "seed: 0 in the run, 7 now" in err


def test_failed_problems_are_named_counted_and_tried_again_by_resume(
    capsys: pytest.CaptureFixture[str], countdown: str
) -> None:
    words = ["--task", "countdown", "--data", countdown, "--run", "r", "--set", "engine.fault_rate=1"]
    code, out, err = search(capsys, "solve", *SCRIPTED, *words, "--json")
    assert code == ExitCode.PROBLEMS_FAILED
    assert json.loads(out)["n_errors"] == 4
    assert "failed: p0: EngineError: injected fault" in err
    code, _, _ = search(capsys, "resume", "r", "--json")
    assert code == ExitCode.PROBLEMS_FAILED
    assert len(Path("r/results.jsonl").read_text().splitlines()) == 4


def test_resume_with_a_larger_budget_searches_what_the_old_one_had_stopped(
    capsys: pytest.CaptureFixture[str], countdown: str
) -> None:
    words = ["--task", "countdown", "--data", countdown, "--run", "r", "--budget-tokens", "100"]
    before = solve_json(capsys, *words)
    assert '"budget_tokens"' in Path("r/results.jsonl").read_text()
    code, out, _ = search(capsys, "resume", "r", "--budget-tokens", "0.4k", "--json")
    assert code == ExitCode.DONE
    after = json.loads(out)
    assert before["usage"]["generated_tokens"] < after["usage"]["generated_tokens"] <= 4 * 400
    assert json.loads(Path("r/run.json").read_text())["config"]["budget_tokens"]["value"] == 400
    code, _, err = search(capsys, "resume", "r", "--budget-tokens", "300")
    assert code == ExitCode.USAGE
    assert "budget_tokens is 400 in r; it can only grow, got 300" in err


# -- names and mistakes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["slove"], "did you mean 'solve'?"),
        (["solve", "--bugdet-tokens", "4k"], "did you mean '--budget-tokens'?"),
        (["solve", "--algorithm", "mtcs"], "did you mean 'mcts'?"),
        (["solve", "--value", "verifer"], "did you mean 'verifier'?"),
        (["solve", "--task", "cuontdown"], "did you mean 'countdown'?"),
        (["solve", "--engine", "transfomers"], "did you mean 'transformers'?"),
        (["solve", "--set", "widht=3"], "did you mean 'width'?"),
        (["solve", "--set", "policy.temprature=1"], "did you mean 'temperature'?"),
        (["solve", "--set", "value.judg=vote"], "did you mean 'judge'?"),
        (["solve", "--set", "width=many"], "mcts.width must be a whole number, got 'many'"),
        (["solve", "--set", "width"], "--set takes key=value"),
        (["list", "algoritms"], "did you mean 'algorithms'?"),
        (["grade", "1", "1", "--task", "maths"], "did you mean 'math'?"),
        (["grade", "1", "-1", "--explian"], "did you mean '--explain'?"),
    ],
)
def test_a_mistyped_name_is_one_line_that_names_the_nearest(
    capsys: pytest.CaptureFixture[str], words: list[str], hint: str
) -> None:
    assert hint in one_error_line(capsys, *words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["solve", "--budget-tokens", "lots"], "--budget-tokens must be a number such as 4000 or 4k"),
        (["solve", "--budget-tokens", "0"], "must be positive"),
        (["solve", "--budget-tokens", "none"], "nothing would end this search: give simulations or a budget"),
        (["solve", "--limit", "x"], "--limit"),
        (["solve", "--data", "nowhere.jsonl"], "cannot read"),
        (["solve", "A question?", "--data", "nowhere.jsonl"], "give one of them"),
        (["solve", "Make it so", "--task", "countdown"], "not a countdown puzzle"),
        (["solve", "--config", "nowhere.yaml"], "config file 'nowhere.yaml' cannot be read"),
        (["grade", "1"], "ANSWER"),
        (["resume", "nowhere"], "not a run directory"),
        (["show", "nowhere"], "not a run directory"),
    ],
)
def test_wrong_use_is_one_line_and_exit_2(
    capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert message in one_error_line(capsys, *words)


def test_a_file_that_writes_settings_like_the_option_is_told_the_key(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "set.yaml"
    path.write_text("set:\n  width: 2\n")
    assert "did you mean 'settings'?" in one_error_line(capsys, "solve", "--config", str(path))


def test_a_broken_line_of_data_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "broken.jsonl"
    path.write_text('{"question": "q", "answer": "1"}\n{"question": "q"}\n')
    assert "broken.jsonl:2" in one_error_line(capsys, "solve", "--data", str(path))


def test_data_of_another_task_is_refused(capsys: pytest.CaptureFixture[str], countdown: str) -> None:
    assert "of the task countdown, not math" in one_error_line(capsys, "solve", "--data", countdown)


def test_a_run_directory_that_cannot_be_made_is_a_usage_error(
    capsys: pytest.CaptureFixture[str], countdown: str
) -> None:
    Path("file").write_text("")
    words = [*SCRIPTED, "--task", "countdown", "--data", countdown, "--run", "file/run"]
    code, _, err = search(capsys, "solve", *words)
    assert code == ExitCode.USAGE
    assert "cannot write to file/run" in err


# -- exit codes -------------------------------------------------------------------------------------------


def test_the_exit_codes_of_the_errors_are_those_of_the_table() -> None:
    assert UsageError("").exit_code == DataError("").exit_code == ExitCode.USAGE == 2
    assert MissingPrerequisiteError("").exit_code == ExitCode.PREREQUISITE == 5
    table = {"DONE": 0, "INTERNAL": 1, "USAGE": 2, "PROBLEMS_FAILED": 3, "PREREQUISITE": 5}
    assert {code.name: code.value for code in ExitCode} == table | {"INTERRUPTED": 130}


def test_an_unexpected_error_is_one_line_and_the_traceback_comes_when_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise RuntimeError("a fault\nof ours")

    monkeypatch.setattr("treesearch.cli.doctor._python", fail)
    code, out, err = search(capsys, "doctor")
    assert (code, out, err.count("\n")) == (ExitCode.INTERNAL, "", 1)
    assert "error: internal: RuntimeError: a fault of ours; run with SEARCH_DEBUG=1" in err
    monkeypatch.setenv("SEARCH_DEBUG", "1")
    assert "Traceback" in search(capsys, "doctor")[2]


def test_a_missing_package_exits_5_and_says_how_to_get_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, countdown: str
) -> None:
    def find(kind: str, name: str) -> Any:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr("treesearch.policies.find", find)
    code, out, err = search(capsys, "solve", "--task", "countdown", "--data", countdown)
    assert (code, out) == (ExitCode.PREREQUISITE, "")
    assert "pip install 'treesearch-toolkit[local]'" in err.splitlines()[-1]


def test_ctrl_c_cancels_cleanly_and_names_the_command_that_goes_on(tmp_path: Path, countdown: str) -> None:
    words = ["solve", "--task", "countdown", "--data", countdown, "--run", "a run", "--json"]
    job = start(*words, *SLOW, cwd=tmp_path)
    wait_for_journal(tmp_path / "a run")
    job.send_signal(signal.SIGINT)
    out, err = job.communicate(timeout=30)
    assert (job.returncode, out) == (ExitCode.INTERRUPTED, "")
    assert err.splitlines()[-1] == "interrupted; resume with: search resume 'a run'"
    assert "Traceback" not in err
    assert main(["resume", "a run"]) == ExitCode.DONE


def test_sigterm_stops_like_ctrl_c(tmp_path: Path, countdown: str) -> None:
    words = ["solve", "--task", "countdown", "--data", countdown, "--run", "r"]
    job = start(*words, *SLOW, cwd=tmp_path)
    wait_for_journal(tmp_path / "r")
    job.terminate()
    _, err = job.communicate(timeout=30)
    assert job.returncode == ExitCode.INTERRUPTED
    assert "resume with: search resume r" in err


def test_a_killed_run_is_resumed_to_the_same_results(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, countdown: str
) -> None:
    words = ["--task", "countdown", "--data", countdown, *SLOW]
    job = start("solve", *words, "--run", "killed", "--concurrency", "2", cwd=tmp_path)
    wait_for_journal(tmp_path / "killed")
    job.kill()
    job.communicate(timeout=30)
    code, out, _ = search(capsys, "resume", "killed", "--concurrency", "8", "--json")
    assert code == ExitCode.DONE
    resumed = json.loads(out)
    code, out, _ = search(capsys, "solve", *words, "--run", "whole", "--json")
    whole = json.loads(out)
    assert (resumed["usage"], resumed["n_problems"]) == (whole["usage"], 4)
    trees = [
        json.loads(search(capsys, "show", run, "p1", "--json")[1])["nodes"] for run in ("killed", "whole")
    ]
    assert trees[0] == trees[1]


def test_resume_refuses_data_that_changed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, countdown: str
) -> None:
    words = ["--task", "countdown", "--data", countdown, "--set", "engine.fault_rate=1", "--run", "r"]
    search(capsys, "solve", *SCRIPTED, *words)
    Path(countdown).write_text('{"id": "p0", "numbers": [1, 2, 3, 4], "target": 24}\n')
    code, _, err = search(capsys, "resume", "r")
    assert code == ExitCode.USAGE
    assert "the problems are not the same" in err


def test_a_kill_before_the_run_began_leaves_a_directory_that_can_be_used(
    capsys: pytest.CaptureFixture[str], countdown: str
) -> None:
    Path("r/journal").mkdir(parents=True)
    Path("r/journal/0000.jsonl").touch()
    found = solve_json(
        capsys, "--task", "countdown", "--data", countdown, "--run", "r", "--budget-tokens", "99"
    )
    assert found["n_problems"] == 4


# -- list, show -------------------------------------------------------------------------------------------


def test_list_names_everything_with_a_summary_and_settings(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = search(capsys, "list", "--json")
    assert code == ExitCode.DONE
    found = json.loads(out)
    prm = ["conventions", "benches", "heads", "label-methods", "label-rules"]
    kinds = ["algorithms", "values", "tasks", "engines", *prm, "builders", "objectives"]
    assert list(found) == [*kinds, "runs"]
    for kind in kinds:
        assert found[kind]
        assert all(entry["summary"] for entry in found[kind])
    mcts = next(entry for entry in found["algorithms"] if entry["name"] == "mcts")
    settings = {entry["name"]: entry for entry in mcts["settings"]}
    assert settings["backup"] == {"name": "backup", "type": "mean | max | weighted", "default": "mean"}
    assert "selection = puct  (uct | puct)" in search(capsys, "list", "algorithms", "--verbose")[1]


def test_listing_engines_does_not_load_them(tmp_path: Path) -> None:
    code = (
        "import sys; from treesearch.cli import main; main(['list']);"
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'sympy')))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path).returncode == 0


def test_list_runs_shows_their_state(capsys: pytest.CaptureFixture[str], countdown: str) -> None:
    words = ["--task", "countdown", "--data", countdown, "--budget-tokens", "200"]
    solve_json(capsys, *words, "--run", "runs/done")
    solve_json(capsys, *words, "--run", "runs/half")
    half = Path("runs/half/results.jsonl")
    half.write_text("".join(half.read_text().splitlines(keepends=True)[:2]))
    Path("runs/bad").mkdir()
    Path("runs/bad/run.json").write_text("{}")
    rows = json.loads(search(capsys, "list", "runs", "--json")[1])["runs"]
    assert [(row["run"], row["state"]) for row in rows] == [
        ("runs/bad", "damaged"),
        ("runs/done", "finished"),
        ("runs/half", "unfinished"),
    ]
    assert "2/4" in search(capsys, "list", "runs")[1]
    assert "did you mean 'done'?" in one_error_line(capsys, "show", "donee")


def test_show_lists_results_and_draws_a_tree(capsys: pytest.CaptureFixture[str], maths: str) -> None:
    solve_json(capsys, "--data", maths, "--run", "r", "--budget-tokens", "4k", "--set", "width=3")
    code, out, _ = search(capsys, "show", "r")
    assert code == ExitCode.DONE
    assert out.splitlines()[0].split() == ["id", "verdict", "answer", "stopped", "by", "tokens"]
    assert "math, mcts: finished, 4 of 4 done" in out
    _, out, _ = search(capsys, "show", "r", "m1")
    lines = out.splitlines()
    assert lines[2].startswith("0: How much is 1?  [visits ")
    assert all(word in out for word in ("visits ", "q ", "value ", "tokens", "prior ", "finished: ", "  *"))
    assert "did you mean 'm1'?" in one_error_line(capsys, "show", "r", "m11")
    tree = json.loads(search(capsys, "show", "r", "m1", "--json")[1])
    assert tree["nodes"][0]["parent"] is None
    assert any(node["on_answer_path"] for node in tree["nodes"])


def test_show_draws_a_tree_whose_data_file_is_gone(capsys: pytest.CaptureFixture[str], maths: str) -> None:
    solve_json(capsys, "--data", maths, "--run", "r", "--budget-tokens", "200")
    Path(maths).unlink()
    code, out, err = search(capsys, "show", "r", "m1")
    assert code == ExitCode.DONE
    assert "0: problem m1" in out
    assert "the question is not shown" in err


def test_a_wide_tree_is_cut_and_all_shows_it_whole(capsys: pytest.CaptureFixture[str], maths: str) -> None:
    words = ["--data", maths, "--limit", "1", "--algorithm", "self-consistency", "--set", "n=30"]
    solve_json(capsys, *words, "--run", "r", "--budget-tokens", "20k")
    out = search(capsys, "show", "r", "m0")[1]
    assert "more (use --all)" in out
    assert "  *" in out
    whole = search(capsys, "show", "r", "m0", "--all")[1]
    assert "use --all" not in whole
    assert len(whole.splitlines()) > len(out.splitlines())


def test_control_characters_of_a_problem_and_an_answer_never_reach_the_terminal(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "evil.jsonl"
    evil = "a\x1b[31m\x1b]0;title\x07b\x9b2J\u202ec\r\x08"
    path.write_text(json.dumps({"id": "x\x1b[2Jy", "question": evil, "answer": "1"}) + "\n")
    solve_json(capsys, "--data", str(path), "--run", "r", "--budget-tokens", "200")
    for words in (["show", "r"], ["show", "r", "x\x1b[2Jy"], ["show", "r", "x\x1b[2Jy", "--json"]):
        code, out, err = search(capsys, *words)
        assert code == ExitCode.DONE
        assert not set("\x1b\x9b\x07\x08\r\u202e") & set(out + err)
    assert "0: abc" in search(capsys, "show", "r", "x\x1b[2Jy")[1]


def test_cleaning_keeps_text_and_drops_what_a_terminal_acts_on() -> None:
    assert clean("a\tb\nc é ∑") == "a\tb\nc é ∑"
    assert (
        clean("\x1b[1;31mred\x1b[0m \x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\ \x1bc\x7f\x85\ud800")
        == "red link "
    )
    assert one_line("a\n b" + "c" * 10, 8) == "a bcc..."


# -- grade, doctor, help ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "verdict"),
    [
        (["1/2", "0.5"], "correct"),
        (["1/2", "so the answer is \\boxed{0.5}."], "correct"),
        (["-5", "-5"], "correct"),
        (["--task", "math", "-5", "5"], "incorrect"),
        (["5", "9^{9^{9}}"], "ungradable_answer"),
        (["--task", "countdown", "Make 24 from 3 5 8 11", "(11-8)*(3+5)"], "correct"),
        (["--task", "countdown", "Make 24 from 3 5 8 11", "3+5+8+11"], "incorrect"),
    ],
)
def test_grade_says_the_verdict_and_exits_0_whatever_it_is(
    capsys: pytest.CaptureFixture[str], words: list[str], verdict: str
) -> None:
    code, out, _ = search(capsys, "grade", "--json", *words)
    assert code == ExitCode.DONE
    found = json.loads(out)
    assert set(found) == {"verdict", "decided_by", "grader", "seconds"}
    assert found["verdict"] == verdict
    assert found["seconds"] < 2.5


def test_grade_explains_what_it_read_and_what_decided(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = search(capsys, "grade", "--explain", "x = 1/2", "#### 0.5")
    for part in (
        "correct",
        "found by hash",
        "canonical",
        "1/2",
        "read as",
        "compared",
        "exact",
        "math/2",
        "time",
    ):
        assert part in out
    words = ["grade", "--explain", "--json", "2\\sqrt{3}", "\\boxed{\\sqrt{12}}"]
    found = json.loads(search(capsys, *words)[1])
    assert (found["verdict"], found["decided_by"]) == ("correct", "symbolic")
    assert found["answer"]["extracted_by"] == "boxed"


def test_doctor_names_the_mend_for_each_lack_and_says_what_the_model_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_grader", lambda: doctor.Check(name="grader", ok=True, found="", facts={}))
    monkeypatch.setattr(doctor, "_cuda", lambda: ([], "no CUDA", ""))
    monkeypatch.setattr(doctor, "_OPTIONAL", {"torch": "models", "no-such-package": "nothing"})
    code, out, _ = search(capsys, "doctor")
    assert code == ExitCode.DONE
    assert "-m pip install no-such-package" in out
    assert "is a demonstration model" in out
    found = json.loads(search(capsys, "doctor", "--json")[1])
    names = [check["name"] for check in found["checks"]]
    assert names == ["python", "torch", "no-such-package", "hardware", "embedded", "grader", "folder"]


def test_parameters_are_counted_from_the_header_of_safetensors(tmp_path: Path) -> None:
    header = json.dumps(
        {"__metadata__": {"format": "pt"}, "a": {"dtype": "BF16", "shape": [3, 4], "data_offsets": [0, 24]}}
    ).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(24))
    assert doctor.parameters(path) == 12
    path.write_bytes(b"torn")
    assert doctor.parameters(path) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4k", "4000"),
        ("1.5M", "1500000"),
        ("25.6k", "25600"),
        ("2_000", "2000"),
        ("0.5", "0.5"),
        ("none", "none"),
    ],
)
def test_budgets_are_read_as_people_write_them(text: str, value: str) -> None:
    assert options.number(text, "--budget-tokens") == value


def test_help_and_version_exit_0_and_no_command_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--help"], ["solve", "--help"], []):
        code, out, err = search(capsys, *words)
        assert (code, err) == (ExitCode.DONE, "")
        assert "Usage: search" in out
    assert search(capsys, "--version")[1].startswith("search ")


def test_help_loads_nothing_heavy_and_is_quick() -> None:
    code = (
        "import sys; from treesearch.cli import main; main(['--help']);"
        "heavy = {'numpy', 'torch', 'sympy', 'networkx', 'transformers', 'yaml', 'rich', 'asyncio'};"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    before = os.times()
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    spent = os.times()
    assert (done.returncode, done.stderr) == (0, "")
    cpu_s = spent.children_user + spent.children_system - before.children_user - before.children_system
    assert cpu_s < 0.5  # processor time: the wall clock of a busy machine says nothing


def test_names_are_completed(capsys: pytest.CaptureFixture[str]) -> None:
    assert options.complete_algorithm("be") == ["best-of-n", "beam", "best-first"]
    assert options.complete_value("ver") == ["verifier"]
    assert options.complete_task("c") == ["countdown"]
    assert options.complete_engine("t") == ["transformers"]


def test_a_terminal_gets_a_live_line_and_no_escape_in_standard_output(tmp_path: Path, countdown: str) -> None:
    master, terminal = pty.openpty()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "120"}
    words = ["solve", "--task", "countdown", "--data", countdown, "--json", *SLOW, "--concurrency", "1"]
    with subprocess.Popen(
        [sys.executable, "-m", "treesearch.cli", *words],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=terminal,
    ) as job:
        os.close(terminal)
        shown = b""
        while chunk := _read(master):
            shown += chunk
        assert job.stdout is not None
        out = job.stdout.read()
    os.close(master)
    assert job.returncode == ExitCode.DONE
    assert b"1/4 done" in shown
    assert b"tokens/s" in shown
    assert json.loads(out)["n_problems"] == 4


def _read(descriptor: int) -> bytes:
    """What the terminal got; empty once the other side has closed it."""
    try:
        return os.read(descriptor, 4096)
    except OSError:
        return b""


def test_a_second_ctrl_c_kills_what_does_not_stop(tmp_path: Path) -> None:
    code = (
        "import asyncio, os, signal, sys\n"
        "from treesearch.cli.interrupt import run_interruptible\n"
        "async def stubborn():\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        await asyncio.sleep(30)\n"
        "    finally:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        await asyncio.sleep(30)\n"
        "run_interruptible(stubborn())\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, timeout=30)
    assert done.returncode == -signal.SIGINT


def test_the_grader_starts_beside_the_search_and_its_lack_exits_5(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, maths: str
) -> None:
    def lack() -> None:
        raise MissingPrerequisiteError("grading needs math-verify; run: pip install math-verify")

    monkeypatch.setattr("treesearch.run.session.prewarm", lack)
    code, out, err = search(capsys, "solve", *SCRIPTED, "--data", maths)
    assert (code, out) == (ExitCode.PREREQUISITE, "")
    assert err.splitlines()[-1] == "error: grading needs math-verify; run: pip install math-verify"


def test_an_argument_that_is_no_text_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["solve", "What \udcff is 2 + 2?"]) == 2
    assert "is not text in UTF-8" in capsys.readouterr().err


def test_a_path_that_cannot_be_written_is_named_and_not_an_internal_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "mine.jsonl"
    data.write_text('{"id": "a", "question": "1 + 1?", "answer": "2"}\n')
    held_out = tmp_path / "test.jsonl"
    held_out.write_text('{"id": "b", "question": "A long question about 7 hens?", "answer": "7"}\n')
    words = ["selftrain", "decontaminate", "--training", str(data), "--held-out", str(held_out)]
    assert main([*words, "--report", str(tmp_path)]) == 2
    assert f"error: {tmp_path}" in capsys.readouterr().err
