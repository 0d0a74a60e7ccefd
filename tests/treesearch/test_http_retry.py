"""What is asked again, after how long, and when it is given up; how many sequences are let in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from email.utils import formatdate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import UsageError
from treesearch.engines.base import EngineError
from treesearch.engines.http_limit import COOLDOWN_S, CUT, START, AdaptiveLimit
from treesearch.engines.http_retry import (
    LONGEST_WAIT_S,
    GaveUp,
    Rejected,
    Retrier,
    RetryPolicy,
    Transient,
    failure_of,
    is_transient,
    retry_after_s,
    wait_s,
)

NOW = 1_700_000_000.0


class Clock:
    """Time that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def retrier(clock: Clock, *, draw: float = 0.5, **policy: float) -> Retrier:
    return Retrier(RetryPolicy(**policy), sleep=clock.sleep, clock=clock, draw=lambda: draw)  # type: ignore[arg-type]


def failing(times: int, failure: Callable[[], Exception]) -> tuple[Callable[[], Awaitable[str]], list[int]]:
    """An attempt that fails so many times, and the list of its calls."""
    calls: list[int] = []

    async def attempt() -> str:
        calls.append(len(calls))
        if len(calls) <= times:
            raise failure()
        return "done"

    return attempt, calls


# -- what is tried again ------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 529])
def test_a_status_that_may_pass_is_transient(status: int) -> None:
    assert is_transient(status)


@pytest.mark.parametrize("status", [301, 307, 400, 401, 403, 404, 405, 413, 422])
def test_a_status_that_will_not_pass_is_not(status: int) -> None:
    assert not is_transient(status)


def test_a_refusal_is_alive_and_free_and_a_server_error_is_not_alive() -> None:
    busy, down = failure_of(429, "busy", "3"), failure_of(500, "down", None)
    assert (busy.alive, busy.overloaded, busy.retry_after_s, busy.generated_tokens) == (True, True, 3.0, 0)
    assert (down.alive, down.overloaded, down.retry_after_s) == (False, False, None)
    assert failure_of(503, "full", None).overloaded


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        (" 0.25 ", 0.25),
        (formatdate(NOW + 90, usegmt=True), 90.0),
        (formatdate(NOW - 90, usegmt=True), 0.0),
        ("Tue, 14 Nov 2023 22:15:00", 100.0),
        ("soon", None),
        ("Mon, 01 Jan 99999999999999999999 00:00:00", None),
        ("-5", None),
        ("", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after_s(header, now=NOW) == seconds


@settings(deadline=None)
@given(st.text(max_size=40))
def test_no_header_makes_reading_it_fail(header: str) -> None:
    found = retry_after_s(header, now=NOW)
    assert found is None or found >= 0


# -- how long is waited -------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    st.integers(1, 2000),
    st.floats(0, 1, exclude_max=True),
    st.none() | st.floats(0, 500),
    st.floats(0, 5),
    st.floats(0, 100),
)
def test_a_wait_is_full_jitter_below_a_doubling_cap_and_at_least_what_was_asked_for(
    attempt: int, draw: float, asked: float | None, base: float, cap: float
) -> None:
    policy = RetryPolicy(base_s=base, cap_s=cap)
    wait = wait_s(policy, attempt, asked, draw)
    if asked is None:
        assert wait == pytest.approx(draw * min(cap, base * 2.0 ** min(attempt - 1, 60)))
    else:
        assert asked <= wait <= asked + base


def test_waits_double_from_half_a_second_up_to_a_minute() -> None:
    policy = RetryPolicy()
    caps = [wait_s(policy, attempt, None, 1.0) for attempt in range(1, 11)]
    assert caps == [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_a_request_succeeds_after_transient_failures_and_reports_each() -> None:
    clock, heard, again = Clock(), [], []
    subject = Retrier(
        RetryPolicy(),
        on_failure=heard.append,
        on_retry=lambda: again.append(1),
        sleep=clock.sleep,
        clock=clock,
        draw=lambda: 0.5,
    )
    attempt, calls = failing(3, lambda: Transient("no luck", generated_tokens=5))
    assert asyncio.run(subject.call(attempt)) == "done"
    assert clock.slept == [0.25, 0.5, 1.0]
    assert (len(calls), len(heard), len(again)) == (4, 3, 3)


def test_it_waits_for_what_the_server_asks_for() -> None:
    clock = Clock()
    attempt, _ = failing(1, lambda: Transient("busy", retry_after_s=20.0, alive=True))
    asyncio.run(retrier(clock).call(attempt))
    assert clock.slept == [20.25]


def test_it_gives_up_after_the_last_attempt_and_says_what_failed_last() -> None:
    clock = Clock()
    attempt, calls = failing(99, lambda: Transient("connection reset"))
    with pytest.raises(GaveUp, match="gave up after 4 attempts; the last one: connection reset"):
        asyncio.run(retrier(clock, attempts=4).call(attempt))
    assert (len(calls), len(clock.slept)) == (4, 3)
    assert issubclass(GaveUp, EngineError)


def test_it_gives_up_at_once_where_the_server_asks_to_wait_for_hours() -> None:
    clock = Clock()
    attempt, calls = failing(9, lambda: Transient("quota", retry_after_s=LONGEST_WAIT_S + 1, alive=True))
    with pytest.raises(GaveUp, match="asks to wait 601 s: quota"):
        asyncio.run(retrier(clock).call(attempt))
    assert (len(calls), clock.slept) == (1, [])


def test_what_is_rejected_or_unforeseen_is_not_tried_again() -> None:
    for error in (Rejected("no such model", status=404), ZeroDivisionError("a fault of ours")):
        clock = Clock()
        attempt, calls = failing(9, lambda: error)  # noqa: B023
        with pytest.raises(type(error)):
            asyncio.run(retrier(clock).call(attempt))
        assert (len(calls), clock.slept) == (1, [])


@pytest.mark.parametrize("bad", [{"attempts": 0}, {"base_s": -1.0}, {"cap_s": float("nan")}])
def test_a_policy_out_of_range_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        RetryPolicy(**bad)  # type: ignore[arg-type]


# -- the breaker --------------------------------------------------------------------------------------------


def test_a_dead_server_fails_all_requests_at_once_after_the_patience() -> None:
    clock = Clock()
    subject = retrier(clock, draw=0.99, patience_s=60.0)
    attempt, calls = failing(999, lambda: Transient("connection refused"))
    failures = 0
    while clock.now < 100 + 60:
        with pytest.raises(GaveUp):
            asyncio.run(subject.call(attempt))
        failures += 1
    before = len(calls)
    for _ in range(500):
        with pytest.raises(GaveUp, match=r"has not answered for .* s .*connection refused"):
            asyncio.run(subject.call(attempt))
    assert len(calls) - before <= 1
    assert failures < 8


def test_an_open_breaker_lets_one_trial_through_now_and_then_and_closes_on_success() -> None:
    clock = Clock()
    subject = retrier(clock, attempts=1, patience_s=60.0)
    dead, _ = failing(999, lambda: Transient("down"))
    for _ in range(8):
        with pytest.raises(GaveUp):
            asyncio.run(subject.call(dead))
        clock.now += 10
    assert subject.breaker.open
    alive, calls = failing(0, lambda: Transient("never"))
    clock.now += 15
    assert asyncio.run(subject.call(alive)) == "done"
    assert not subject.breaker.open
    assert len(calls) == 1


def test_a_server_that_only_turns_requests_away_is_not_dead() -> None:
    clock = Clock()
    subject = retrier(clock, attempts=3, patience_s=1.0)
    for failure in (Transient("busy", alive=True), Rejected("bad request", status=400)):
        for _ in range(20):
            attempt, _ = failing(9, lambda: failure)  # noqa: B023
            with pytest.raises(EngineError):
                asyncio.run(subject.call(attempt))
            clock.now += 5
        assert not subject.breaker.open


def test_one_success_between_failures_keeps_the_breaker_closed() -> None:
    clock = Clock()
    subject = retrier(clock, attempts=2, patience_s=5.0)
    for _ in range(50):
        attempt, _ = failing(1, lambda: Transient("now and then"))
        assert asyncio.run(subject.call(attempt)) == "done"
        clock.now += 3


# -- the limit ----------------------------------------------------------------------------------------------


def test_places_are_given_in_order_and_never_more_than_the_limit() -> None:
    async def run() -> list[int]:
        limit = AdaptiveLimit(most=6, start=6)
        order: list[int] = []
        most = 0

        async def request(number: int, sequences: int) -> None:
            nonlocal most
            async with limit.places(sequences):
                order.append(number)
                most = max(most, limit.in_flight)
                await asyncio.sleep(0)

        sizes = [3, 3, 5, 1, 2, 6, 9, 1]
        await asyncio.gather(*(request(number, size) for number, size in enumerate(sizes)))
        assert limit.in_flight == 0
        assert most == 9  # the request that is larger than the limit goes alone
        return order

    assert asyncio.run(run()) == list(range(8))


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 12), st.integers(0, 3), st.booleans()), max_size=30))
def test_whatever_is_cancelled_all_places_come_back_and_the_limit_holds(
    requests: list[tuple[int, int, bool]],
) -> None:
    async def run() -> None:
        limit = AdaptiveLimit(most=10, start=10)

        async def request(sequences: int, turns: int) -> None:
            async with limit.places(sequences):
                assert limit.in_flight <= 10 or limit.in_flight == sequences
                for _ in range(turns):
                    await asyncio.sleep(0)

        tasks = [asyncio.ensure_future(request(size, turns)) for size, turns, _ in requests]
        await asyncio.sleep(0)
        for task, (_, _, cancel) in zip(tasks, requests, strict=True):
            if cancel:
                task.cancel()
                await asyncio.sleep(0)
        done = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
        assert all(found is None or isinstance(found, asyncio.CancelledError) for found in done)
        assert limit.in_flight == 0

    asyncio.run(run())


def crowded(limit: AdaptiveLimit) -> asyncio.Task[None]:
    """Someone who waits for a place, so that the limit is what holds others back."""

    async def wait() -> None:
        async with limit.places(10_000):
            pass

    return asyncio.ensure_future(wait())


def test_the_limit_doubles_until_the_first_complaint_and_then_creeps() -> None:
    async def run() -> None:
        clock = Clock()
        limit = AdaptiveLimit(most=256, clock=clock)
        async with limit.places(START):
            waiting = crowded(limit)
            await asyncio.sleep(0)
            for _ in range(START):
                limit.succeeded(1)
            assert limit.limit == 2 * START
            for _ in range(300):
                limit.succeeded(4)
            assert limit.limit == 256
            limit.overloaded()
            assert limit.limit == pytest.approx(256 * CUT)
            limit.succeeded(8)
            assert limit.limit == pytest.approx(256 * CUT), "no growth while it cools down"
            clock.now += COOLDOWN_S
            for _ in range(205):
                limit.succeeded(1)
            assert 256 * CUT + 0.9 < limit.limit < 256 * CUT + 1.1
            waiting.cancel()

    asyncio.run(run())


def test_all_complaints_of_one_episode_cut_once_and_the_next_episode_again() -> None:
    clock = Clock()
    limit = AdaptiveLimit(most=100, start=100, clock=clock)
    for _ in range(50):
        limit.overloaded()
        clock.now += COOLDOWN_S / 60
    assert limit.limit == pytest.approx(80)
    clock.now += COOLDOWN_S
    limit.troubled()
    limit.overloaded()
    assert limit.limit == pytest.approx(64)
    for _ in range(99):
        clock.now += COOLDOWN_S
        limit.overloaded()
    assert limit.limit == 1


def test_other_failures_stop_the_growth_and_cut_nothing() -> None:
    async def run() -> None:
        clock = Clock()
        limit = AdaptiveLimit(most=256, clock=clock)
        async with limit.places(START):
            waiting = crowded(limit)
            await asyncio.sleep(0)
            limit.troubled()
            limit.succeeded(10)
            assert limit.limit == START
            clock.now += COOLDOWN_S
            limit.succeeded(10)
            assert limit.limit == START + 10
            waiting.cancel()

    asyncio.run(run())


def test_a_limit_that_holds_nobody_back_does_not_grow() -> None:
    limit = AdaptiveLimit(most=256)
    for _ in range(100):
        limit.succeeded(50)
    assert limit.limit == START
