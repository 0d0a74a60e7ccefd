"""Requests side by side: all results in order, or the first failure and nothing left running.

Contract: `together` waits for every job. Where one fails, or the caller is cancelled, the others are
cancelled and waited for before the error goes on, so that no request outlives the work that asked for it.

It does not limit how many run at once: admission is the engine's part.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


async def together(jobs: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of all jobs, run at once, in order."""
    tasks = [asyncio.ensure_future(job) for job in jobs]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
