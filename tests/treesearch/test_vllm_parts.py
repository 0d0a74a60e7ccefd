"""Parts of the vllm engine that need no vLLM; the rest is in tests/vllm."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import MissingPrerequisiteError, UsageError
from treesearch.engines.base import EngineError
from treesearch.engines.vllm import VLLMOptions, open_engine
from treesearch.engines.vllm_args import one_line
from treesearch.engines.vllm_guard import Guard
from treesearch.engines.vllm_loop import LoopThread

ROOT = Path(__file__).parents[2]
SLEEP = [sys.executable, "-S", "-c", "import time; time.sleep(300)"]
PARENT = """
    import subprocess, sys, time
    from treesearch.engines.vllm_guard import Guard
    nested = "import subprocess, time; print(subprocess.Popen({sleep!r}).pid, flush=True); time.sleep(300)"
    guard = Guard()
    watched = subprocess.Popen([sys.executable, "-S", "-c", nested], stdout=subprocess.PIPE, text=True)
    guard.watch([watched.pid])
    other = subprocess.Popen({sleep!r})
    print(watched.pid, watched.stdout.readline().strip(), other.pid, flush=True)
    {then}
"""


def run_parent(then: str) -> tuple[subprocess.Popen[str], list[int]]:
    """A process with a guarded child, a child of that and an unguarded one; their ids in this order."""
    script = textwrap.dedent(PARENT).format(sleep=SLEEP, then=then)
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert parent.stdout is not None
    return parent, [int(word) for word in parent.stdout.readline().split()]


def runs(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def wait_until_gone(pids: list[int], within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if not any(map(runs, pids)):
            return True
        time.sleep(0.05)
    return False


def end(pid: int) -> None:
    subprocess.run(["kill", "-9", str(pid)], check=False, stderr=subprocess.DEVNULL)


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="descendants are found in /proc")


@needs_proc
def test_a_guard_ends_a_process_and_its_children_when_the_parent_is_killed_and_nothing_else():
    parent, (watched, nested, other) = run_parent("time.sleep(300)")
    try:
        assert runs(watched)
        parent.kill()
        parent.wait()
        assert wait_until_gone([watched, nested], 30)
        assert runs(other)
    finally:
        with parent:
            for pid in (watched, nested, other, parent.pid):
                end(pid)


@needs_proc
def test_a_guard_that_was_released_ends_nothing():
    parent, (watched, nested, other) = run_parent("guard.release(); guard.release(); guard.watch([1])")
    try:
        parent.wait(30)
        assert not wait_until_gone([watched], 3)
        assert runs(nested)
        assert runs(other)
    finally:
        with parent:
            for pid in (watched, nested, other):
                end(pid)


def test_a_guard_is_gone_after_its_release():
    guard = Guard()
    guard.release()
    assert guard._program.returncode == 0


# --- the loop of its own ----------------------------------------------------------------------------------


async def where() -> str:
    return threading.current_thread().name


def test_work_runs_in_the_thread_whatever_loop_asks():
    loop = LoopThread("other")
    assert asyncio.run(loop.ask(where())) == "other"
    assert asyncio.run(loop.ask(where())) == "other"
    assert loop.run(where()) == "other"
    loop.stop()


def test_cancelling_the_caller_cancels_the_work():
    loop, seen = LoopThread("other"), threading.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.set()
            raise

    async def ask() -> None:
        task = asyncio.ensure_future(loop.ask(work()))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(ask())
    assert seen.wait(10)
    loop.stop()


def test_a_stopped_loop_cancels_what_runs_and_refuses_what_comes():
    loop = LoopThread("other")

    async def ask() -> None:
        task = asyncio.ensure_future(loop.ask(asyncio.sleep(60)))
        await asyncio.sleep(0.05)
        await asyncio.to_thread(loop.stop)
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(ask())
    loop.stop()
    with pytest.raises(EngineError, match="closed"):
        asyncio.run(loop.ask(where()))
    assert not loop._thread.is_alive()


def test_the_environment_may_change_as_soon_as_the_loop_is_there():
    program = """
        import os, time
        from multiprocessing import resource_tracker
        from treesearch.engines.vllm_loop import LoopThread
        loop = LoopThread("other")
        os.environ |= {f"X{number}": "y" * 100 for number in range(2000)}
        time.sleep(0.3)
        resource_tracker.ensure_running()  # warns if the process that was started could not run
        loop.stop()
    """
    subprocess.run([sys.executable, "-W", "error", "-c", textwrap.dedent(program)], check=True)


# --- settings and errors ----------------------------------------------------------------------------------


def test_settings_are_checked_before_anything_is_loaded():
    with pytest.raises(UsageError, match="max_context"):
        open_engine("any", {"max_context": -1})
    with pytest.raises(UsageError, match="did you mean 'args'"):
        open_engine("any", {"arg": "-tp 2"})
    assert VLLMOptions().args == ""


def test_without_vllm_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm.utils.argparse_utils", None)
    with pytest.raises(MissingPrerequisiteError, match=r"treesearch-toolkit\[vllm\].*install-vllm-cpu\.sh"):
        open_engine("any", {})


def test_an_error_is_told_on_one_line_and_by_its_cause_where_it_says_nothing():
    error = ValueError("two\n   lines")
    assert one_line(error) == "two lines"
    silent = RuntimeError()
    silent.__cause__ = error
    assert one_line(silent) == "two lines"
    assert one_line(KeyError()) == "KeyError"


# --- certainty --------------------------------------------------------------------------------------------


@given(st.lists(st.floats(-40, 0), min_size=2, max_size=50))
def test_certainty_is_the_mean_divergence_of_uniform_from_the_distribution(logits):
    torch = pytest.importorskip("torch")
    from treesearch.engines.hf_sampling import certainties
    from treesearch.engines.vllm_certainty import certainty_of

    logp = torch.log_softmax(torch.tensor(logits, dtype=torch.float64), dim=-1)
    uniform = torch.full_like(logp, 1 / len(logits))
    divergence = float((uniform * (uniform.log() - logp)).sum())
    assert certainty_of(logp.tolist()) == pytest.approx(max(0.0, divergence), abs=1e-9)
    assert certainty_of(logp.tolist()) == pytest.approx(float(certainties(logp.float())), abs=1e-4)


def test_certainty_is_finite_where_a_token_has_no_probability():
    pytest.importorskip("torch")
    from treesearch.engines.vllm_certainty import certainty_of

    assert certainty_of([0.0, float("-inf")]) == pytest.approx(42.97, abs=0.1)
    assert certainty_of([-0.6931472, -0.6931472]) == pytest.approx(0.0, abs=1e-6)
