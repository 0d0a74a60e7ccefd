"""A line on standard error now and then that says how far a command is."""

from __future__ import annotations

import time
from collections.abc import Callable

from treesearch.cli.terminal import tell

EVERY_S = 5.0


def ticker(what: str, total: int | None = None) -> Callable[[int], None]:
    """A callback for the number of `what` that are done; it writes at most every `EVERY_S` seconds."""
    last = time.monotonic()
    of = "" if total is None else f"/{total:,}"

    def tick(done: int) -> None:
        nonlocal last
        if time.monotonic() - last >= EVERY_S:
            last = time.monotonic()
            tell(f"{done:,}{of} {what}")

    return tick
