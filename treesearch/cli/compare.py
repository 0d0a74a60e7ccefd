"""`search compare`: methods at equal tokens, from options to a table."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from treesearch.cli import options
from treesearch.cli.exit_codes import ExitCode
from treesearch.cli.terminal import is_terminal, one_line, say, say_json, say_table, tell

if TYPE_CHECKING:
    from treesearch.comparison.cells import Cell
    from treesearch.comparison.config import CompareConfig
    from treesearch.comparison.forecast import Forecast
    from treesearch.comparison.session import Comparison

_METHOD = "ALGORITHM, or ALGORITHM:key=value,key=value with name, value or a setting as key. Repeatable."
_OUT = "Directory of the comparison; one that is there is gone on with. [default: comparisons/TASK-TIME]"
_CONFIG = "YAML file with methods, budgets, seeds and the same keys as these options; options win over it."
_SET = "A setting of all methods: policy.temperature=0.7, engine.max_sequences=64. Repeatable."

_GAP = 2
"""Characters between columns."""

Methods = Annotated[list[str] | None, typer.Option("--method", metavar="METHOD", help=_METHOD)]
Budgets = Annotated[
    str | None,
    typer.Option("--budgets", metavar="N,N", help="Tokens a problem, scoring included. [default: 1k,4k,16k]"),
]
Seeds = Annotated[
    str | None, typer.Option("--seeds", metavar="N", help="How many seeds, or which: 0,7,8. [default: 1]")
]
Common = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help=_SET)]
ConfigFile = Annotated[str | None, typer.Option("--config", help=_CONFIG)]
Out = Annotated[str | None, typer.Option("--out", metavar="DIR", help=_OUT)]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what it would take, and do nothing. Loads no model.")
]
Speed = Annotated[
    float | None,
    typer.Option("--tokens-per-second", metavar="N", help="Speed for the time that --dry-run tells."),
]


def compare(
    methods: Methods = None,
    task: options.TaskName = None,
    data: options.Data = None,
    limit: options.Limit = None,
    budgets: Budgets = None,
    seeds: Seeds = None,
    policy: options.PolicyName = None,
    model: options.ModelName = None,
    engine: options.EngineName = None,
    engine_args: options.EngineArgs = None,
    settings: Common = None,
    config: ConfigFile = None,
    concurrency: options.Concurrency = None,
    out: Out = None,
    dry_run: DryRun = False,
    tokens_per_second: Speed = None,
    as_json: options.Json = False,
) -> int:
    """Compare methods at equal tokens; majority vote and best-of-N are always among them."""
    flags = dict(locals())  # the parameters by name: but for five, they are what a comparison is made of
    from treesearch.comparison.api import new_folder
    from treesearch.comparison.config import read_wanted, settle
    from treesearch.comparison.forecast import forecast
    from treesearch.comparison.session import read_comparison
    from treesearch.settings import parse_assignments

    for name in ("config", "out", "dry_run", "tokens_per_second", "as_json"):
        del flags[name]
    flags["settings"] = parse_assignments(settings) if settings else None
    wanted = read_wanted(flags, Path(config) if config is not None else None)
    folder = Path(out) if out is not None else None
    whole = settle(wanted, read_comparison(folder) if folder is not None else None)
    if dry_run:
        import asyncio

        found = asyncio.run(forecast(whole, folder, tokens_per_second=tokens_per_second))
        _show_forecast(found, as_json=as_json)
        return ExitCode.DONE
    return _conduct(whole, folder or new_folder(whole.common.config.task), as_json=as_json)


def _conduct(config: CompareConfig, folder: Path, *, as_json: bool) -> int:
    """Run the comparison with a display, then report; returns the exit code."""
    from treesearch.cli.interrupt import Interrupted, run_interruptible
    from treesearch.cli.progress import Display
    from treesearch.comparison.session import FILE, run_comparison

    def tell_cell(cell: Cell, number: int, count: int) -> None:
        what = f"{cell.method.name}, {cell.budget:,} tokens, seed {cell.seed}"
        tell(f"[{number}/{count}] {what}: {cell.folder(folder)}")

    try:
        # Whatever a library prints must not mix with the result on standard output.
        with Display() as display, contextlib.redirect_stdout(sys.stderr):
            found = run_interruptible(run_comparison(config, folder, on_cell=tell_cell, on_change=display))
    except Interrupted:
        begun = (folder / FILE).exists()
        again = f"go on with: search compare --out {shlex.quote(str(folder))}"
        tell(f"interrupted; {again if begun else 'nothing was begun'}")
        return ExitCode.INTERRUPTED
    _report(found, as_json=as_json)
    return ExitCode.PROBLEMS_FAILED if found.n_errors else ExitCode.DONE


def _report(found: Comparison, *, as_json: bool) -> None:
    from treesearch.comparison.session import FILE, PLOT, TABLE
    from treesearch.comparison.table import HEADER, legend, table_rows

    if as_json:
        say_json(found.content | {"out": str(found.folder)})
    else:
        _show_table(HEADER, table_rows(found.content))
        for line in legend(found.content):
            say(line)
        made = (FILE, TABLE) if found.lacking else (FILE, TABLE, PLOT)
        say(f"written: {', '.join(str(found.folder / name) for name in made)}")
    if found.lacking:
        tell(found.lacking)
    if found.n_errors:
        again = f"search compare --out {shlex.quote(str(found.folder))}"
        tell(f"{found.n_errors} problems failed; to try them again: {again}")


def _show_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Plain columns, or on a terminal as many tables as it needs to be wide enough for each."""
    if not is_terminal(sys.stdout):
        say_table(header, rows)
        return
    from rich.console import Console

    console = Console(highlight=False)
    lines = (header, *rows)
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for columns in fitting(widths, console.width):
        console.print(_rich_table([[line[column] for column in columns] for line in lines]))


def fitting(widths: Sequence[int], most: int) -> list[list[int]]:
    """Columns of tables at most `most` characters wide; each has the first two columns, which name a row.

    The first column may be folded to a third of the width; a column that fits nowhere stands by itself.
    """
    names = min(widths[0], max(16, most // 3)) + widths[1] + 2 * _GAP
    parts: list[list[int]] = []
    left = 0
    for column in range(2, len(widths)):
        wide = widths[column] + _GAP
        if not parts or wide > left:
            parts.append([0, 1])
            left = most - names
        parts[-1].append(column)
        left -= wide
    return parts


def _rich_table(lines: Sequence[Sequence[str]]) -> Any:
    """The first column is text and is folded where it must be, the others are numbers and stay whole."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), collapse_padding=True)
    for index, name in enumerate(lines[0]):
        table.add_column(name, justify="right" if index else "left", overflow="fold", no_wrap=index > 0)
    for line in lines[1:]:
        table.add_row(*(_plain(cell) for cell in line))
    return table


def _plain(cell: str) -> Any:
    """A cell in which rich reads no markup."""
    from rich.text import Text

    return Text(one_line(cell))


def _show_forecast(found: Forecast, *, as_json: bool) -> None:
    from treesearch.cli.progress import duration

    content = found.to_json()
    if as_json:
        say_json(content)
        return
    table = [
        [
            cell.method,
            f"{cell.budget:,}",
            str(cell.seed),
            f"{cell.problems:,}",
            f"{cell.most_tokens:,}",
            f"{cell.tokens:,}",
            f"{cell.calls:,}",
            cell.basis,
        ]
        for cell in found.cells
    ]
    header = ("method", "budget", "seed", "problems", "tokens at most", "expected", "calls", "from")
    _show_table(header, table)
    say(f"{content['n_done']} of {content['n_cells']} runs are done; to do: {len(table)}")
    say(
        f"at most {content['most_tokens']:,} tokens; expected {content['tokens']:,} in "
        f"{content['calls']:,} calls, prompts not counted"
    )
    if found.seconds is None:
        say("time unknown: give --tokens-per-second, or run a first part")
    else:
        say(f"time {duration(found.seconds)} at {found.tokens_per_second:,.0f} tokens/s")
