"""What the commands that train have in common: settings out of options, a file and the run, and progress.

`settle_for` puts them together for any config class of training; `Lines` tells how far training is;
`train_or_stop` trains until a signal. The commands of other packages that train use them too.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from tasks.errors import UsageError, unknown_name
from treesearch.cli.terminal import tell
from treesearch.settings import build, read_yaml

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from treesearch.threads import Stop

_EVERY_S = 5.0
_PLACES = ("data", "base", "out")
Config = TypeVar("Config", bound="DataclassInstance")
T = TypeVar("T")
Figures = Callable[[Mapping[str, Any]], str]


@dataclass(frozen=True, kw_only=True)
class Wanted(Generic[Config]):
    """What a command was asked for, after file and options were put together."""

    data: Path
    base: str
    out: Path
    config: Config


class Progress(Protocol):
    """What training reports after a step."""

    @property
    def step(self) -> int:
        """Steps done."""
        ...

    @property
    def steps(self) -> int:
        """Steps in all."""
        ...

    @property
    def tokens(self) -> int:
        """Tokens trained on."""
        ...

    @property
    def loss(self) -> float:
        """Of the step's batch."""
        ...

    @property
    def evaluation(self) -> Mapping[str, Any] | None:
        """Held-out figures, where the step was evaluated."""
        ...


def settle_for(cls: type[Config], flags: Mapping[str, Any], file: Path | None) -> Wanted[Config]:
    """Options over the YAML file over what the run in `out` was made of; `UsageError` for unknown keys."""
    from prm.training.folder import read_run

    given = {**(read_yaml(file) if file is not None else {}), **flags}
    known = [*_PLACES, *(field.name for field in fields(cls))]
    for key in given:
        if key not in known:
            raise unknown_name("setting of training", key, known)
    if not given.get("out"):
        raise UsageError("say where the run goes: --out DIR")
    out = Path(str(given["out"]))
    before = read_run(out)
    if before is not None:
        there = {"data": before["data"]["source"], "base": before["base"]["model"], **before["config"]}
        given = {key: value for key, value in there.items() if value is not None} | given
    if not given.get("data"):
        raise UsageError("say what to train on: --data FILE")
    chosen = {key: value for key, value in given.items() if key not in _PLACES}
    return Wanted(
        data=Path(str(given["data"])).expanduser().absolute(),
        base=_anchored(str(given.get("base") or "embedded")),
        out=out,
        config=build(cls, chosen, what="training"),
    )


def _anchored(base: str) -> str:
    """A folder as an absolute path, so that a run goes on from wherever it is asked to; other names stay."""
    from treesearch.policies import EMBEDDED

    folder = Path(base).expanduser()
    return str(folder.absolute()) if base != EMBEDDED and folder.is_dir() else base


def reports() -> bool:
    """Whether this is the process that reports, where a launcher started several."""
    return os.environ.get("RANK", "0") == "0"


def train_or_stop(job: Callable[[Stop], T]) -> T | None:
    """The result of `job`; None where a signal stopped it, which it does after the step that it is at.

    Whatever a library prints goes to standard error: standard output is for the result.
    """
    from treesearch.cli.interrupt import Interrupted, run_interruptible
    from treesearch.threads import in_thread

    with contextlib.redirect_stdout(sys.stderr), contextlib.suppress(Interrupted):
        return run_interruptible(
            in_thread(job, on_stop=lambda: tell("stopping after this step; again to kill"))
        )
    return None


class Lines:
    """A line every few seconds, and one for each evaluation, whose figures `figures` writes."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures
        self._next = time.monotonic() + _EVERY_S
        self._began: tuple[int, float] | None = None

    def __call__(self, progress: Progress) -> None:
        """Tell of a step, if it is time."""
        now = time.monotonic()
        if self._began is None:
            self._began = progress.step, now
        if now >= self._next or progress.evaluation is not None:
            self._next = now + _EVERY_S
            tell(self._line(progress, now, *self._began))

    def _line(self, progress: Progress, now: float, first: int, began: float) -> str:
        from treesearch.cli.progress import duration

        parts = [f"step {progress.step:,}/{progress.steps:,}", f"loss {progress.loss:.4f}"]
        parts.append(f"{progress.tokens:,} tokens")
        if progress.step > first:
            left = (progress.steps - progress.step) * (now - began) / (progress.step - first)
            parts.append(f"ETA {duration(left)}")
        if progress.evaluation is not None:
            parts.append(f"held out: {self._figures(progress.evaluation)}")
        return ", ".join(parts)
