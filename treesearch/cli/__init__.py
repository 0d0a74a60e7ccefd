"""The console command `search`: solve, resume, compare, list, show, grade, doctor.

Contract: results go to standard output, everything about the way there to standard error; with `--json`
standard output holds one JSON object and nothing else. Every failure is one line; exit codes are those of
`ExitCode`. Importing this package loads nothing heavy: each command imports what it needs when it runs.
It holds no logic of searching: `treesearch.run.session` does what `search solve` does, for Python users.
"""

from treesearch.cli.app import main
from treesearch.cli.exit_codes import ExitCode

__all__ = ["ExitCode", "main"]
