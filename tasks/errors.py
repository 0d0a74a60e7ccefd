"""Errors of the toolkit: one base class, one subclass a category.

Every category also inherits the standard type that it refines, so that ``except ValueError`` keeps
working for people who do not know this module. A message says what was wrong, the value seen and what
to do about it. The command line prints the message on one line and exits with `SearchError.exit_code`
(the table is in the README).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SearchError(Exception):
    """Base of every error that the toolkit raises on purpose."""

    exit_code: int = 1


class UsageError(SearchError, ValueError):
    """A name, option or value that the caller gave is not valid."""

    exit_code = 2


class DataError(SearchError, ValueError):
    """A data file, journal or saved tree does not hold what it should; names file and line."""

    exit_code = 2


class MissingPrerequisiteError(SearchError, ImportError):
    """An optional package, model or device is missing; the message holds the command that mends it."""

    exit_code = 5


_SHORT = 3
"""Letters of a name up to which half of them right is near enough."""


def unknown_name(kind: str, name: str, valid: Iterable[str]) -> UsageError:
    """Build the error for a mistyped `name`: it names the nearest valid one, or all of them."""
    names = sorted(valid)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6 if len(name) > _SHORT else 0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"valid: {', '.join(names) or 'none'}"
    return UsageError(f"unknown {kind} {name!r}; {hint}")
