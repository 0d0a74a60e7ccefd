"""`search selftrain train`: training trees in, a trained policy out; a folder that holds a run goes on.

Settings come from `selftrain.training.TrainConfig`: by `--set key=value`, from a YAML file with the same keys
(and `data`, `base`, `out`), or both, where options win. `--out` alone goes on with the run that is there.
Several processes: `accelerate launch -m treesearch.cli selftrain train ...`.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prm.cli.training import Lines, Wanted, reports, settle_for, train_or_stop
from treesearch.cli import options
from treesearch.cli.exit_codes import ExitCode
from treesearch.cli.terminal import say, say_json, tell

if TYPE_CHECKING:
    from selftrain.training import Outcome, TrainConfig
    from treesearch.threads import Stop

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
    from treesearch.settings import parse_assignments

    options_given = {"data": data, "base": base, "objective": objective, "out": out}
    given = {key: value for key, value in options_given.items() if value is not None}
    wanted = settle(parse_assignments(settings or []) | given, Path(config) if config is not None else None)
    found = train_or_stop(lambda stop: _train(wanted, stop))
    if found is None or not found.finished:
        tell(f"interrupted; go on with: search selftrain train --out {shlex.quote(str(wanted.out))}")
        return ExitCode.INTERRUPTED
    if reports():
        _report(found, as_json=as_json)
    return ExitCode.DONE


def settle(flags: Mapping[str, Any], file: Path | None) -> Wanted[TrainConfig]:
    """Options over the YAML file over what the run in `out` was made of; `UsageError` for unknown keys."""
    from selftrain.training import TrainConfig

    return settle_for(TrainConfig, flags, file)


def _train(wanted: Wanted[TrainConfig], stop: Stop) -> Outcome:
    from selftrain.data.files import read_trees
    from selftrain.training import train

    return train(
        read_trees(wanted.data),
        base=wanted.base,
        out=wanted.out,
        config=wanted.config,
        source=str(wanted.data),
        on_progress=Lines(_figures) if reports() else None,
        stop=stop,
    )


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
