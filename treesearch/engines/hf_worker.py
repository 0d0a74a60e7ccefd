"""The thread that owns the model: takes requests, runs the batch, delivers replies.

Contract: `submit` may be called from any event loop; it returns a future of that loop. Requests wait first
come first served and join the running batch between steps as rows become free, a request of many samples
in parts where need be, one without replacement as a whole. Between steps waiting log-prob requests are run,
one forward pass at a time. A failure (out of memory, say) fails the requests that were in that pass with
`EngineError`; the thread goes on. A cancelled request leaves at the next step. `close` fails what is open.

It does not check requests: that is the engine's part, before they come here.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from treesearch.engines.base import EngineError, EngineUsage
from treesearch.engines.hf_batch import Batch
from treesearch.engines.hf_decoder import Decoder
from treesearch.engines.hf_rows import SampleRequest

_SCORE_TOKENS = 4096
"""Most tokens, padding included, of a forward pass that scores; a longer request runs alone."""


@dataclass(eq=False, kw_only=True)
class ScoreRequest:
    """Log-probabilities of a completion under way."""

    prompt: tuple[int, ...]
    completion: tuple[int, ...]
    cancelled: bool = False

    @property
    def size(self) -> int:
        """Tokens of the whole."""
        return len(self.prompt) + len(self.completion)


Request = SampleRequest | ScoreRequest
_Reply = tuple["asyncio.Future[Any]", Any]
_CLOSE = None


class Worker:
    """One thread over a decoder and its batch. `usage` is kept up to date by the thread alone."""

    def __init__(self, decoder: Decoder, batch: Batch, usage: EngineUsage, *, threads: int) -> None:
        self._decoder = decoder
        self._batch = batch
        self._usage = usage
        self._threads = threads
        self._inbox: queue.SimpleQueue[tuple[Request, asyncio.Future[Any] | None] | None] = (
            queue.SimpleQueue()
        )
        self._lock = threading.Lock()
        self._closed = False
        self._futures: dict[Request, asyncio.Future[Any]] = {}
        self._waiting: deque[SampleRequest] = deque()
        self._scores: deque[ScoreRequest] = deque()
        self._replies: list[_Reply] = []
        self._thread = threading.Thread(target=self._run, name="transformers-engine", daemon=True)
        self._thread.start()

    def submit(self, request: Request) -> asyncio.Future[Any]:
        """Queue a request; the future holds its samples or log-probabilities."""
        future = asyncio.get_running_loop().create_future()
        with self._lock:
            if self._closed:
                raise EngineError("the engine is closed; open a new one")
            self._inbox.put((request, future))
        return future

    def cancel(self, request: Request) -> None:
        """Let a request go at the next step. Its future is not touched any more."""
        request.cancelled = True
        with self._lock:
            if not self._closed:
                self._inbox.put((request, None))

    def close(self) -> None:
        """Fail what is open and end the thread; waits for the pass under way."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._inbox.put(_CLOSE)
        self._thread.join()

    def _run(self) -> None:
        """The thread's body."""
        if self._threads:
            torch.set_num_threads(self._threads)
        try:
            with torch.inference_mode():
                while self._receive():
                    self._join()
                    self._score()
                    self._step()
                    self._deliver()
            error = EngineError("the engine was closed while the request was under way")
        except Exception as cause:  # noqa: BLE001  a thread has no caller: its failure goes to the requests
            error = EngineError(f"the engine's thread failed ({cause!r}); open a new engine")
            error.__cause__ = cause
        with self._lock:
            self._closed = True
        while not self._inbox.empty():
            self._accept(self._inbox.get())
        self._fail(list(self._futures), error)
        self._deliver()

    def _receive(self) -> bool:
        """Take in what has arrived, waiting if there is nothing to do; False when the engine closes."""
        idle = not (len(self._batch) or self._waiting or self._scores)
        while idle or not self._inbox.empty():
            item = self._inbox.get()
            if item is _CLOSE:
                return False
            self._accept(item)
            idle = False
        return True

    def _accept(self, item: tuple[Request, asyncio.Future[Any] | None] | None) -> None:
        """Queue a request, or let a cancelled one go."""
        if item is None:
            return
        request, future = item
        if future is None:
            if self._futures.pop(request, None) is not None and isinstance(request, SampleRequest):
                self._batch.drop([request])
            return
        self._futures[request] = future
        self._usage.requests += 1
        if isinstance(request, SampleRequest):
            self._waiting.append(request)
        else:
            self._scores.append(request)

    def _join(self) -> None:
        """Let waiting requests into the batch as far as there is room."""
        room = self._batch.max_rows - len(self._batch)
        joining: list[tuple[SampleRequest, int]] = []
        while self._waiting and room:
            request = self._waiting[0]
            if request.cancelled:
                self._waiting.popleft()
                continue
            count = min(room, request.n - request.admitted)
            if request.beams is not None and count < request.n:
                break
            room -= count
            joining.append((request, count))
            if request.admitted == 0:
                self._usage.prompt_tokens += len(request.prompt)
            if request.admitted + count < request.n:
                break
            self._waiting.popleft()
        if joining:
            self._guard(lambda: self._batch.admit(joining), [request for request, _ in joining])

    def _score(self) -> None:
        """Run one forward pass of waiting log-prob requests."""
        requests: list[ScoreRequest] = []
        longest = 0
        while self._scores:
            longest = max(longest, self._scores[0].size)
            if requests and longest * (len(requests) + 1) > _SCORE_TOKENS:
                break
            request = self._scores.popleft()
            if not request.cancelled:
                requests.append(request)
                self._usage.prompt_tokens += request.size
        if requests:
            self._guard(lambda: self._run_scores(requests), requests)

    def _run_scores(self, requests: Sequence[ScoreRequest]) -> None:
        """Score a group of requests and reply."""
        scored = self._decoder.score([r.prompt for r in requests], [r.completion for r in requests])
        for request, logprobs in zip(requests, scored, strict=True):
            self._reply(request, logprobs)

    def _step(self) -> None:
        """Write one token for every row of the batch."""
        if len(self._batch):
            self._guard(self._run_step, ())

    def _run_step(self) -> None:
        """A step of the batch; replies to the requests that it completes."""
        complete, written = self._batch.step()
        self._usage.generated_tokens += written
        for request in complete:
            self._reply(request, [request.samples[number] for number in sorted(request.samples)])

    def _guard(self, work: Callable[[], None], requests: Sequence[Request]) -> None:
        """Do `work`; if it fails, fail `requests` and the running batch, whose memory is given back."""
        try:
            work()
        except Exception as cause:  # noqa: BLE001  any failure of the model belongs to the requests in it
            affected = list(dict.fromkeys((*requests, *self._batch.requests)))
            error = EngineError(
                f"the model failed on a batch of {len(affected)} requests: {cause!r}; if memory ran out, "
                "open the engine with a smaller max_sequences or max_context"
            )
            error.__cause__ = cause
            self._batch.reset()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            self._fail(affected, error)

    def _fail(self, requests: Sequence[Request], error: EngineError) -> None:
        """Reply with an error, and forget what of the requests still waits."""
        for request in requests:
            request.cancelled = True
            self._reply(request, error)

    def _reply(self, request: Request, reply: Any) -> None:
        """Note a reply for the next delivery."""
        future = self._futures.pop(request, None)
        if future is not None:
            self._replies.append((future, reply))

    def _deliver(self) -> None:
        """Hand the replies to their event loops, one call for each loop."""
        by_loop: dict[asyncio.AbstractEventLoop, list[_Reply]] = {}
        for future, reply in self._replies:
            by_loop.setdefault(future.get_loop(), []).append((future, reply))
        self._replies.clear()
        for loop, replies in by_loop.items():
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(_resolve, replies)


def _resolve(replies: Sequence[_Reply]) -> None:
    """Set results in the futures' own loop."""
    for future, reply in replies:
        if future.done():
            continue
        if isinstance(reply, EngineError):
            future.set_exception(reply)
        else:
            future.set_result(reply)
