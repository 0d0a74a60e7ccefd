"""The one retry layer of everything that asks a server: what is tried again, when, and when to give up.

An attempt that may succeed when made again raises `Transient`, one that cannot raises `Rejected`; every
other error passes through. `Retrier.call` waits between attempts with full jitter (a uniform draw from 0 to
the cap that doubles with each attempt; Brooker, "Exponential Backoff and Jitter", AWS 2015), at least as
long as the server's Retry-After says. It gives up with `EngineError` after a bounded number of attempts, at
once where the server asks for longer than `LONGEST_WAIT_S`, and at once for all requests while the `Breaker`
of the endpoint is open: nothing but failures for `patience_s`. An open breaker lets one attempt through now
and then; the first success closes it.

It knows nothing of the protocol beyond status codes, and starts no request by itself. The HTTP client below
it must not retry.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from tasks.errors import UsageError
from treesearch.engines.base import EngineError

T = TypeVar("T")
LONGEST_WAIT_S = 600.0
"""The longest Retry-After that is waited for."""
_REFUSED = (408, 409, 425, 429)
_ENOUGH_FAILURES = 5
_TRIALS = 4
"""Attempts that an open breaker lets through in `patience_s`."""


class Transient(Exception):
    """An attempt failed and may be made again.

    `retry_after_s` is what the server asked for. `overloaded`: it has too much to do. `alive`: it works, and
    turned only this attempt away. `prompt_tokens` and `generated_tokens` are what the attempt cost; None
    where the reply does not show it.
    """

    def __init__(
        self,
        reason: str,
        *,
        retry_after_s: float | None = None,
        overloaded: bool = False,
        alive: bool = False,
        prompt_tokens: int | None = None,
        generated_tokens: int | None = None,
    ) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s
        self.overloaded = overloaded
        self.alive = alive
        self.prompt_tokens = prompt_tokens
        self.generated_tokens = generated_tokens


class Unreachable(Transient):
    """No connection came about, so that nothing was asked."""


class Rejected(EngineError):
    """The server answered that it will not serve this request; asking again would not help.

    `status` is the HTTP status; `parameter` the request's field that the server names, or empty.
    """

    def __init__(self, message: str, *, status: int = 0, parameter: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.parameter = parameter


class GaveUp(EngineError):
    """All attempts failed, or the endpoint's breaker is open; `last` is the last failure."""

    def __init__(self, message: str, last: Transient | None) -> None:
        super().__init__(message)
        self.last = last


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How often and how long. `attempts` counts the first one. Seconds: `base_s` is the cap of the first
    wait, `cap_s` that of all; `patience_s` of nothing but failures open the breaker.
    """

    attempts: int = 8
    base_s: float = 0.5
    cap_s: float = 60.0
    patience_s: float = 60.0

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise UsageError(f"attempts must be at least 1, got {self.attempts}")
        for name in ("base_s", "cap_s", "patience_s"):
            if not getattr(self, name) >= 0:
                raise UsageError(f"{name} must be at least 0, got {getattr(self, name)}")


def is_transient(status: int) -> bool:
    """Whether an answer with this HTTP status may be another one when asked again."""
    return status in _REFUSED or status >= 500


def failure_of(status: int, reason: str, retry_after: str | None, *, now: float | None = None) -> Transient:
    """The failure for a transient status; an answer that is an error costs nothing."""
    return Transient(
        reason,
        retry_after_s=retry_after_s(retry_after, now=time.time() if now is None else now),
        overloaded=status in (429, 503),
        alive=status in _REFUSED,
        prompt_tokens=0,
        generated_tokens=0,
    )


def retry_after_s(header: str | None, *, now: float) -> float | None:
    """Seconds that a Retry-After header asks for: a number, or an HTTP date relative to `now` (Unix time).

    None where there is none or it cannot be read; never negative.
    """
    if header is None:
        return None
    text = header.strip()
    if text.replace(".", "", 1).isdecimal():
        return float(text)
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # a year beyond the calendar's
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.fromtimestamp(now, UTC)).total_seconds())


def wait_s(policy: RetryPolicy, attempt: int, asked_s: float | None, draw: float) -> float:
    """Seconds to wait after failed attempt number `attempt` (from 1); `draw` is uniform in [0, 1).

    What the server asked for is the least; the jitter on top keeps those that it turned away from coming
    back together.
    """
    cap = min(policy.cap_s, policy.base_s * 2.0 ** min(attempt - 1, 60))
    jitter = draw * cap
    return jitter if asked_s is None else asked_s + min(jitter, policy.base_s)


class Breaker:
    """Opens after `patience_s` of nothing but failures, so that a dead server fails every request quickly."""

    def __init__(self, patience_s: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience_s, self._clock = patience_s, clock
        self._since = self._tried = 0.0
        self._failures = 0
        self._last: Transient | None = None

    def worked(self) -> None:
        """The server answered."""
        self._failures = 0

    def failed(self, failure: Transient) -> None:
        """It did not."""
        if self._failures == 0:
            self._since = self._tried = self._clock()
        self._failures += 1
        self._last = failure

    @property
    def open(self) -> bool:
        """Whether the endpoint counts as dead."""
        lasted = self._clock() - self._since
        return self._failures >= _ENOUGH_FAILURES and lasted >= self._patience_s

    def check(self) -> None:
        """Raise `GaveUp` while open, but for a trial now and then."""
        if not self.open:
            return
        now = self._clock()
        if now - self._tried >= max(1.0, self._patience_s / _TRIALS):
            self._tried = now
            return
        raise GaveUp(
            f"the server has not answered for {now - self._since:.0f} s ({self._failures} attempts; the last "
            f"one: {self._last}); see whether it runs, then take the run up again",
            self._last,
        )


class Retrier:
    """Makes attempts until one succeeds; see the module.

    `on_failure` hears of every failed attempt, `on_retry` of every attempt that is made again.
    """

    def __init__(
        self,
        policy: RetryPolicy,
        *,
        on_failure: Callable[[Transient], None] = lambda _: None,
        on_retry: Callable[[], None] = lambda: None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.policy = policy
        self.breaker = Breaker(policy.patience_s, clock=clock)
        self._on_failure, self._on_retry = on_failure, on_retry
        self._sleep, self._draw = sleep, draw

    async def call(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """The result of `attempt`, made up to `policy.attempts` times."""
        number = 0
        while True:
            self.breaker.check()
            number += 1
            try:
                result = await attempt()
            except Transient as failure:
                self._on_failure(failure)
                wait = self._next_wait(failure, number)
            except Rejected:
                self.breaker.worked()
                raise
            else:
                self.breaker.worked()
                return result
            await self._sleep(wait)
            self._on_retry()

    def _next_wait(self, failure: Transient, number: int) -> float:
        """Seconds until the next attempt; raises `GaveUp` where there is none."""
        if failure.alive:
            self.breaker.worked()
        else:
            self.breaker.failed(failure)
        if number >= self.policy.attempts:
            raise GaveUp(f"gave up after {number} attempts; the last one: {failure}", failure) from failure
        asked = failure.retry_after_s
        if asked is not None and asked > LONGEST_WAIT_S:
            raise GaveUp(f"the server asks to wait {asked:.0f} s: {failure}", failure) from failure
        return wait_s(self.policy, number, asked, self._draw())
