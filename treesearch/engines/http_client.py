"""JSON over HTTP to one server: one key, one retry layer, one limit of what is in flight.

Contract: `ask` sends a request, again where that may help (`http_retry`), and hands the answer's body to a
reader; a reader that finds it broken raises `Transient`. Cancelling the awaiting task, or leaving a body
unread, closes the connection, so that the server stops working on it. The key comes from the environment and
goes into one header; a message that would repeat it holds asterisks in its place. Redirects are not followed:
they would take the key elsewhere.

Connections belong to an event loop. Each loop that asks gets a pool and a limit of its own, held by an
asynchronous generator, which the loop closes when it shuts down; so one client serves several calls of
`asyncio.run`, one after the other or in several threads.

It knows nothing of the content of requests. Environment variables of proxies are honoured.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import httpx

from treesearch.engines.address import server_url
from treesearch.engines.base import EngineUsage
from treesearch.engines.http_limit import AdaptiveLimit
from treesearch.engines.http_retry import (
    Rejected,
    Retrier,
    RetryPolicy,
    Transient,
    Unreachable,
    failure_of,
    is_transient,
)

T = TypeVar("T")
Reader = Callable[[AsyncIterator[bytes]], Awaitable[T]]
_CONNECT_S = 10.0
_MOST_SAID = 300
"""Characters of a server's error message that are repeated."""
_NOT_LOAD = ("insufficient_quota", "billing_hard_limit_reached")
"""Codes of a 429 that waiting does not mend."""


class _Session:
    """The pool and the limit of one event loop."""

    def __init__(self, client: httpx.AsyncClient, limit: AdaptiveLimit) -> None:
        self.client, self.limit = client, limit
        self._holder = self._hold()

    async def start(self) -> None:
        """Let the running loop close the pool when it shuts down."""
        await anext(self._holder)

    async def close(self) -> None:
        """Close the pool now."""
        await self._holder.aclose()

    async def _hold(self) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            await self.client.aclose()


class HttpClient:
    """A client of the server at `url`; see the module.

    `key` is sent as a bearer token, None for none. `timeout_s` limits an attempt from its start to the last
    byte. `usage` is where attempts that failed, were made again or cancelled are counted.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        policy: RetryPolicy | None = None,
        timeout_s: float = 600.0,
        most_in_flight: int = 256,
        usage: EngineUsage | None = None,
    ) -> None:
        self.url = server_url(url)
        self.usage = usage or EngineUsage()
        self._retrier = Retrier(policy or RetryPolicy(), on_failure=self._failed, on_retry=self._again)
        self._key, self._timeout_s, self._most = key, timeout_s, most_in_flight
        self._verify = httpx.create_ssl_context() if self.url.startswith("https:") else False
        self._sessions: WeakKeyDictionary[asyncio.AbstractEventLoop, _Session] = WeakKeyDictionary()

    async def ask(
        self, path: str, body: Mapping[str, Any] | None, read: Reader[T], *, sequences: int = 1
    ) -> T:
        """What `read` makes of the answer to a POST of `body` (None: a GET), which writes `sequences`.

        Raises `Rejected` for an answer that will not change, `GaveUp` after too many failures.
        """
        session = await self._session()
        content = None if body is None else json.dumps(body, allow_nan=False).encode()

        async def attempt() -> T:
            async with session.limit.places(sequences):
                try:
                    result = await self._attempt(session.client, path, content, read)
                except Transient as failure:
                    if failure.overloaded:
                        session.limit.overloaded()
                    elif not failure.alive:
                        session.limit.troubled()
                    raise
                session.limit.succeeded(sequences)
                return result

        return await self._retrier.call(attempt)

    async def close(self) -> None:
        """Close the connections of the running loop."""
        session = self._sessions.pop(asyncio.get_running_loop(), None)
        if session is not None:
            await session.close()

    async def _session(self) -> _Session:
        loop = asyncio.get_running_loop()
        session = self._sessions.get(loop)
        if session is None:
            headers = {"Content-Type": "application/json"}
            if self._key:
                headers["Authorization"] = f"Bearer {self._key}"
            client = httpx.AsyncClient(
                headers=headers,
                verify=self._verify,
                timeout=httpx.Timeout(self._timeout_s, connect=_CONNECT_S, pool=None),
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=self._most),
            )
            session = self._sessions[loop] = _Session(client, AdaptiveLimit(most=self._most))
            await session.start()
        return session

    async def _attempt(
        self, client: httpx.AsyncClient, path: str, content: bytes | None, read: Reader[T]
    ) -> T:
        """One attempt, with whatever went wrong on the way as `Transient`."""
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                client.stream(
                    "GET" if content is None else "POST", self.url + path, content=content
                ) as answer,
            ):
                if answer.status_code != 200:
                    raise self._refusal(answer, await answer.aread())
                async with aclosing(_body(answer)) as chunks:
                    return await read(chunks)
        except asyncio.CancelledError:
            self.usage.unmetered += 1
            raise
        except TimeoutError as error:
            raise Transient(f"no whole reply within {self._timeout_s:g} s") from error
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise Unreachable(self._said(error), prompt_tokens=0, generated_tokens=0) from error
        except httpx.HTTPError as error:
            raise Transient(self._said(error)) from error

    def _failed(self, failure: Transient) -> None:
        self.usage.failed_prompt_tokens += failure.prompt_tokens or 0
        self.usage.failed_tokens += failure.generated_tokens or 0
        self.usage.unmetered += failure.prompt_tokens is None or failure.generated_tokens is None

    def _again(self) -> None:
        self.usage.retries += 1

    def _refusal(self, answer: httpx.Response, content: bytes) -> Exception:
        """The error that an answer other than 200 is."""
        message, parameter, code = _error_of(content)
        reason = f"HTTP {answer.status_code} from {self.url}: {self.redacted(message)[:_MOST_SAID]}"
        if is_transient(answer.status_code) and code not in _NOT_LOAD:
            return failure_of(answer.status_code, reason, answer.headers.get("retry-after"))
        if answer.is_redirect:
            reason += f" (to {self.redacted(answer.headers.get('location', ''))}; give that address)"
        return Rejected(reason, status=answer.status_code, parameter=parameter)

    def _said(self, error: Exception) -> str:
        return self.redacted(f"{self.url}: {type(error).__name__}: {error}".rstrip(": "))

    def redacted(self, text: str) -> str:
        """`text` on one line, with asterisks in place of the key."""
        text = " ".join(text.split())
        return text.replace(self._key, "***") if self._key else text


async def _body(answer: httpx.Response) -> AsyncGenerator[bytes]:
    """The chunks of an answer, a lost connection as `Transient`."""
    try:
        async for chunk in answer.aiter_bytes():
            yield chunk
    except httpx.HTTPError as error:
        raise Transient(f"the connection broke off ({type(error).__name__})") from error


async def whole(chunks: AsyncIterator[bytes]) -> bytes:
    """All of a body: a reader for answers that come in one piece."""
    return b"".join([chunk async for chunk in chunks])


def _error_of(content: bytes) -> tuple[str, str, str]:
    """Message, parameter and code of an error answer, in any of the shapes that servers give it."""
    try:
        found: Any = json.loads(content)
    except ValueError:
        return content.decode(errors="replace"), "", ""
    if isinstance(found, dict):
        found = found.get("error", found)
    if not isinstance(found, dict):
        return str(found), "", ""
    message = found.get("message") or found.get("detail") or json.dumps(found)
    return str(message), str(found.get("param") or ""), str(found.get("code") or found.get("type") or "")
