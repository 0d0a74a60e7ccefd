"""Kills runs of the loop with SIGKILL at their durable writes, resumes them, and reports what came out.

    python loop_kills.py WORLD

A run is forked off for each kill: in the child the n-th `fsync` or rename that a stage makes is not made,
the process kills itself instead. A second child resumes the run to its end. Reported as JSON: the hashes of
the uninterrupted run, and for each kill where it was, the hashes of the resumed run and how often each stage
began and was finished.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "treesearch"))

import torch
from loop_worlds import World, make_world

import prm.labels.store
import prm.training
import selftrain.loop.labelling
import selftrain.loop.session
import selftrain.training
import treesearch.journal
import treesearch.run.session
from selftrain.loop import run
from selftrain.loop.context import Context
from selftrain.loop.events import read_events
from selftrain.loop.layout import iteration_folder

torch.set_num_threads(1)
# Writes that do not depend on the clock: a commit for each record, and no summary on the way.
treesearch.journal.COMMIT_SECONDS = 0.0
prm.labels.store.COMMIT_SECONDS = 0.0
treesearch.run.session.CHECKPOINT_S = float("inf")
treesearch.run.session.prewarm = lambda: None  # these answers are graded in the process
for loaded in (prm.training.train, selftrain.training.train):  # children need not import them again
    assert callable(loaded)

CHANGES: dict[str, Any] = {
    "search__settings": {"n": 8, "policy.solution_tokens": 64},
    "prm": {
        "rule": "soft",
        "settings": {"epochs": 1, "batch_size": 8, "holdout": 0.0, "checkpoint_every": 1},
        "use": "search",
    },
    "builder": {"name": "sft", "rewards": "log-ratio", "phases": 2},
    "tune": {"temperatures": [0.7, 1.0], "setting": "min_distance", "problems": 2, "samples": 2},
    "evaluate__concurrency": 1,
    "search__concurrency": 2,
}


def hashes(out: Path) -> dict[str, str]:
    """Hash of every stage and of the iteration."""
    found: dict[str, str] = {}
    for number in (0, 1):
        for path in sorted(iteration_folder(out, number).glob("**/manifest.json")):
            content = json.loads(path.read_text())
            found[f"{number}/{content.get('stage', 'iteration')}"] = content["hash"]
    return found


def places_of_stages(out: Path) -> set[str]:
    """Every stage that ran, as ``iteration/stage``."""
    return {f"{event['iteration']}/{event['stage']}" for event in read_events(out) if "stage" in event}


class Writes:
    """Counts durable writes, those of each stage by themselves; kills the process at one of them."""

    def __init__(self, kill: tuple[str, int] | None) -> None:
        self.kill = kill
        self.place = "before"
        self.seen: Counter[str] = Counter()
        os.fsync = self._counted(lambda _: None)  # what was written outlives a kill, synced or not
        for name in ("replace", "rename"):
            setattr(os, name, self._counted(getattr(os, name)))
        original = Context._run

        async def entered(context: Context, folder: Path, now: Any, work: Any) -> Any:
            self.place = f"{now.iteration}/{now.stage}"
            try:
                return await original(context, folder, now, work)
            finally:
                self.place = f"after {now.iteration}/{now.stage}"

        Context._run = entered  # type: ignore[method-assign]

    def _counted(self, original: Any) -> Any:
        def write(*args: Any, **kwargs: Any) -> Any:
            self.seen[self.place] += 1
            if self.kill == (self.place, self.seen[self.place]):
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **kwargs)

        return write


def forked(world: World, out: Path, kill: tuple[str, int] | None, report: Path) -> int:
    """Run in a child; returns how it ended, as `os.waitpid` says it."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            writes = Writes(kill)
            run(world.config(**CHANGES), out)
            report.write_text(json.dumps(writes.seen))
            code = 0
        finally:
            if code:
                traceback.print_exc()
            sys.stdout.flush()
            os._exit(code)
    return os.waitpid(child, 0)[1]


def main() -> None:
    world = make_world(Path(sys.argv[1]), problems=4, heldout=3)
    report = world.folder / "writes.json"
    plain = world.folder / "plain"
    assert forked(world, plain, None, report) == 0
    counts: dict[str, int] = json.loads(report.read_text())
    kills: list[dict[str, Any]] = []
    for place, count in counts.items():
        inside = place in places_of_stages(plain)
        for number in sorted({1, (count + 1) // 2, count} if inside else {count}):
            out = world.folder / f"{place.replace('/', '-').replace(' ', '-')}-{number}"
            killed = forked(world, out, (place, number), report)
            resumed = forked(world, out, None, report)
            events = read_events(out)
            kills.append(
                {
                    "place": place,
                    "number": number,
                    "killed": os.WIFSIGNALED(killed) and os.WTERMSIG(killed) == signal.SIGKILL,
                    "resumed": resumed == 0,
                    "hashes": hashes(out),
                    "started": count_of(events, "start"),
                    "finished": count_of(events, "finish"),
                }
            )
    print(json.dumps({"hashes": hashes(plain), "writes": counts, "kills": kills}))


def count_of(events: list[dict[str, Any]], event: str) -> dict[str, int]:
    return dict(Counter(f"{e['iteration']}/{e['stage']}" for e in events if e["event"] == event))


if __name__ == "__main__":
    main()
