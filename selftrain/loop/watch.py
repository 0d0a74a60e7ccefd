"""What a run tells while it goes on: callbacks that a display implements.

Contract: `stage` is called when a stage begins, ends or is given up; `search` with the progress of a search
or evaluation at least once a second; `training` with whatever the trainer reports. None of them may raise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from treesearch.run.runner import Progress


def _quiet(*_: Any) -> None:
    """The display of a run that nobody watches."""


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Callbacks; each does nothing by default. `stage` gets iteration, stage and a line of text."""

    stage: Callable[[int, str, str], None] = _quiet
    search: Callable[[Progress], None] = _quiet
    training: Callable[[Any], None] = _quiet
