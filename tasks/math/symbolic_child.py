"""The program that the grading worker runs: reads pairs of answers, compares them with sympy.

Run by path as `python -I symbolic_child.py PATHS`, never imported by the toolkit: with `symbolic_compare` and
`symbolic_parse`, which it imports, it is the only code that loads sympy and math-verify. Contract: one JSON
object a line on stdin (`gold`, `answer`, `tolerance`, `timeout_s`), one JSON line on stdout in reply
(`status`, `detail`, and the two `forms` that were compared); before the first reply, a line with status
`ready`, or `fatal`. It ends when stdin closes.

Comparisons run in a forked copy of this process, made after the imports. A copy that reaches the time limit
is killed and the next comparison gets a new one, at the cost of a fork and not of another import of sympy. A
copy serves `MAX_SERVED` comparisons and clears the caches of sympy after each, so that memory stays bounded
and a verdict does not depend on what was compared before. Its CPU limit holds even if both its parents are
killed. Forking is safe here because this process has one thread and no libraries that start any.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any

MEMORY_BYTES = 1 << 30
CPU_SECONDS = 4
"""CPU time that a copy gets for one comparison, should nobody be left to kill it."""
MAX_SERVED = 500

Reply = dict[str, Any]


def main() -> int:
    """Serve until stdin closes."""
    sys.path.insert(0, str(Path(__file__).parents[2]))
    sys.path.extend(path for path in sys.argv[1:] if path not in sys.path)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        from tasks.math import symbolic_compare

        symbolic_compare.warm_up()
    except ImportError as error:
        _reply({"status": "fatal", "detail": str(error)})
        return 1
    gc.freeze()
    _reply({"status": "ready", "detail": ""})
    copy: _Copy | None = None
    for line in sys.stdin:
        timeout_s = float(json.loads(line)["timeout_s"])
        copy = copy or _Copy()
        reply = copy.ask(line, timeout_s)
        if reply["status"] in ("timeout", "crashed") or copy.served >= MAX_SERVED:
            copy.kill()
            copy = None
        _reply(reply)
    return 0


def _reply(message: Reply) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


class _Copy:
    """A forked copy of this process that answers requests until it is killed."""

    def __init__(self) -> None:
        self.served = 0
        request_reader, self._requests = os.pipe()
        self._replies, reply_writer = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._requests)
            os.close(self._replies)
            _run_copy(request_reader, reply_writer)
        os.close(request_reader)
        os.close(reply_writer)

    def ask(self, line: str, timeout_s: float) -> Reply:
        """Reply to one request line; `timeout` or `crashed` if none came, after which only `kill` is left."""
        deadline = time.monotonic() + timeout_s
        self.served += 1
        try:
            os.write(self._requests, line.encode())
        except BrokenPipeError:
            return {"status": "crashed", "detail": "the comparing process was gone"}
        readable, _, _ = select.select([self._replies], [], [], max(0.0, deadline - time.monotonic()))
        if not readable:
            return {"status": "timeout", "detail": f"no result within {timeout_s:.1f} s"}
        data = os.read(self._replies, 1 << 16)
        return json.loads(data) if data else {"status": "crashed", "detail": "the comparison died"}

    def kill(self) -> None:
        """End the copy, whatever it is doing."""
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._requests)
        os.close(self._replies)


def _run_copy(requests: int, replies: int) -> None:
    """Body of the forked copy; it leaves by `_exit`, so that nothing of its parent's is flushed twice."""
    from sympy.core.cache import clear_cache

    with os.fdopen(requests) as lines:
        for line in lines:
            usage = resource.getrusage(resource.RUSAGE_SELF)
            limit = int(usage.ru_utime + usage.ru_stime) + CPU_SECONDS
            resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))
            reply = _guarded(json.loads(line))
            os.write(replies, json.dumps(reply).encode())
            if reply["status"] == "crashed":
                break
            clear_cache()
    os._exit(0)


def _guarded(request: Reply) -> Reply:
    """The comparison, with every way in which sympy can fail turned into a reply."""
    from tasks.math.symbolic_compare import compare

    try:
        return compare(request["gold"], request["answer"], request["tolerance"])
    except MemoryError:
        return {"status": "crashed", "detail": f"over the memory limit of {MEMORY_BYTES >> 20} MiB"}
    except RecursionError:
        return {"status": "crashed", "detail": "nested too deeply"}
    except Exception as error:  # noqa: BLE001 - sympy raises nearly anything; the parent must hear of it
        return {"status": "crashed", "detail": f"{type(error).__name__}: {error}"[:200]}


if __name__ == "__main__":
    sys.exit(main())
