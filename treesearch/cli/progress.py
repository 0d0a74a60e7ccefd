"""How far a run is, on standard error: a live line on a terminal, else a plain line every few seconds."""

from __future__ import annotations

import sys
import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any

from treesearch.cli.terminal import is_terminal, tell

if TYPE_CHECKING:
    from treesearch.run.runner import Progress

PLAIN_EVERY_S = 5.0
_LIVE_EVERY_S = 0.2


def progress_line(progress: Progress) -> str:
    """Solved of total, accuracy so far, tokens, tokens/s, time to go, failures."""
    elapsed = max(time.monotonic() - progress.started, 1e-6)
    parts = [f"{progress.done}/{progress.total} done"]
    if progress.graded:
        share = progress.correct / progress.graded
        parts.append(f"{progress.correct} correct ({share:.1%})")
    parts.append(f"{progress.tokens:,} tokens")
    parts.append(f"{progress.tokens / elapsed:,.0f} tokens/s")
    if progress.done < progress.total:
        left = progress.eta_s()
        parts.append(f"ETA {'-' if left is None else duration(left)}")
    if progress.errors:
        parts.append(f"{progress.errors} failed")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """``1:02:03``, ``2:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Display(AbstractContextManager["Display"]):
    """Shows the progress that it is called with, as often as its kind allows."""

    def __init__(self) -> None:
        self._live: Any = None
        self._every_s = PLAIN_EVERY_S
        if is_terminal(sys.stderr):
            from rich.console import Console
            from rich.live import Live

            # rich honours NO_COLOR; the live line is taken away at the end, when the summary says more.
            self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)
            self._every_s = _LIVE_EVERY_S
        self._next = time.monotonic() + (0.0 if self._live else self._every_s)

    def __enter__(self) -> Display:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, progress: Progress) -> None:
        """Show `progress`, unless the last line is too fresh."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + self._every_s
        if self._live is None:
            tell(progress_line(progress))
            return
        from rich.text import Text

        style = "bold" if progress.errors == 0 else "bold yellow"
        self._live.update(Text(progress_line(progress), style=style, overflow="ellipsis"), refresh=True)
