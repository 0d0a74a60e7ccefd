"""Symbolic comparison in separate processes that can be killed.

Contract: `compare(gold, answer)` sends two spellings to a worker process (`symbolic_child`) and returns an
`Outcome` within `timeout_s` plus `GRACE_S` from the moment that a worker is ready, whatever the text. It may
be called from any thread. Only another process can bound sympy: a large power holds the interpreter lock, so
that neither a signal nor a thread could interrupt it (reference/reliability.md, section 2).

Workers start at first use; each imports sympy once (about a second on an idle core). That start is not part
of the bound: call `prewarm` before a run to have it done. Workers are not forked from this process, which has
threads and perhaps CUDA; they are fresh isolated interpreters that get no pickles, only JSON lines. They end
when this process ends, even if it is killed. POSIX only: the child uses fork and resource limits.
"""

from __future__ import annotations

import atexit
import contextlib
import enum
import importlib.util
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.errors import MissingPrerequisiteError

TIMEOUT_S = 2.0
GRACE_S = 0.3
"""What a worker gets beyond the time limit to report it; then it is itself killed and replaced."""
START_TIMEOUT_S = 60.0
MAX_WORKERS = 2
_CHILD = Path(__file__).with_name("symbolic_child.py")


class Outcome(enum.StrEnum):
    """What a comparison came to."""

    EQUAL = "equal"
    DIFFERENT = "different"
    GOLD_UNREADABLE = "gold_unreadable"
    ANSWER_UNREADABLE = "answer_unreadable"
    TIMEOUT = "timeout"
    CRASHED = "crashed"
    """The comparison ran out of memory or died; nothing is known about the answer."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """Outcome of a comparison, an explanation, and the seconds it took, without any wait for a worker.

    `forms` are the two expressions as they were parsed, cut to a few hundred characters; empty if nothing
    was compared.
    """

    outcome: Outcome
    detail: str = ""
    seconds: float = 0.0
    forms: tuple[str, ...] = ()


class Worker:
    """One worker process. Not thread-safe: the pool lends it to one caller at a time."""

    def __init__(self) -> None:
        if importlib.util.find_spec("math_verify") is None or os.name != "posix":
            raise MissingPrerequisiteError(
                "grading needs math-verify on a POSIX system; run: pip install 'math-verify>=0.9,<0.10'"
            )
        paths = [path for path in sys.path if os.path.isabs(path)]
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(_CHILD), *paths],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._buffer = b""
        self._ready = False

    @property
    def pid(self) -> int:
        """Process id of the worker, for tests and reports."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """False once the process has ended."""
        return self._process.poll() is None

    def wait_ready(self) -> None:
        """Wait until sympy is imported; `MissingPrerequisiteError` if the worker cannot start."""
        if self._ready:
            return
        reply = self._receive(START_TIMEOUT_S)
        if reply is None or reply["status"] != "ready":
            self.close()
            why = reply["detail"] if reply else f"no sign of life within {START_TIMEOUT_S:.0f} s"
            raise MissingPrerequisiteError(f"the grading worker did not start: {why}")
        self._ready = True

    def compare(self, gold: str, answer: str, tolerance: str | None, timeout_s: float) -> Reply:
        """One comparison; on `TIMEOUT` and `CRASHED` the worker may be gone (`alive`)."""
        started = time.monotonic()
        request = {"gold": gold, "answer": answer, "tolerance": tolerance, "timeout_s": timeout_s}
        message: dict[str, Any] | None = None
        with contextlib.suppress(BrokenPipeError):  # a worker that died is told apart from a hung one below
            self._send(json.dumps(request).encode() + b"\n")
            message = self._receive(timeout_s + GRACE_S)
        seconds = time.monotonic() - started
        if message is not None:
            forms = tuple(message.get("forms", ()))
            outcome = Outcome(message["status"])
            return Reply(outcome=outcome, detail=message["detail"], seconds=seconds, forms=forms)
        hung = seconds >= timeout_s
        self.close()
        if hung:
            return Reply(outcome=Outcome.TIMEOUT, detail="the worker hung", seconds=seconds)
        return Reply(outcome=Outcome.CRASHED, detail="the worker died", seconds=seconds)

    def close(self) -> None:
        """Kill the worker and whatever it forked; idempotent."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._process.wait()

    def _send(self, line: bytes) -> None:
        pipe = self._process.stdin
        if pipe is None or pipe.closed:
            raise BrokenPipeError("closed")
        pipe.write(line)
        pipe.flush()

    def _receive(self, timeout_s: float) -> dict[str, Any] | None:
        """Next reply line, None at the deadline or at the end of the stream."""
        pipe = self._process.stdout
        if pipe is None or pipe.closed:
            return None
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._buffer:
            readable, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
            chunk = os.read(pipe.fileno(), 1 << 16) if readable else b""
            if not chunk:
                return None
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return json.loads(line)


class WorkerPool:
    """Up to `size` workers, started when wanted, lent to one thread each; a dead one is replaced."""

    def __init__(self, size: int = MAX_WORKERS) -> None:
        self._size = size
        self._slots = threading.Semaphore(size)
        self._lock = threading.Lock()
        self._idle: list[Worker] = []
        self._owner = os.getpid()

    def compare(self, gold: str, answer: str, tolerance: str | None, timeout_s: float) -> Reply:
        """Compare on the next free worker; the time limit runs from when it is free and ready.

        A worker that was killed from outside between two calls is replaced first.
        """
        with self._slots:
            worker = self._take()
            try:
                worker.wait_ready()
                return worker.compare(gold, answer, tolerance, timeout_s)
            finally:
                self._give_back(worker)

    def prewarm(self, workers: int = 1) -> None:
        """Have `workers` of them ready, no more than the size of the pool; they start side by side."""
        with contextlib.ExitStack() as taken:
            started: list[Worker] = []
            for _ in range(min(workers, self._size)):
                taken.enter_context(self._slots)
                started.append(self._take())
                taken.callback(self._give_back, started[-1])
            for worker in started:
                worker.wait_ready()

    def close(self) -> None:
        """Kill the idle workers; the pool can be used again afterwards."""
        with self._lock:
            workers, self._idle = self._idle, []
        if self._owner == os.getpid():
            for worker in workers:
                worker.close()

    def _take(self) -> Worker:
        with self._lock:
            if self._owner != os.getpid():  # this process was forked: the workers are the parent's
                self._idle, self._owner = [], os.getpid()
            while self._idle:
                worker = self._idle.pop()
                if worker.alive:
                    return worker
                worker.close()
        return Worker()

    def _give_back(self, worker: Worker) -> None:
        """Keep a live worker; replace a dead one now, so that the new one imports in the background."""
        replacement = worker if worker.alive else Worker()
        with self._lock:
            self._idle.append(replacement)


_pool = WorkerPool()
atexit.register(_pool.close)


def compare(gold: str, answer: str, *, tolerance: str | None = None, timeout_s: float = TIMEOUT_S) -> Reply:
    """Compare two spellings on the shared pool.

    `tolerance` is an absolute one, written as a fraction, and is used for values without variables only.
    """
    return _pool.compare(gold, answer, tolerance, timeout_s)


def prewarm(workers: int = 1) -> None:
    """Have `workers` of the shared pool ready, so that no graded call has to wait for one to start.

    One is enough for a single thread. The pool has `MAX_WORKERS`; more than those are not started.
    """
    _pool.prewarm(workers)


def shutdown() -> None:
    """Kill the workers of the shared pool; the next comparison starts a new one."""
    _pool.close()
