"""Ends vLLM's processes when the process that started them is gone.

vLLM's engine process does not notice that its parent was killed, and would keep the accelerator's memory for
ever. `Guard` starts this file as a program of its own; it is told the process ids to look after on its
standard input. When the parent says so it ends; when the parent dies it sends SIGTERM to those processes and,
`_GRACE_S` later, SIGKILL to what is left of them and their descendants. It tells processes apart by id and
start time, so that a reused id is safe where there is a /proc; elsewhere it knows ids only.

It does not end anything while the parent lives. As a program it imports the standard library only.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

_GRACE_S = 5.0
_POLL_S = 1.0
_DONE = "done"
_Process = tuple[int, str]


class Guard:
    """The parent's end. `watch` adds a process, `release` ends the guard."""

    def __init__(self) -> None:
        self._watched: set[int] = set()
        self._program = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # out of reach of the terminal's ctrl-C
        )

    def watch(self, pids: Iterable[int]) -> None:
        """End these processes too when this one dies."""
        for pid in set(pids) - self._watched:
            self._watched.add(pid)
            self._say(str(pid))

    def release(self) -> None:
        """Let the guard end without ending anything. May be called again."""
        self._say(_DONE)
        if self._program.stdin is not None:
            with contextlib.suppress(OSError):
                self._program.stdin.close()
        self._program.wait()

    def _say(self, line: str) -> None:
        if self._program.stdin is not None and not self._program.stdin.closed:
            with contextlib.suppress(OSError):  # somebody ended the guard: nothing to tell it
                self._program.stdin.write(f"{line}\n".encode())
                self._program.stdin.flush()


def main() -> None:
    """The program: watch until the parent says it is done, or is gone."""
    parent, watched, text = os.getppid(), set[_Process](), b""
    while os.getppid() == parent:
        if not select.select([0], [], [], _POLL_S)[0]:
            continue
        block = os.read(0, 65536)
        if not block:
            break
        *lines, text = (text + block).split(b"\n")
        for line in lines:
            if line.decode() == _DONE:
                return
            watched.add((int(line), _start_time(int(line))))
    end(watched)


def end(processes: Iterable[_Process]) -> None:
    """End these processes and their descendants, given as (id, start time)."""
    family = _family({each for each in processes if _alive(each)})
    for pid, _ in family:
        _send(pid, signal.SIGTERM)
    deadline = time.monotonic() + _GRACE_S
    while family and time.monotonic() < deadline:
        time.sleep(0.1)
        family = {each for each in _family(family) if _alive(each)}
    for pid, _ in family:
        _send(pid, signal.SIGKILL)


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(OSError):
        os.kill(pid, number)


def _alive(process: _Process) -> bool:
    """Whether the process is there and is the same one."""
    pid, started = process
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return _start_time(pid) == started and _stat(pid)[:1] != ["Z"]


def _family(processes: set[_Process]) -> set[_Process]:
    """The processes and all their descendants."""
    found = set(processes)
    while True:
        parents = {str(pid) for pid, _ in found}
        pids = {int(entry.name) for entry in Path("/proc").glob("[0-9]*")}
        children = {(pid, _start_time(pid)) for pid in pids if parents & set(_stat(pid)[1:2])}
        if children <= found:
            return found
        found |= children


def _start_time(pid: int) -> str:
    """When a process started, in clock ticks since boot; empty where that is not known."""
    fields = _stat(pid)
    return fields[19] if len(fields) > 19 else ""


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the third on (state, parent, ...); none where there is no such file."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()


if __name__ == "__main__":
    main()
