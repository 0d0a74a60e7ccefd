"""One vLLM engine in this process: opening it, its requests, their end, and closing it.

Contract: `VLLMClient.open` returns when the model is loaded; what is wrong comes as an error then.
vLLM's `AsyncLLM` belongs to one event loop, so it gets a loop in a thread of its own (`vllm_loop`), and
requests may come from any loop. A request whose caller is cancelled is aborted in vLLM, and its reader still
gets the last output, so that what was written is counted. `close` aborts what is open, which fails with
`EngineError`, and ends vLLM's processes; should this process die instead, a guard ends them (`vllm_guard`).

It does not know what a request asks for: that is the part of `vllm`, `vllm_certainty` and `vllm_pooling`.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import itertools
import multiprocessing
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Mapping, Sequence
from typing import Any, TypeVar

from tasks.errors import SearchError, UsageError
from treesearch.engines.base import EngineError, EngineUsage
from treesearch.engines.vllm_args import (
    import_vllm,
    missing_model,
    one_line,
    parse_args,
    quiet_children,
    safetensors_only,
)
from treesearch.engines.vllm_guard import Guard
from treesearch.engines.vllm_loop import LoopThread

T = TypeVar("T")
Reader = Callable[[AsyncIterator[Any]], Awaitable[T]]
"""Takes the outputs of a request as they come and makes the reply of them."""

_ABORT_POLL_S = 0.1
_ABORT_TRIES = 100
_WATCH_POLL_S = 0.2
_SHUT_DOWN_S = 20.0
"""Longer than vLLM's engine process gives its workers (5 s, and 4 s after SIGTERM)."""
_CORE = "EngineCore"
_OF_SCORER = "--set engine_args='...'; of the value of a search --set value.engine_args='...'"
_OF_ENGINE = f"--engine-args '...'; of a model that scores steps {_OF_SCORER}"
"""Where the arguments are given of a model that is read, and of one that writes, which a judge may be."""
_CLOSED_MEANWHILE = "the engine was closed while the request was under way"


class VLLMClient:
    """An open vLLM engine. `usage` is changed in the engine's thread alone.

    `model_config` is vLLM's own description of the model, `tokenizer` a `transformers` tokenizer of which
    nobody else has a copy, `vocabulary` the number of token ids and `max_context` vLLM's ``max_model_len``;
    `tasks` are vLLM's names of what the model can do.
    `model_hash` is that of `hf_load.weights_hash`; empty where the weights are not the model's safetensors
    as they are today (another revision or load format).
    """

    def __init__(self, llm: Any, loop: LoopThread, guard: Guard, *, pooling: bool = False) -> None:
        self.usage = EngineUsage()
        self.model_hash = ""
        self.model_config = llm.model_config
        self.tokenizer = copy.deepcopy(llm.get_tokenizer())
        self.vocabulary = int(self.model_config.get_vocab_size())
        self.max_context = int(self.model_config.max_model_len)
        self.tasks: tuple[str, ...] = tuple(loop.run(llm.get_supported_tasks()))
        self._llm: Any = llm
        self._send: Any = llm.encode if pooling else llm.generate
        self._loop, self._guard = loop, guard
        self._live: dict[str, asyncio.Task[Any]] = {}
        self._numbers = itertools.count()
        self._closing = False
        self._close_lock = threading.Lock()
        weakref.finalize(self, loop.stop_soon).atexit = False  # vLLM's own clean-up then needs the loop

    @classmethod
    def open(cls, model: str, *, args: str, defaults: Mapping[str, Any], pooling: bool = False) -> VLLMClient:
        """Load a local folder or hub id; `args` and `defaults` are those of `vllm_args.parse_args`.

        Raises `UsageError` for wrong arguments, `MissingPrerequisiteError` for a model that is not there,
        `EngineError` where vLLM's engine does not start.
        """
        engine_args = parse_args(model, args, defaults)
        from treesearch.engines.hf_load import weights_hash  # after the one that says what is missing

        guard, loop = Guard(), LoopThread("vllm-engine")
        try:
            with quiet_children(), _watched(guard):
                client = cls(loop.run(_start(engine_args, pooling)), loop, guard, pooling=pooling)
            if safetensors_only(engine_args) and engine_args.revision is None:
                client.model_hash = weights_hash(engine_args.model)
            return client
        except BaseException:
            loop.stop()
            guard.release()
            raise

    async def request(
        self,
        prompt: Sequence[int],
        params: Any,
        read: Reader[T],
        *,
        counted: bool = False,
    ) -> T:
        """What `read` makes of the outputs of one request; `params` are vLLM's.

        `read` runs in the engine's thread. With `counted` the request is in `usage` already.
        """
        return await self._loop.ask(self._request(list(prompt), params, read, counted=counted))

    def check_ids(self, token_ids: Sequence[int]) -> list[int]:
        """The ids as a list, one token to begin with where there are none; `EngineError` for a bad id."""
        ids = [int(token) for token in token_ids]
        if not ids:
            starts = (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id)
            ids = [token for token in starts if token is not None][:1]
        if not ids:
            raise EngineError("the prompt is empty and the tokenizer has no token to begin with; give one")
        bad = [token for token in (min(ids), max(ids)) if not 0 <= token < self.vocabulary]
        if bad:
            raise EngineError(
                f"token id {bad[0]} is outside the model's vocabulary of {self.vocabulary}; "
                "encode with the tokenizer of this engine"
            )
        return ids

    async def close(self) -> None:
        """Abort what is open and end vLLM's processes; may be called again."""
        await asyncio.to_thread(self.close_and_wait)

    def close_and_wait(self) -> None:
        """`close` where there is no event loop; takes some seconds."""
        with self._close_lock:
            if self._closing:
                return
            self._closing = True
            with contextlib.suppress(EngineError):  # its thread is gone: the guard ends the processes
                self._loop.run(self._shut_down())
            self._loop.stop()
            self._guard.release()

    async def _shut_down(self) -> None:
        try:
            for request_id, task in list(self._live.items()):
                await self._abort(request_id, task)
        finally:
            self._llm.shutdown(timeout=_SHUT_DOWN_S)
            self._llm = self._send = None  # else it shuts down again while the interpreter ends
            multiprocessing.active_children()  # takes in the exit status of those that had to be killed

    async def _request(self, prompt: list[int], params: Any, read: Reader[T], *, counted: bool) -> T:
        """`request` in the engine's thread."""
        if self._closing:
            raise EngineError("the engine is closed; open a new one")
        if not counted:
            self.usage.requests += 1
            self.usage.prompt_tokens += len(prompt)
        request_id = str(next(self._numbers))
        tokens = import_vllm("vllm.inputs").tokens_input(prompt)
        task = asyncio.ensure_future(self._read(self._send(tokens, params, request_id), read))
        self._live[request_id] = task
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await self._abort(request_id, task)
            raise
        finally:
            del self._live[request_id]

    async def _read(self, outputs: Any, read: Reader[T]) -> T:
        """The reply to a request, every failure of vLLM as `EngineError`."""
        try:
            async with contextlib.aclosing(outputs):
                reply = await read(outputs)
        except Exception as error:
            if self._closing:
                raise EngineError(_CLOSED_MEANWHILE) from error
            if isinstance(error, SearchError):
                raise
            raise EngineError(f"vLLM failed on the request: {one_line(error)}") from error
        if self._closing:
            raise EngineError(_CLOSED_MEANWHILE)
        return reply

    async def _abort(self, request_id: str, task: asyncio.Task[Any]) -> None:
        """Have vLLM end a request, and wait until its reader has.

        An abort is lost on a request that vLLM has not taken in yet, so it is said again until it works.
        """
        for _ in range(_ABORT_TRIES):
            if task.done():
                break
            await self._llm.abort(request_id)
            await asyncio.wait({task}, timeout=_ABORT_POLL_S)
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # nobody else asks for it


async def last_output(outputs: AsyncIterator[Any]) -> Any:
    """The last output of a request."""
    last: Any = None
    async for output in outputs:
        last = output
    if last is None:
        raise EngineError("vLLM ended the request without an answer")
    return last


async def _start(engine_args: Any, pooling: bool) -> Any:
    """vLLM's engine over a model. In the loop that it belongs to from now on."""
    try:
        config = engine_args.create_engine_config()
    except OSError as error:
        raise missing_model(engine_args.model, error) from error
    except Exception as error:
        raise UsageError(f"vLLM cannot run {engine_args.model!r} like this: {one_line(error)}") from error
    try:
        return import_vllm("vllm.v1.engine.async_llm").AsyncLLM.from_vllm_config(
            config, disable_log_stats=engine_args.disable_log_stats
        )
    except Exception as error:
        raise EngineError(
            f"vLLM did not start: {one_line(error)}; the cause is in its log above (with "
            "VLLM_LOGGING_LEVEL=INFO all of it); where memory is short, lower --max-model-len or "
            f"--gpu-memory-utilization ({_OF_SCORER if pooling else _OF_ENGINE})"
        ) from error


@contextlib.contextmanager
def _watched(guard: Guard) -> Generator[None]:
    """Tell the guard of vLLM's engine processes as they start, for a kill while the model loads."""
    loaded = threading.Event()

    def watch() -> None:
        while True:
            last = loaded.wait(_WATCH_POLL_S)
            children = multiprocessing.active_children()
            guard.watch(child.pid for child in children if child.name.startswith(_CORE) and child.pid)
            if last:
                return

    thread = threading.Thread(target=watch, name="vllm-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        loaded.set()
        thread.join()
