"""`tasks.math.worker`: killed when it hangs, replaced when it dies, shared by threads, gone at exit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.base import Verdict
from tasks.math import grade, worker
from tasks.math.worker import Outcome, WorkerPool


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    pool = WorkerPool(size=1)
    yield pool
    pool.close()


def test_a_comparison_that_hangs_is_killed_and_the_next_call_works(pool: WorkerPool) -> None:
    pool.prewarm()
    started = time.perf_counter()
    assert pool.compare("x", r"\int_{9}^{\infty}\sqrt{\sin x+x^5}dx", None, 0.5).outcome is Outcome.TIMEOUT
    assert time.perf_counter() - started < 1.0
    assert pool.compare("5", "2+3", None, 2.0).outcome is Outcome.EQUAL
    assert time.perf_counter() - started < 2.0


def only_worker_pid(pool: WorkerPool) -> int:
    (idle,) = pool._idle
    return idle.pid


def test_a_worker_that_hangs_itself_is_replaced(pool: WorkerPool) -> None:
    pool.prewarm()
    stopped = only_worker_pid(pool)
    os.kill(stopped, signal.SIGSTOP)
    started = time.perf_counter()
    assert pool.compare("5", "2+3", None, 0.2).outcome is Outcome.TIMEOUT
    assert time.perf_counter() - started < 1.0
    assert pool.compare("5", "2+3", None, 2.0).outcome is Outcome.EQUAL
    assert only_worker_pid(pool) != stopped


def test_a_worker_killed_between_two_calls_is_replaced(pool: WorkerPool) -> None:
    pool.prewarm()
    killed = only_worker_pid(pool)
    os.kill(killed, signal.SIGKILL)
    time.sleep(0.1)
    assert pool.compare("x+1", "1+x", None, 2.0).outcome is Outcome.EQUAL


def test_a_closed_pool_leaves_no_process_and_works_again(pool: WorkerPool) -> None:
    pool.prewarm()
    pid = only_worker_pid(pool)
    pool.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert pool.compare("x+1", "1+x", None, 2.0).outcome is Outcome.EQUAL


def test_as_many_workers_as_asked_for_are_ready_and_no_more_than_the_pool_holds() -> None:
    pool = WorkerPool(size=2)
    try:
        pool.prewarm(5)
        assert len(pool._idle) == 2
        assert pool.compare("5", "2+3", None, 2.0).forms == ("5", "2 + 3")
    finally:
        pool.close()


def test_threads_may_grade_at_the_same_time() -> None:
    verdicts: list[Verdict] = []

    def work(number: int) -> None:
        verdicts.append(grade(f"{number}\\sqrt{{3}}", f"\\sqrt{{{3 * number * number}}}").verdict)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2, 14)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert verdicts == [Verdict.CORRECT] * 12


def test_importing_and_grading_loads_no_sympy_and_leaves_no_process() -> None:
    code = (
        "import sys, tasks, tasks.math\n"
        "from tasks.math import grade, worker\n"
        "assert grade('2\\\\sqrt3', '\\\\sqrt{12}').verdict == 'correct'\n"
        "assert not {'sympy', 'math_verify', 'torch'} & set(sys.modules)\n"
        "print(worker._pool._idle[0].pid)\n"
    )
    root = Path(__file__).parent.parent.parent
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    with pytest.raises(ProcessLookupError):
        os.kill(int(done.stdout), 0)


def test_the_shared_pool_says_how_a_comparison_ended() -> None:
    assert worker.compare("5", r"\frac{1").outcome is Outcome.ANSWER_UNREADABLE
    assert worker.compare(r"\frac{1", "5").outcome is Outcome.GOLD_UNREADABLE
    assert worker.compare("5", "6").outcome is Outcome.DIFFERENT
    assert worker.compare("3.1416", r"\pi", tolerance="1/20000").outcome is Outcome.EQUAL
