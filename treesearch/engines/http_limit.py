"""Adaptive concurrency towards one server: how many sequences may be in flight, learned from its answers.

`AdaptiveLimit` admits requests in the order of asking, each with the number of sequences that it makes the
server write. It starts low, and while the limit holds requests back it doubles with each round of successes;
once the server has said that it has too much to do (`overloaded`), the limit is cut by a fifth and grows by
one sequence a round from there. All complaints within `cooldown_s` are one episode and cut once, since they
come from requests sent under the old limit. Failures of another kind (`troubled`) only stop the growth for
as long. A request larger than the limit goes alone. (The scheme of inspect_ai's adaptive connections, with
sequences in place of connections; AIMD, Chiu and Jain 1989.)

It does not retry, and serves one event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

START = 20
CUT = 0.8
COOLDOWN_S = 15.0


class AdaptiveLimit:
    """Places for sequences in flight; see the module. `most` is what `limit` never passes."""

    def __init__(
        self,
        *,
        most: int,
        start: int = START,
        cooldown_s: float = COOLDOWN_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.most = most
        self.limit = float(min(start, most))
        self.in_flight = 0
        self._cooldown_s, self._clock = cooldown_s, clock
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()
        self._still_until = self._episode_until = 0.0
        self._cut_before = False

    @asynccontextmanager
    async def places(self, sequences: int) -> AsyncGenerator[None]:
        """Wait for room for `sequences`, and hold it."""
        await self._enter(sequences)
        try:
            yield
        finally:
            self._leave(sequences)

    def succeeded(self, sequences: int) -> None:
        """A request of `sequences` was served; the limit grows if it is what holds others back."""
        if not self._waiting or self._clock() < self._still_until:
            return
        gain = sequences / self.limit if self._cut_before else sequences
        self.limit = min(float(self.most), self.limit + gain)
        self._admit()

    def overloaded(self) -> None:
        """The server has too much to do: cut the limit, once an episode."""
        now = self._clock()
        if not self._cut_before or now >= self._episode_until:
            self.limit = max(1.0, self.limit * CUT)
            self._cut_before = True
            self._episode_until = self._still_until = now + self._cooldown_s

    def troubled(self) -> None:
        """The server failed: no growth for a while."""
        self._still_until = self._clock() + self._cooldown_s

    def _fits(self, sequences: int) -> bool:
        return self.in_flight == 0 or self.in_flight + sequences <= int(self.limit)

    async def _enter(self, sequences: int) -> None:
        if not self._waiting and self._fits(sequences):
            self.in_flight += sequences
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((turn, sequences))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # admitted and cancelled in the same round
                self._leave(sequences)
            elif (turn, sequences) in self._waiting:
                self._waiting.remove((turn, sequences))
                self._admit()
            raise

    def _leave(self, sequences: int) -> None:
        self.in_flight -= sequences
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._fits(self._waiting[0][1]):
            turn, sequences = self._waiting.popleft()
            if not turn.done():
                self.in_flight += sequences
                turn.set_result(None)
