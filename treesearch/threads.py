"""Blocking work beside an event loop, which can be asked to stop.

Contract: when the task that awaits `in_thread` is cancelled, the work is asked to stop (its `stop` says True)
and waited for; then the cancellation goes on, or the work's own error if it ends with one.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
Stop = Callable[[], bool]


def _nothing() -> None:
    """Nobody needs to know."""


async def in_thread(job: Callable[[Stop], T], *, on_stop: Callable[[], None] = _nothing) -> T:
    """The result of `job`, run in a thread; `on_stop` is called once it was asked to stop."""
    asked = threading.Event()
    work = asyncio.ensure_future(asyncio.to_thread(job, asked.is_set))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        asked.set()
        on_stop()
        await work
        raise
