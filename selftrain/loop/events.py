"""The event log of a run: one line a stage that began, ended, was taken over or was given up.

Contract: append-only JSON lines, each written with one fsync; a torn last line is cut off before the next
append, and what is no event is left out in reading. It is a record for people and tests (how often was a
stage run?), never read to decide what to do: that is in the manifests. Times are seconds since 1970.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

FILE = "events.jsonl"


class EventLog:
    """Appends to the event log of the run in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        if self.path.exists():
            content = self.path.read_bytes()
            if not content.endswith(b"\n"):
                with self.path.open("rb+") as file:
                    file.truncate(content.rfind(b"\n") + 1)

    def __call__(self, event: str, *, stage: str = "", iteration: int | None = None, **more: Any) -> None:
        """Add one event: `start`, `finish`, `skip`, `interrupt`, `fail`, `redo`, `open` or `close`."""
        row: dict[str, Any] = {"time": round(time.time(), 3), "event": event, "pid": os.getpid()}
        if stage:
            row |= {"stage": stage, "iteration": iteration}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row | more, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())


def read_events(folder: Path) -> list[dict[str, Any]]:
    """All events of a run, in order."""
    path = folder / FILE
    if not path.exists():
        return []
    found = map(_event, path.read_bytes().split(b"\n")[:-1])
    return [event for event in found if event is not None]


def _event(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None


def seconds_before(folder: Path, stage: str, iteration: int) -> float:
    """Seconds that interrupted and failed parts of a stage took, since it was last finished or redone."""
    total = 0.0
    for event in read_events(folder):
        if event["event"] in ("redo", "finish") and event.get("stage") == stage:
            total = 0.0 if event.get("iteration") == iteration else total
        elif event["event"] in ("interrupt", "fail") and (event.get("stage"), event.get("iteration")) == (
            stage,
            iteration,
        ):
            total += float(event.get("seconds", 0.0))
    return total
