"""`search prm train`: rows in, a trained and calibrated model folder out; a folder that holds a run goes on.

Settings come from `prm.training.TrainConfig`: by `--set key=value`, from a YAML file with the same keys (and
`data`, `base`, `out`), or both, where options win. `--out` alone goes on with the run that is there. Several
processes: `accelerate launch -m treesearch.cli prm train ...`.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tasks.errors import UsageError, unknown_name
from treesearch.cli import options
from treesearch.cli.exit_codes import ExitCode
from treesearch.cli.terminal import say, say_json, tell

if TYPE_CHECKING:
    from prm.training import Outcome, Progress, TrainConfig

_EVERY_S = 5.0
_PLACES = ("data", "base", "out")
_DATA = "JSONL of solutions with a label a step, or of pairs; see docs/prm-training.md."
_BASE = "Model to start from: embedded, a folder, or a hub id. [default: embedded]"
_OUT = "Directory of the run; one that is there is gone on with."
_CONFIG = "YAML file with data, base, out and the settings as keys; options win over it."
_SET = "A setting: epochs=3, lora_rank=16, calibration=platt. Repeatable; see docs/prm-training.md."

ConfigFile = Annotated[str | None, typer.Option("--config", metavar="FILE", help=_CONFIG)]
Data = Annotated[str | None, typer.Option("--data", metavar="FILE", help=_DATA)]
Base = Annotated[str | None, typer.Option("--base", metavar="MODEL", help=_BASE)]
HeadOption = Annotated[
    str | None, typer.Option("--head", metavar="NAME", help="What is trained. [default: value-bce]")
]
Out = Annotated[str | None, typer.Option("--out", metavar="DIR", help=_OUT)]
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help=_SET)]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the command was asked for, after file and options were put together."""

    data: Path
    base: str
    out: Path
    config: TrainConfig


def train(
    data: Data = None,
    base: Base = None,
    head: HeadOption = None,
    out: Out = None,
    settings: Settings = None,
    config: ConfigFile = None,
    as_json: options.Json = False,
) -> int:
    """Train a process-reward or Q-value model on labelled steps or pairs."""
    from treesearch.cli.interrupt import Interrupted, run_interruptible
    from treesearch.settings import parse_assignments

    given: dict[str, Any] = {"data": data, "base": base, "head": head, "out": out}
    flags = parse_assignments(settings or []) | {
        key: value for key, value in given.items() if value is not None
    }
    wanted = settle(flags, Path(config) if config is not None else None)
    try:
        # Whatever a library prints must not mix with the result on standard output.
        with contextlib.redirect_stdout(sys.stderr):
            found = run_interruptible(_run(wanted))
    except Interrupted:
        found = None
    if found is None or not found.finished:
        tell(f"interrupted; go on with: search prm train --out {shlex.quote(str(wanted.out))}")
        return ExitCode.INTERRUPTED
    if _is_first():
        _report(found, as_json=as_json)
    return ExitCode.DONE


def settle(flags: Mapping[str, Any], file: Path | None) -> Wanted:
    """Options over the YAML file over what the run in `out` was made of; `UsageError` for unknown keys."""
    from dataclasses import fields

    from prm.training import TrainConfig
    from prm.training.session import read_run
    from treesearch.settings import build

    given = {**(_read_yaml(file) if file is not None else {}), **flags}
    known = [*_PLACES, *(field.name for field in fields(TrainConfig))]
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
        data=Path(str(given["data"])),
        base=str(given.get("base") or "embedded"),
        out=out,
        config=build(TrainConfig, chosen, what="training"),
    )


def _read_yaml(path: Path) -> dict[str, Any]:
    import yaml

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"config file {str(path)!r} cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: not YAML ({error})") from error
    if not isinstance(found, dict):
        raise UsageError(f"{path}: must hold keys and values")
    return {str(key): value for key, value in found.items()}  # pyright: ignore[reportUnknownArgumentType]


async def _run(wanted: Wanted) -> Outcome:
    """Train in a thread; a signal asks it to stop after the step it is at, which leaves a checkpoint."""
    import asyncio

    asked = threading.Event()
    job = asyncio.ensure_future(asyncio.to_thread(_train, wanted, asked))
    try:
        return await asyncio.shield(job)
    except asyncio.CancelledError:
        asked.set()
        tell("stopping after this step; again to kill")
        await job
        raise


def _train(wanted: Wanted, asked: threading.Event) -> Outcome:
    from prm.training import read_pairs, read_rows, train
    from prm.training.heads import head_of

    read = read_rows if head_of(wanted.config).data == "steps" else read_pairs
    return train(
        read(wanted.data),
        base=wanted.base,
        out=wanted.out,
        config=wanted.config,
        source=str(wanted.data),
        on_progress=_Lines() if _is_first() else None,
        stop=asked.is_set,
    )


def _is_first() -> bool:
    """Whether this is the process that reports, where a launcher started several."""
    return os.environ.get("RANK", "0") == "0"


class _Lines:
    """A line every few seconds, and one for each evaluation."""

    def __init__(self) -> None:
        self._next = time.monotonic() + _EVERY_S
        self._began: tuple[int, float] | None = None

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if self._began is None:
            self._began = progress.step, now
        if now >= self._next or progress.evaluation is not None:
            self._next = now + _EVERY_S
            tell(self._line(progress, now))

    def _line(self, progress: Progress, now: float) -> str:
        from treesearch.cli.progress import duration

        parts = [f"step {progress.step:,}/{progress.steps:,}", f"loss {progress.loss:.4f}"]
        parts.append(f"{progress.tokens:,} tokens")
        first, began = self._began or (progress.step, now)
        if progress.step > first:
            left = (progress.steps - progress.step) * (now - began) / (progress.step - first)
            parts.append(f"ETA {duration(left)}")
        if progress.evaluation is not None:
            parts.append(f"held out: {_figures(progress.evaluation)}")
        return ", ".join(parts)


def _figures(found: Mapping[str, Any]) -> str:
    shown = [name for name in ("loss", "auroc", "accuracy", "ece") if found.get(name) is not None]
    return ", ".join(f"{name} {found[name]:.4f}" for name in shown)


def _report(found: Outcome, *, as_json: bool) -> None:
    summary = dict(found.summary or {})
    if as_json:
        say_json(summary | {"out": str(found.out)})
        return
    problems = summary["problems"]
    say(
        f"{summary['head']} on {summary['base']}: {summary['steps']:,} steps, {summary['tokens']:,} tokens, "
        f"{summary['seconds']:,.0f} s, {problems['train']:,} problems"
    )
    if summary["held_out"] is not None:
        say(f"{problems['test']:,} problems held out: {_figures(summary['held_out'])}")
        for depth, figures in summary["held_out"].get("by_depth", {}).items():
            say(f"  step {depth}: {_figures(figures)} (n {figures['n']:,})")
    if summary["calibration"] is not None:
        kind, after = summary["calibration"]["kind"], summary["calibration"]["after"]
        say(f"after {kind} calibration: {_figures(after)}")
    if summary["dropped_rows"]:
        tell(f"{summary['dropped_rows']:,} rows were too long for the model and left out")
    say(f"written: {', '.join(str(found.out / name) for name in summary['models'])}")
