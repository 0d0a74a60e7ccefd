"""A thread that takes requests from any event loop, runs them in batches and delivers the replies.

Contract: `ask` waits for a reply without blocking its loop. Whatever has arrived while a batch ran is the
next batch, in order of arrival, up to `limit` in size (a larger request runs alone). A cancelled request is
left out of batches that have not begun. A batch that fails fails its requests with `EngineError`; the thread
goes on. `close` fails what is open and ends the thread.

It knows nothing of models: `run` is given.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from treesearch.engines.base import EngineError

Q = TypeVar("Q")
R = TypeVar("R")
_CLOSED = "the scorer is closed; open a new one"


@dataclass(eq=False)
class _Asked(Generic[Q]):
    """A request on its way."""

    request: Q
    size: int
    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop
    cancelled: bool = False


class BatchWorker(Generic[Q, R]):
    """See the module. `run` is called in the thread, `start` once at its beginning."""

    def __init__(
        self,
        run: Callable[[Sequence[Q]], Sequence[R]],
        *,
        limit: int,
        start: Callable[[], None] = lambda: None,
        name: str = "scorer",
    ) -> None:
        self._run_batch, self._start, self._limit = run, start, limit
        self._inbox: queue.SimpleQueue[_Asked[Q] | None] = queue.SimpleQueue()
        self._waiting: deque[_Asked[Q]] = deque()
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    async def ask(self, request: Q, size: int) -> R:
        """The reply to a request of `size`; `EngineError` where its batch fails."""
        loop = asyncio.get_running_loop()
        asked = _Asked(request, size, loop.create_future(), loop)
        with self._lock:
            if self._closed:
                raise EngineError(_CLOSED)
            self._inbox.put(asked)
        try:
            return await asked.future
        except asyncio.CancelledError:
            asked.cancelled = True
            raise

    def close(self) -> None:
        """End the thread once its batch is done; may be called again."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._inbox.put(None)
        self._thread.join()

    def _run(self) -> None:
        self._start()
        while self._receive():
            batch = self._next_batch()
            if batch:
                self._do(batch)
        error = EngineError("the scorer was closed while the request was under way")
        _deliver([(asked, error) for asked in self._waiting])

    def _receive(self) -> bool:
        """Take in what has arrived, waiting if nothing is left to do; False when the scorer closes."""
        going = True
        while not self._waiting or not self._inbox.empty():
            asked = self._inbox.get()
            if asked is None:
                going = False
                break
            self._waiting.append(asked)
        return going

    def _next_batch(self) -> list[_Asked[Q]]:
        batch, size = list[_Asked[Q]](), 0
        while self._waiting:
            asked = self._waiting[0]
            if asked.cancelled:
                self._waiting.popleft()
                continue
            if batch and size + asked.size > self._limit:
                break
            size += asked.size
            batch.append(self._waiting.popleft())
        return batch

    def _do(self, batch: Sequence[_Asked[Q]]) -> None:
        try:
            replies: Sequence[Any] = self._run_batch([asked.request for asked in batch])
        except Exception as cause:  # noqa: BLE001  any failure of the model belongs to the requests in it
            error = EngineError(
                f"the model failed on a batch of {len(batch)} solutions: {cause!r}; if memory ran out, open "
                "the scorer with a smaller batch_tokens or cache_mb"
            )
            error.__cause__ = cause
            replies = [error] * len(batch)
        _deliver(list(zip(batch, replies, strict=True)))


def _deliver(replies: Sequence[tuple[_Asked[Any], Any]]) -> None:
    """Hand the replies to their event loops, one call for each loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = {}
    for asked, reply in replies:
        by_loop.setdefault(asked.loop, []).append((asked.future, reply))
    for loop, group in by_loop.items():
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_resolve, group)


def _resolve(replies: Sequence[tuple[asyncio.Future[Any], Any]]) -> None:
    """Set results in the futures' own loop."""
    for future, reply in replies:
        if future.done():
            continue
        if isinstance(reply, EngineError):
            future.set_exception(reply)
        else:
            future.set_result(reply)
