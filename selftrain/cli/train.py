"""`search selftrain train`: training trees in, a trained policy out; a folder that holds a run goes on.

Settings come from `selftrain.training.TrainConfig`: by `--set key=value`, from a YAML file with the same keys
(and `data`, `base`, `out`), or both, where options win. `--out` alone goes on with the run that is there.
Several processes: `accelerate launch -m treesearch.cli selftrain train ...`.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tasks.errors import UsageError, unknown_name
from treesearch.cli import options
from treesearch.cli.exit_codes import ExitCode
from treesearch.cli.terminal import say, say_json, tell

if TYPE_CHECKING:
    from selftrain.training import Outcome, Progress, TrainConfig

_EVERY_S = 5.0
_PLACES = ("data", "base", "out")
_DATA = "JSONL of training trees, as a builder writes them."
_BASE = "Model to start from: embedded, a folder, or a hub id. [default: embedded]"
_OUT = "Directory of the run; one that is there is gone on with."
_OBJECTIVE = "What is learned: sft, dpo, off-policy-dpo, ... [default: sft]"
_CONFIG = "YAML file with data, base, out and the settings as keys; options win over it."
_SET = "A setting: epochs=2, lora_rank=16, beta=0.3. Repeatable; see docs/selftrain-training.md."

Data = Annotated[str | None, typer.Option("--data", metavar="FILE", help=_DATA)]
Base = Annotated[str | None, typer.Option("--base", metavar="MODEL", help=_BASE)]
ObjectiveOption = Annotated[str | None, typer.Option("--objective", metavar="NAME", help=_OBJECTIVE)]
Out = Annotated[str | None, typer.Option("--out", metavar="DIR", help=_OUT)]
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help=_SET)]
ConfigFile = Annotated[str | None, typer.Option("--config", metavar="FILE", help=_CONFIG)]


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
    objective: ObjectiveOption = None,
    out: Out = None,
    settings: Settings = None,
    config: ConfigFile = None,
    as_json: options.Json = False,
) -> int:
    """Train a policy on trees of training data: SFT, DPO and its relatives."""
    from selftrain.loop.watch import in_thread
    from treesearch.cli.interrupt import Interrupted, run_interruptible
    from treesearch.settings import parse_assignments

    options_given = {"data": data, "base": base, "objective": objective, "out": out}
    given = {key: value for key, value in options_given.items() if value is not None}
    wanted = settle(parse_assignments(settings or []) | given, Path(config) if config is not None else None)
    found: Outcome | None = None
    # Whatever a library prints must not mix with the result on standard output.
    with contextlib.redirect_stdout(sys.stderr), contextlib.suppress(Interrupted):
        # A signal asks training to stop after the step it is at, which leaves a checkpoint.
        found = run_interruptible(in_thread(lambda stop: _train(wanted, stop)))
    if found is None or not found.finished:
        tell(f"interrupted; go on with: search selftrain train --out {shlex.quote(str(wanted.out))}")
        return ExitCode.INTERRUPTED
    if _is_first():
        _report(found, as_json=as_json)
    return ExitCode.DONE


def settle(flags: Mapping[str, Any], file: Path | None) -> Wanted:
    """Options over the YAML file over what the run in `out` was made of; `UsageError` for unknown keys."""
    from dataclasses import fields

    from prm.training.session import read_run
    from selftrain.loop.reading import read_yaml
    from selftrain.training import TrainConfig
    from treesearch.settings import build

    given = {**(read_yaml(file) if file is not None else {}), **flags}
    known = [*_PLACES, *(field.name for field in fields(TrainConfig))]
    for key in given:
        if key not in known:
            raise unknown_name("setting of training", key, known)
    if not given.get("out"):
        raise UsageError("say where the run goes: --out DIR")
    there = read_run(Path(str(given["out"])))
    if there is not None:
        before = {"data": there["data"]["source"], "base": there["base"]["model"], **there["config"]}
        given = {key: value for key, value in before.items() if value is not None} | given
    if not given.get("data"):
        raise UsageError("say what to train on: --data FILE")
    chosen = {key: value for key, value in given.items() if key not in _PLACES}
    return Wanted(
        data=Path(str(given["data"])),
        base=str(given.get("base") or "embedded"),
        out=Path(str(given["out"])),
        config=build(TrainConfig, chosen, what="training"),
    )


def _train(wanted: Wanted, stop: Callable[[], bool]) -> Outcome:
    from selftrain.data.files import read_trees
    from selftrain.training import train

    return train(
        read_trees(wanted.data),
        base=wanted.base,
        out=wanted.out,
        config=wanted.config,
        source=str(wanted.data),
        on_progress=_Lines() if _is_first() else None,
        stop=stop,
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
        from treesearch.cli.progress import duration

        now = time.monotonic()
        first, began = self._began = self._began or (progress.step, now)
        if now < self._next and progress.evaluation is None:
            return
        self._next = now + _EVERY_S
        line = (
            f"step {progress.step:,}/{progress.steps:,}, loss {progress.loss:.4f}, {progress.tokens:,} tokens"
        )
        if progress.step > first:
            left = (progress.steps - progress.step) * (now - began) / (progress.step - first)
            line += f", ETA {duration(left)}"
        if progress.evaluation is not None:
            line += f", held out: {_figures(progress.evaluation)}"
        tell(line)


def _figures(found: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in found.items())


def _report(found: Outcome, *, as_json: bool) -> None:
    summary = dict(found.summary or {})
    if as_json:
        say_json(summary | {"out": str(found.out)})
        return
    say(
        f"{summary['objective']} on {summary['base']}: {summary['steps']:,} steps, "
        f"{summary['tokens']:,} tokens, {summary['seconds']:,.0f} s, {summary['trees']['train']:,} trees"
    )
    if summary["held_out"] is not None:
        for when in ("before", "after"):
            shown = _figures(summary["held_out"][when])
            say(f"{when} training, {summary['trees']['held_out']:,} trees held out: {shown}")
    left_out = {name: count for name, count in summary["counts"].items() if name.startswith("dropped.")}
    if left_out:
        reasons = ", ".join(f"{count:,} {name.removeprefix('dropped.')}" for name, count in left_out.items())
        tell(f"left out: {reasons}")
    say(f"written: {', '.join(str(found.out / name) for name in summary['models'])}")
