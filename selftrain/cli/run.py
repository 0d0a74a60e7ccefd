"""`search selftrain run`, `resume` and `status`: a self-training run from options to a report."""

from __future__ import annotations

import contextlib
import shlex
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from treesearch.cli import options
from treesearch.cli.exit_codes import ExitCode
from treesearch.cli.terminal import one_line, say, say_json, say_table, tell

if TYPE_CHECKING:
    from selftrain.loop import LoopConfig, RunStatus, Watch
    from selftrain.loop.manifest import Costs

ROOT = Path("selftraining")
"""Where runs are kept unless a folder is named."""
_EVERY_S = 5.0
_CONFIG = "YAML files; later ones are laid over earlier ones."
_OUT = "Folder of the run; one that holds this run is gone on with. [default: selftraining/CONFIG-TIME]"
_SET = "A value of the configuration: search.budget_tokens=500. Repeatable."
_REDO = "Do this stage (train, or 2/train) and all behind it anew."


def _complete_run(incomplete: str) -> list[str]:
    found = (str(path.parent) for path in ROOT.glob("*/run.json"))
    return sorted(name for name in found if name.startswith(incomplete))


Configs = Annotated[list[str], typer.Argument(metavar="CONFIG.yaml ...", help=_CONFIG)]
Out = Annotated[str | None, typer.Option("--out", metavar="DIR", help=_OUT)]
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help=_SET)]
Redo = Annotated[str | None, typer.Option("--redo", metavar="STAGE", help=_REDO)]
Run = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="Folder of the run, or its name under ./selftraining.",
        autocompletion=_complete_run,
    ),
]


def run(
    configs: Configs,
    out: Out = None,
    settings: Settings = None,
    redo: Redo = None,
    as_json: options.Json = False,
) -> int:
    """Run the iterations of a configuration, or go on with them."""
    from selftrain.loop import read_config

    config = read_config([Path(name) for name in configs], settings or [])
    folder = Path(out) if out is not None else _new_folder(Path(configs[0]).stem)
    return _conduct(folder, config, redo=redo, as_json=as_json)


def resume(run: Run, redo: Redo = None, as_json: options.Json = False) -> int:
    """Go on with a run that was stopped."""
    from selftrain.loop.overview import find_run, read_header

    folder = find_run(run, ROOT)
    return _conduct(folder, read_header(folder), redo=redo, as_json=as_json)


def status(run: Run, as_json: options.Json = False) -> int:
    """Show what a run has come to: iterations, what the gate decided and why, costs."""
    from selftrain.loop.overview import find_run
    from selftrain.loop.overview import status as read_status

    _report(read_status(find_run(run, ROOT)), as_json=as_json)
    return ExitCode.DONE


def _new_folder(name: str) -> Path:
    """``selftraining/NAME-TIME``, with a number behind it where that is taken."""
    stem = f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    folder, count = ROOT / stem, 1
    while folder.exists():
        count += 1
        folder = ROOT / f"{stem}-{count}"
    return folder


def _conduct(folder: Path, config: LoopConfig, *, redo: str | None, as_json: bool) -> int:
    from selftrain.loop import arun
    from treesearch.cli.interrupt import Interrupted, run_interruptible
    from treesearch.cli.progress import Display

    tell(f"run {folder}: {config.iterations} iterations from {config.policy}, seed {config.seed}")
    try:
        # Whatever a library prints must not mix with the result on standard output.
        with Display() as display, contextlib.redirect_stdout(sys.stderr):
            job: Coroutine[Any, Any, RunStatus] = arun(config, folder, watch=_watch(display), redo=redo)
            found = run_interruptible(job)
    except Interrupted:
        tell(_how_to_go_on(folder))
        return ExitCode.INTERRUPTED
    _report(found, as_json=as_json)
    return ExitCode.DONE


def _how_to_go_on(folder: Path) -> str:
    if not (folder / "run.json").exists():
        return "interrupted before the run began; nothing to resume"
    return f"interrupted; resume with: search selftrain resume {shlex.quote(str(folder))}"


def _watch(display: Any) -> Watch:
    from selftrain.loop import Watch

    def stage(iteration: int, name: str, text: str) -> None:
        tell(f"iteration {iteration}, {name}: {text}")

    return Watch(stage=stage, search=display, training=_Training())


class _Training:
    """A line of training every few seconds."""

    def __init__(self) -> None:
        self._next = time.monotonic() + _EVERY_S

    def __call__(self, progress: Any) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _EVERY_S
            tell(
                f"step {progress.step:,}/{progress.steps:,}, loss {progress.loss:.4f}, "
                f"{progress.tokens:,} tokens"
            )


def _report(found: RunStatus, *, as_json: bool) -> None:
    if as_json:
        say_json(found.to_json())
        return
    done = sum(bool(each.iteration) and bool(each.action) for each in found.iterations)
    say(f"{found.state}: {done} of {found.wanted} iterations decided")
    tasks = sorted({task for each in found.iterations for task in each.accuracy})
    rows: list[list[str]] = []
    for each in found.iterations:
        shown = [f"{each.accuracy[task]:.1%}" if task in each.accuracy else "-" for task in tasks]
        under_way = f"at {each.under_way}" if each.under_way else "-"
        rows.append(
            [str(each.iteration), *shown, each.action or ("base" if not each.iteration else under_way)]
        )
    say_table(["iteration", *tasks, "gate"], rows)
    for each in found.iterations:
        if each.reason:
            say(f"{each.iteration}: {each.action}: {one_line(each.reason)}")
    say(f"policy    {found.policy}")
    if found.value is not None:
        say(f"value     {found.value}")
    if found.quarantined:
        counts = ", ".join(f"{count} of {task}" for task, count in found.quarantined.items())
        say(f"left out  {counts}: never solved")
    say(f"costs     {_costs(found.costs)}")
    say(f"run       {found.run}")


def _costs(costs: Costs) -> str:
    return (
        f"{costs.generated_tokens:,} tokens generated, {costs.value_tokens:,} for values, "
        f"{costs.prompt_tokens:,} of prompts, {costs.trained_tokens:,} trained on, {costs.calls:,} calls, "
        f"{costs.seconds:,.0f} s"
    )
