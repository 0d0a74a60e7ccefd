"""`search prm train`: rows in, a trained and calibrated model folder out; a folder that holds a run goes on.

Settings come from `prm.training.TrainConfig`: by `--set key=value`, from a YAML file with the same keys (and
`data`, `base`, `out`), or both, where options win. `--out` alone goes on with the run that is there. Several
processes: `accelerate launch -m treesearch.cli prm train ...`.
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
    from prm.training import Outcome, TrainConfig
    from treesearch.threads import Stop

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
    from treesearch.settings import parse_assignments

    given: dict[str, Any] = {"data": data, "base": base, "head": head, "out": out}
    flags = parse_assignments(settings or []) | {
        key: value for key, value in given.items() if value is not None
    }
    wanted = settle(flags, Path(config) if config is not None else None)
    found = train_or_stop(lambda stop: _train(wanted, stop))
    if found is None or not found.finished:
        tell(f"interrupted; go on with: search prm train --out {shlex.quote(str(wanted.out))}")
        return ExitCode.INTERRUPTED
    if reports():
        _report(found, as_json=as_json)
    return ExitCode.DONE


def settle(flags: Mapping[str, Any], file: Path | None) -> Wanted[TrainConfig]:
    """Options over the YAML file over what the run in `out` was made of; `UsageError` for unknown keys."""
    from prm.training import TrainConfig

    return settle_for(TrainConfig, flags, file)


def _train(wanted: Wanted[TrainConfig], stop: Stop) -> Outcome:
    from prm.training import read_pairs, read_rows, train
    from prm.training.heads import head_of

    read = read_rows if head_of(wanted.config).data == "steps" else read_pairs
    return train(
        read(wanted.data),
        base=wanted.base,
        out=wanted.out,
        config=wanted.config,
        source=str(wanted.data),
        on_progress=Lines(_figures) if reports() else None,
        stop=stop,
    )


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
