"""The application `search`: its commands, and how failures become one line and an exit code."""

from __future__ import annotations

import difflib
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from tasks.errors import SearchError, UsageError, unknown_name
from treesearch.cli import compare, doctor, grade, listing, show, solve
from treesearch.cli.exit_codes import ExitCode
from treesearch.cli.terminal import one_line, say, tell

_DISTRIBUTION = "treesearch-toolkit"
GROUPS = {"prm": "prm.cli:app", "selftrain": "selftrain.cli:app"}
"""Groups of commands of the packages that build on this one, as ``module:object``."""


class Commands(TyperGroup):
    """A group that names the nearest command for a mistyped one, in whatever release of typer."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """See `TyperGroup`."""
        known = self.list_commands(ctx)
        if args and not args[0].startswith("-") and args[0] not in known:
            raise unknown_name("command", args[0], known)
        return super().resolve_command(ctx, args)


class _Search(Commands):
    """The commands of this package, and the groups of the others by name, imported when asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """See `TyperGroup`."""
        return [*super().list_commands(ctx), *GROUPS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """See `TyperGroup`."""
        if cmd_name not in GROUPS:
            return super().get_command(ctx, cmd_name)
        module, _, name = GROUPS[cmd_name].partition(":")
        group = get_command(getattr(import_module(module), name))
        group.name = cmd_name
        return group


def package_version() -> str:
    """Version of the installed distribution."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(_DISTRIBUTION)
    except PackageNotFoundError:
        return "not installed (running from a source tree)"


def _show_version(wanted: bool) -> None:
    if wanted:
        say(f"search {package_version()}")
        raise typer.Exit


def _overview(
    ctx: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Make language models reason better by searching: solve problems by tree search under a budget."""
    del version
    if ctx.invoked_subcommand is None:
        say(ctx.get_help())


app = typer.Typer(cls=_Search, rich_markup_mode=None, pretty_exceptions_enable=False)
app.callback(invoke_without_command=True)(_overview)
app.command("solve")(solve.solve)
app.command("resume")(solve.resume)
app.command("compare")(compare.compare)
app.command("list")(listing.list_names)
app.command("show")(show.show)
app.command("grade", cls=grade.GradeCommand)(grade.grade)
app.command("doctor")(doctor.doctor)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code (`ExitCode`)."""
    args = None if arguments is None else list(arguments)
    try:
        _refuse_bytes(sys.argv[1:] if args is None else args)
        code = get_command(app).main(args=args, prog_name="search", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        tell("interrupted")
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away (`search list | head`); keep Python from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.INTERNAL
    except Exception as error:  # noqa: BLE001 - the last resort: every failure becomes one line
        return _report(error)
    return code if isinstance(code, int) else ExitCode.DONE


def _refuse_bytes(arguments: Sequence[str]) -> None:
    """`UsageError` for an argument that the terminal did not give as text."""
    for argument in arguments:
        try:
            argument.encode("utf-8")
        except UnicodeEncodeError:
            raise UsageError(f"{argument!r} is not text in UTF-8") from None


def _report(error: BaseException) -> int:
    """Write one line about a failure; returns the exit code that fits it."""
    while isinstance(error, BaseExceptionGroup) and error.exceptions:
        error = error.exceptions[0]
    if os.environ.get("SEARCH_DEBUG"):
        traceback.print_exception(error, file=sys.stderr)
    if isinstance(error, SearchError):
        tell(f"error: {one_line(str(error))}")
        return error.exit_code
    if type(error).__name__ == "NoArgsIsHelpError":  # a group of commands without one: its help, as it is
        tell(str(getattr(error, "message", error)))
        return ExitCode.USAGE
    if hasattr(error, "format_message"):  # typer's usage errors: their classes moved between its releases
        tell(f"error: {_usage_message(error)}")
        return ExitCode.USAGE
    if isinstance(error, OSError) and error.filename is not None and error.strerror:  # a path that was given
        tell(f"error: {one_line(str(error.filename))}: {error.strerror}")
        return ExitCode.USAGE
    hint = "run with SEARCH_DEBUG=1 for the traceback"
    tell(f"error: internal: {type(error).__name__}: {one_line(str(error), 300)}; {hint}")
    return ExitCode.INTERNAL


def _usage_message(error: Any) -> str:
    """What a usage error says, on one line, with the nearest valid option or where to look."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "search"
    option = getattr(error, "option_name", None)
    if option is not None and hasattr(error, "possibilities"):  # other errors of options have none
        params = context.command.params if context is not None else []
        known = [name for param in params for name in param.opts if name.startswith("--")]
        near = difflib.get_close_matches(option, known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"`{command} --help` lists them"
        return one_line(f"unknown option {option!r}; {hint}")
    return one_line(f"{error.format_message().rstrip('.')}; see `{command} --help`")
