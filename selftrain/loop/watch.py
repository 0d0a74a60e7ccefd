"""What a run tells while it goes on, and how it is stopped: callbacks that a display implements.

Contract: `stage` is called when a stage begins, ends or is given up; `search` with the progress of a search
or evaluation at least once a second; `training` with whatever the trainer reports. None of them may raise.
`in_thread` runs blocking work beside the event loop: when the awaiting task is cancelled, the work is asked
to stop (its `stop` says True), is waited for, and then the cancellation goes on.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from treesearch.run.runner import Progress

T = TypeVar("T")
Stop = Callable[[], bool]


def _quiet(*_: Any) -> None:
    """The display of a run that nobody watches."""


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Callbacks; each does nothing by default. `stage` gets iteration, stage and a line of text."""

    stage: Callable[[int, str, str], None] = _quiet
    search: Callable[[Progress], None] = _quiet
    training: Callable[[Any], None] = _quiet


async def in_thread(job: Callable[[Stop], T]) -> T:
    """The result of `job`, run in a thread; see the module."""
    asked = threading.Event()
    work = asyncio.ensure_future(asyncio.to_thread(job, asked.is_set))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        asked.set()
        await asyncio.gather(work, return_exceptions=True)
        raise
