"""The commands of this package, `search selftrain ...`: options in, one report out.

`treesearch.cli` finds the group; a command is imported when it is asked for, by name from `COMMANDS`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import typer
from typer.main import get_command

from treesearch.cli.app import Commands

COMMANDS = {
    "run": "selftrain.cli.run:run",
    "status": "selftrain.cli.run:status",
    "resume": "selftrain.cli.run:resume",
    "build": "selftrain.cli.build:build",
    "export": "selftrain.cli.export:export",
    "train": "selftrain.cli.train:train",
    "decontaminate": "selftrain.cli.decontaminate:decontaminate",
}
"""Commands of the group, as ``module:function``."""


class _Lazy(Commands):
    """A group that imports a command when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """See `TyperGroup`."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """See `TyperGroup`."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        single = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)
        single.command(cmd_name)(getattr(import_module(module), name))
        command = get_command(single)
        command.name = cmd_name
        return command


app = typer.Typer(
    cls=_Lazy,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    no_args_is_help=True,
)


@app.callback()
def _overview() -> None:
    """Train models on their own searches: run, watch and resume self-training loops, or train once."""
