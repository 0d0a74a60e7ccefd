"""The exit codes of `search`: the one table, which the README repeats and the tests hold."""

from __future__ import annotations

import enum


class ExitCode(enum.IntEnum):
    """What the exit status of the command says. `SearchError.exit_code` holds the same numbers."""

    DONE = 0
    """The command did what it was asked to; what it found may be "incorrect"."""
    INTERNAL = 1
    """A fault of the toolkit or of a model back end."""
    USAGE = 2
    """A name, option, value or data file is not valid."""
    PROBLEMS_FAILED = 3
    """The run finished, but some problems ended with an error; resuming it tries them again."""
    PREREQUISITE = 5
    """A package, model or device is missing; the message says how to get it."""
    INTERRUPTED = 130
    """Stopped by ctrl-C or SIGTERM; what was searched is kept."""
