"""How the vllm engine ends: closed, its process dead, this process dead. Each case starts an engine."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from treesearch.engines.base import EngineError, SamplingParams
from treesearch.engines.vllm import VLLMEngine
from treesearch.policies import embedded_folder

ROOT = Path(__file__).parents[2]
ARGS = "--enforce-eager --max-model-len 256"
LONG = SamplingParams(max_tokens=200, temperature=2.0)


@pytest.fixture(autouse=True)
def _processes_of_their_own(monkeypatch) -> None:
    """vLLM's engine and its model in two processes, as outside these tests."""
    monkeypatch.delenv("VLLM_ENABLE_V1_MULTIPROCESSING")


@pytest.fixture(scope="module")
def folder() -> str:
    return str(embedded_folder())


def family(pid: int) -> dict[int, str]:
    """Descendants of a process that are not the resource tracker: id and command line."""
    import psutil

    found: dict[int, str] = {}
    for each in psutil.Process(pid).children(recursive=True):
        try:
            command = " ".join(each.cmdline())
        except psutil.Error:
            continue
        if "resource_tracker" not in command and each.status() != psutil.STATUS_ZOMBIE:
            found[each.pid] = command
    return found


def gone(pids: set[int], *, within_s: float) -> bool:
    import psutil

    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        left = [pid for pid in pids if psutil.pid_exists(pid)]
        if not [pid for pid in left if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]:
            return True
        time.sleep(0.2)
    return False


def test_close_fails_open_requests_and_later_ones_and_leaves_no_process(folder):
    before = set(family(os.getpid()))
    engine = VLLMEngine.open(folder, args=ARGS, dtype="float32")
    assert set(family(os.getpid())) > before

    async def run() -> list[object]:
        tasks = [asyncio.ensure_future(engine.sample([5, 6, seed], 32, LONG)) for seed in range(8)]
        while not engine._client._live:
            await asyncio.sleep(0.01)
        await asyncio.gather(engine.close(), engine.close())
        return await asyncio.gather(*tasks, return_exceptions=True)

    replies = asyncio.run(run())
    assert [type(reply) for reply in replies] == [EngineError] * 8
    assert "closed" in str(replies[0])
    assert set(family(os.getpid())) <= before
    with pytest.raises(EngineError, match="closed"):
        asyncio.run(engine.sample([5], 1, LONG))
    asyncio.run(engine.close())


def test_requests_fail_when_vllm_s_process_dies_and_the_engine_can_still_be_closed(folder):
    before = set(family(os.getpid()))
    engine = VLLMEngine.open(folder, args=ARGS, dtype="float32")
    started = {pid: command for pid, command in family(os.getpid()).items() if pid not in before}
    guards = {pid for pid, command in started.items() if "vllm_guard" in command}
    assert len(guards) == 1

    async def run() -> list[object]:
        tasks = [asyncio.ensure_future(engine.sample([5, 6, seed], 32, LONG)) for seed in range(4)]
        while not engine._client._live:
            await asyncio.sleep(0.01)
        for pid in started.keys() - guards:
            os.kill(pid, signal.SIGKILL)
        return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 60)

    assert [type(reply) for reply in asyncio.run(run())] == [EngineError] * 4
    with pytest.raises(EngineError, match="vLLM"):
        asyncio.run(engine.sample([5], 1, LONG))
    asyncio.run(engine.close())
    assert set(family(os.getpid())) <= before


def test_a_ctrl_c_in_the_terminal_leaves_vllm_alone_and_a_kill_of_the_owner_ends_it(folder, tmp_path):
    script = tmp_path / "owner.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import asyncio, signal, sys, time
            from treesearch.engines.base import SamplingParams
            from treesearch.engines.vllm import VLLMEngine

            def main():
                engine = VLLMEngine.open({folder!r}, args={ARGS!r}, dtype="float32")
                interrupts = []
                signal.signal(signal.SIGINT, lambda *_: interrupts.append(1))
                print("open", flush=True)
                while not interrupts:
                    time.sleep(0.1)
                time.sleep(3)
                got = asyncio.run(engine.sample([5, 6], 2, SamplingParams(max_tokens=5)))
                print("sampled", len(got), flush=True)
                time.sleep(600)

            if __name__ == "__main__":
                main()
            """
        )
    )
    owner = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "open\n"
        pids = set(family(owner.pid))
        assert len(pids) >= 2
        os.killpg(owner.pid, signal.SIGINT)
        assert owner.stdout.readline() == "sampled 2\n"
        owner.kill()
        owner.wait()
        assert gone(pids, within_s=60)
    finally:
        with owner:
            owner.kill()
