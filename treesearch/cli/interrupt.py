"""Running a coroutine that ctrl-C and SIGTERM stop cleanly.

The first signal cancels it, so that it can flush what it has; a second one kills the process, as it would
without us. Outside the main thread, where signals cannot be handled, it just runs.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):
    """The coroutine was stopped by a signal, and has cleaned up."""


def run_interruptible(job: Coroutine[Any, Any, T]) -> T:
    """The result of `job`; `Interrupted` if a signal stopped it."""
    return asyncio.run(_guarded(job))


async def _guarded(job: Coroutine[Any, Any, T]) -> T:
    task = asyncio.ensure_future(job)
    if threading.current_thread() is not threading.main_thread():
        return await task
    loop = asyncio.get_running_loop()
    stopped = False

    def stop() -> None:
        nonlocal stopped
        stopped = True
        for each in _SIGNALS:
            loop.remove_signal_handler(each)
            signal.signal(each, signal.SIG_DFL)
        task.cancel()

    before = {each: signal.getsignal(each) for each in _SIGNALS}
    for each in _SIGNALS:
        loop.add_signal_handler(each, stop)
    try:
        return await task
    except asyncio.CancelledError:
        if stopped:
            raise Interrupted from None
        raise
    finally:
        for each in _SIGNALS:
            if not stopped:
                loop.remove_signal_handler(each)
                signal.signal(each, before[each])
