"""`search selftrain build`: training trees from the searches of runs, by builders, from options to a file.

No model is loaded: prompts are encoded by the policy's tokenizer. The file is replaced at once at the end;
the same runs and settings give the same bytes. Names and settings are checked before anything is read.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tasks.errors import DataError, UsageError
from treesearch.cli import options
from treesearch.cli.exit_codes import ExitCode
from treesearch.cli.terminal import say, say_json, tell

if TYPE_CHECKING:
    from selftrain.builders import Built
    from selftrain.builders.session import RunData

_EVERY_S = 5.0
_TREES = ("earlier", "later")
_RUN = "Run directory, or its name under ./runs; several are built together. Repeatable."
_BUILDER = "What to make: sft, tree-plv, targets, ... (docs/selftrain-data.md). Repeatable."
_OUT = "JSONL of training trees, for `search selftrain train` and `... export`; replaced."
_SET = "A setting: alpha=0.25, or tree-plv.alpha=0.25 where there are several builders. Repeatable."
_INPUT = (
    "What a builder takes besides settings: earlier=RUN, later=RUN, demonstrations=FILE, uncertainty=FILE, "
    "previous_rewards=FILE, critic=FILE. Repeatable."
)
_TOKENIZER = "Folder of the policy's tokenizer, where the run does not say (a server's model)."


def _complete_builder(incomplete: str) -> list[str]:
    from selftrain.builders import builder_names

    return [name for name in builder_names() if name.startswith(incomplete)]


Runs = Annotated[
    list[str], typer.Option("--run", metavar="RUN", help=_RUN, autocompletion=options.complete_run)
]
Builders = Annotated[
    list[str], typer.Option("--builder", metavar="NAME", help=_BUILDER, autocompletion=_complete_builder)
]
Out = Annotated[str, typer.Option("--out", metavar="FILE", help=_OUT)]
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help=_SET)]
Inputs = Annotated[list[str] | None, typer.Option("--input", metavar="NAME=PATH", help=_INPUT)]
TokenizerFolder = Annotated[str | None, typer.Option("--tokenizer", metavar="DIR", help=_TOKENIZER)]


def build(
    runs: Runs,
    builders: Builders,
    out: Out,
    settings: Settings = None,
    inputs: Inputs = None,
    tokenizer: TokenizerFolder = None,
    as_json: options.Json = False,
) -> int:
    """Build training data from the trees of runs: traces, pairs, targets, advantages."""
    from selftrain.data.files import write_trees
    from treesearch.cli.interrupt import Interrupted, run_interruptible
    from treesearch.run.overview import find_run
    from treesearch.settings import parse_assignments

    wanted = settle(builders, parse_assignments(settings or []))
    given = _parse_inputs(inputs or [], wanted)
    folders = [find_run(run) for run in runs]
    started = time.monotonic()
    try:
        # Whatever a library prints must not mix with the result on standard output.
        with contextlib.redirect_stdout(sys.stderr):
            data, built = run_interruptible(_build(folders, wanted, given, tokenizer))
    except Interrupted:
        tell(f"interrupted; {out} is as it was")
        return ExitCode.INTERRUPTED
    if not built.trees:
        raise _nothing(data, built, out)
    write_trees(Path(out), built.trees)
    _report(data, built, out, time.monotonic() - started, as_json=as_json)
    return ExitCode.DONE


def settle(builders: Sequence[str], settings: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """The settings of each builder; `UsageError` for unknown names and for keys that fit no one builder."""
    from selftrain.builders import builder_inputs, find_builder
    from treesearch.settings import build as build_settings

    found: dict[str, dict[str, str]] = {}
    for name in builders:
        find_builder(name)
        if name in found:
            raise UsageError(f"--builder {name} is given twice; build the second into another file")
        found[name] = {}
    for key, value in settings.items():
        name, dot, inner = key.partition(".")
        if dot and name not in found:
            raise UsageError(f"--set {key}: no --builder {name}; there is {', '.join(found)}")
        if not dot and len(found) > 1:
            raise UsageError(f"--set {key}: say of which builder, as in --set {builders[0]}.{key}={value}")
        found[name if dot else builders[0]][inner if dot else key] = value
    for name, chosen in found.items():
        inputs = builder_inputs(name)
        for key in chosen:
            if key in inputs:
                raise UsageError(f"--set {key}: {name} takes it from a run or a file; see --input")
        build_settings(find_builder(name), chosen, what=f"builder {name}")
    return found


def _parse_inputs(items: Sequence[str], wanted: Mapping[str, Any]) -> dict[str, str]:
    """Paths by input; `UsageError` for one that no builder takes or no file holds."""
    from selftrain.builders import builder_inputs
    from selftrain.builders.inputs import READERS
    from tasks.errors import unknown_name
    from treesearch.settings import parse_assignments

    try:
        given = parse_assignments(list(items))
    except UsageError as error:
        raise UsageError(str(error).replace("--set takes key=value", "--input takes NAME=PATH")) from None
    taken = sorted({key for name in wanted for key in builder_inputs(name)} & {*READERS, *_TREES})
    for key in given:
        if not taken:
            raise UsageError(f"--input {key}: {', '.join(wanted)} takes nothing from a file")
        if key not in taken:
            raise unknown_name(f"input of {', '.join(wanted)}", key, taken)
    for name in wanted:
        for key in builder_inputs(name, optional=False):
            if key in (*_TREES, "uncertainty") and key not in given:
                raise UsageError(f"builder {name!r} needs {key}; give it by --input {key}=PATH")
    return given


async def _build(
    folders: Sequence[Path],
    wanted: Mapping[str, Mapping[str, str]],
    given: Mapping[str, str],
    tokenizer: str | None,
) -> tuple[RunData, Built]:
    from selftrain.builders.inputs import read_input
    from selftrain.builders.session import build, read_runs
    from treesearch.run.overview import find_run

    inputs: dict[str, Any] = {}
    for name, place in given.items():
        if name in _TREES:
            found = await read_runs(
                [find_run(place)], tokenizer=tokenizer, on_graded=_ticker(f"{name} trees")
            )
            inputs[name] = found.searched
        else:
            inputs[name] = read_input(name, Path(place))
    data = await read_runs(folders, tokenizer=tokenizer, on_graded=_ticker("trees"))
    tell(f"{len(data.searched):,} trees read; building {', '.join(wanted)}")
    return data, build(data, wanted, inputs)


def _ticker(what: str) -> Callable[[int, int], None]:
    """Tells how many trees are graded, every few seconds."""
    last = time.monotonic()

    def tick(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _EVERY_S:
            last = time.monotonic()
            tell(f"{done:,}/{total:,} {what} graded")

    return tick


def _nothing(data: RunData, built: Built, out: str) -> DataError:
    """Why there is no training tree, and what may be done where every solution is a roll-out."""
    why = ", ".join(f"{count:,} {name.removeprefix('dropped.')}" for name, count in built.counts.items())
    text = f"nothing was kept of {len(data.searched):,} trees (dropped: {why}); {out} is as it was"
    if any(one.outcomes[0] and not one.solutions for one in data.searched):
        text += "; roll-outs are no training texts: search on until steps end the text, or by best-of-n"
    return DataError(text)


def _report(data: RunData, built: Built, out: str, seconds: float, *, as_json: bool) -> None:
    if as_json:
        say_json(
            {
                "out": out,
                "searched": len(data.searched),
                "trees": len(built.trees),
                "counts": built.counts,
                "seconds": round(seconds, 3),
            }
        )
        return
    say(f"{len(built.trees):,} training trees from {len(data.searched):,} searched ones in {seconds:.1f} s")
    for what in ("kept", "dropped"):
        found = {name.removeprefix(f"{what}."): count for name, count in built.counts.items()}
        shown = [f"{count:,} {name}" for name, count in found.items() if f"{what}.{name}" in built.counts]
        if shown:
            say(f"{what:<9} {', '.join(shown)}")
    say(f"{'written':<9} {out}")
