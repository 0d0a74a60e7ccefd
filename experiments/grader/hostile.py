"""Does the grader stay within its bounds on hostile answers, and does it execute nothing of them?

Run: `python experiments/grader/hostile.py [--count 1000] [--seed 0] [--out hostile.json]`. The answers of
`hostile_corpus` are graded by two threads against golds of several kinds, through extraction as a run does.
An audit hook records what this process compiles, executes, opens for writing or starts; only the start of
the grading worker is allowed. Code-shaped answers try to create a file, in whatever process they would run.
Exits 1 if a bar is missed: the total, the longest call, an exception, a verdict of `correct`, an event, the
file, or a worker left alive.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from hostile_corpus import answers

from tasks.math import extract, grade, prewarm, shutdown, worker

MAX_TOTAL_S = 60.0
MAX_CALL_S = 2.5
GOLDS = (
    "5",
    r"\sqrt{2}+x",
    "(1,2)",
    r"\{1,2\}",
    r"\begin{pmatrix}1\\2\end{pmatrix}",
    "Tuesday",
    "x>2",
    "[0,1)",
)
WATCHED = (
    "exec", "compile", "import", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork",
    "subprocess.Popen", "socket.connect", "ctypes.dlopen",
)  # fmt: skip


class Watch:
    """Counts audit events of this process while `on`; an audit hook cannot be removed again."""

    def __init__(self) -> None:
        self.on = False
        self.events: collections.Counter[str] = collections.Counter()
        self.workers_started = 0
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event == "subprocess.Popen" and "symbolic_child.py" in str(arguments[1]):
            self.workers_started += 1
        elif event == "open":
            path, mode = arguments[:2]  # a number is a pipe of the worker
            if isinstance(path, str | bytes) and isinstance(mode, str) and set("wax+") & set(mode):
                self.events[f"open {path!r}"] += 1
        elif event in WATCHED:
            self.events[f"{event} {str(arguments[:1])[:80]}"] += 1


def ask(item: tuple[int, tuple[str, str]]) -> tuple[str, str, str, float, str]:
    index, (family, text) = item
    gold = GOLDS[index % len(GOLDS)]
    started = time.perf_counter()
    try:
        found = extract(f"So \\boxed{{{text}}}") if index % 3 == 0 else None
        result = grade(gold, found.text if found else text)
        verdict, decided_by = result.verdict.value, result.decided_by
    except Exception as error:  # noqa: BLE001 - any exception at all is what this counts
        verdict, decided_by = "raised", repr(error)[:200]
    return family, verdict, decided_by, time.perf_counter() - started, f"{gold} | {text[:60]}"


def run(count: int, seed: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        canary = Path(folder) / "canary"
        corpus = answers(count, seed, canary)
        prewarm(worker.MAX_WORKERS)
        ask((0, ("first", "x+1")))  # what Python imports lazily, it imports here
        watch = Watch()
        with concurrent.futures.ThreadPoolExecutor(worker.MAX_WORKERS) as pool:
            watch.on = True
            started = time.perf_counter()
            rows = list(pool.map(ask, enumerate(corpus)))
            total_s = time.perf_counter() - started
            watch.on = False
        pids = [idle.pid for idle in worker._pool._idle]
        shutdown()
        alive = [pid for pid in pids if Path(f"/proc/{pid}").exists()]
        slowest = sorted(rows, key=lambda row: -row[3])[:5]
        return {
            "count": len(corpus),
            "different": len({text for _, text in corpus}),
            "families": dict(collections.Counter(name for name, _ in corpus)),
            "verdicts": dict(collections.Counter(row[1] for row in rows)),
            "decided_by": dict(collections.Counter(row[2] for row in rows).most_common()),
            "total_s": round(total_s, 2),
            "max_s": round(slowest[0][3], 3),
            "slowest": [{"family": row[0], "s": round(row[3], 3), "pair": ascii(row[4])} for row in slowest],
            "not_refused": [ascii(row[4]) for row in rows if row[1] in ("correct", "raised")],
            "events_in_this_process": dict(watch.events),
            "workers_started": watch.workers_started,
            "canary_created": canary.exists(),
            "workers_left": len(alive),
            "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
            "load_average": [round(value, 1) for value in os.getloadavg()],
        }


def missed(result: dict[str, Any]) -> list[str]:
    bars = {
        f"total under {MAX_TOTAL_S:.0f} s": result["total_s"] < MAX_TOTAL_S,
        f"a call at most {MAX_CALL_S} s": result["max_s"] <= MAX_CALL_S,
        "nothing raised or correct": not result["not_refused"],
        "nothing executed here": not result["events_in_this_process"],
        "nothing executed anywhere": not result["canary_created"],
        "no worker left": not result["workers_left"],
        "all different": result["different"] == result["count"],
    }
    return [name for name, held in bars.items() if not held]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    result = run(arguments.count, arguments.seed)
    result["missed"] = missed(result)
    print(json.dumps(result, indent=2))
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    return 1 if result["missed"] else 0


if __name__ == "__main__":
    sys.exit(main())
