"""An event loop in a thread of its own, that coroutines of other loops hand work to.

Contract: `ask` runs a coroutine in the thread's loop and waits for it in the caller's; cancelling the caller
cancels it. Several loops may ask at once. `run` is the same for a thread without a loop. Once `stop` was
called, both raise `EngineError`. The thread does not keep the process alive, and SIGINT is blocked in it, so
that processes started from there are not ended by a ctrl-C in the terminal: their owner ends them.

It does not know what runs in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from multiprocessing import resource_tracker
from typing import Any, TypeVar

from treesearch.engines.base import EngineError

T = TypeVar("T")


class LoopThread:
    """The thread runs from construction to `stop`.

    The constructor returns when the thread is under way: the process that it starts copies the environment,
    which nobody may change meanwhile.
    """

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._lock = threading.Lock()
        self._stopped = False
        under_way = threading.Event()
        self._thread = threading.Thread(target=_run, args=(self._loop, under_way), name=name, daemon=True)
        self._thread.start()
        under_way.wait()

    async def ask(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, run in the thread."""
        return await asyncio.wrap_future(self._submit(work))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`; blocks, so it must not be called from the thread itself."""
        return self._submit(work).result()

    def stop(self) -> None:
        """Cancel what still runs and end the thread."""
        self.stop_soon()
        self._thread.join()

    def stop_soon(self) -> None:
        """`stop` without waiting; may be called from any thread, also more than once."""
        with self._lock:
            if self._stopped:
                return
            self._stopped = True
        with contextlib.suppress(RuntimeError):  # the loop has ended by itself
            self._loop.call_soon_threadsafe(self._loop.stop)

    def _submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        with self._lock:
            if self._stopped or not self._thread.is_alive():
                work.close()
                raise EngineError("the engine is closed; open a new one")
            return asyncio.run_coroutine_threadsafe(work, self._loop)


def _run(loop: asyncio.AbstractEventLoop, under_way: threading.Event) -> None:
    """The thread's body."""
    try:
        _block_interrupts()
    finally:
        under_way.set()
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        asyncio.set_event_loop(None)
        loop.close()


def _block_interrupts() -> None:
    """Block SIGINT in this thread and in processes started from it."""
    if hasattr(signal, "pthread_sigmask"):
        resource_tracker.ensure_running()  # starting it later would unblock the signal again
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
