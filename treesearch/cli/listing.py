"""`search list`: what can be named on the command line, and the runs that there are.

Engines are described from their source text, without importing them: importing one loads its back end. The
packages that build on this one are asked by lazy name for what they have (`OTHERS`).
"""

from __future__ import annotations

import ast
import enum
import importlib
import importlib.util
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer

from tasks.errors import SearchError, unknown_name
from treesearch.cli import options
from treesearch.cli.terminal import one_line, say, say_json, say_table

_KINDS = {"algorithms": "algorithm", "values": "value", "tasks": "task", "engines": "engine"}
OTHERS = {
    "conventions": "prm.cli.names:conventions",
    "benches": "prm.cli.names:benches",
    "heads": "prm.cli.names:heads",
    "label-methods": "prm.cli.names:label_methods",
    "label-rules": "prm.cli.names:label_rules",
    "builders": "selftrain.cli.names:builders",
    "objectives": "selftrain.cli.names:objectives",
}
"""Kinds of names of the packages that build on this one, as ``module:function`` that gives the entries."""
_RUNS = "runs"
_ALL = (*_KINDS, *OTHERS, _RUNS)
_WITH_SETTINGS = ("algorithm", "value")


def _complete(incomplete: str) -> list[str]:
    return [kind for kind in _ALL if kind.startswith(incomplete)]


def list_names(
    kind: Annotated[
        str | None,
        typer.Argument(
            help=f"One of {', '.join(_ALL[:-1])} or {_RUNS}; without it, all.", autocompletion=_complete
        ),
    ] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show settings with types and defaults too.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """List what can be named: algorithms, values, tasks, conventions of models, ...; and runs."""
    if kind is not None and kind not in _ALL:
        raise unknown_name("kind", kind, _ALL)
    found = {name: _found(name) for name in ([kind] if kind else _ALL)}
    if as_json:
        say_json(found)
        return
    for index, (name, entries) in enumerate(found.items()):
        if index:
            say()
        if len(found) > 1:
            say(f"{name}:")
        if name == _RUNS:
            _show_runs(entries)
        else:
            _show_entries(entries, verbose=verbose)


def _found(name: str) -> list[dict[str, Any]]:
    """The entries of a kind."""
    if name == _RUNS:
        return _runs()
    if name in _KINDS:
        return _entries(_KINDS[name])
    module, _, function = OTHERS[name].partition(":")
    return getattr(importlib.import_module(module), function)()


def _entries(kind: str) -> list[dict[str, Any]]:
    from treesearch.registry import find, names, summary

    entries: list[dict[str, Any]] = []
    for name in names(kind):
        text = _engine_summary(name) if kind == "engine" else summary(kind, name)
        entry: dict[str, Any] = {"name": name, "summary": text}
        if kind in _WITH_SETTINGS:
            made = find(kind, name)
            if kind == "algorithm":
                entry["default_value"] = made.default_value
            prefix = "value." if kind == "value" else ""
            hints = get_type_hints(made)
            entry["settings"] = [_setting(prefix, each, hints[each.name]) for each in fields(made)]
        entries.append(entry)
    return entries


def _setting(prefix: str, entry: Field[Any], hint: Any) -> dict[str, Any]:
    """Name for `--set`, type and default of a dataclass field."""
    default = None if entry.default is MISSING else entry.default
    default = default.value if isinstance(default, enum.Enum) else default
    return {"name": prefix + entry.name, "type": _kind(hint), "default": default}


def _kind(hint: Any) -> str:
    """A type as people read it: the values of a choice, else its name."""
    if get_origin(hint) is Literal:
        return " | ".join(map(str, get_args(hint)))
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return " | ".join(str(member.value) for member in hint)
    if hint is type(None):
        return "none"
    if get_args(hint):
        return " | ".join(map(_kind, get_args(hint)))
    return getattr(hint, "__name__", str(hint))


def _engine_summary(name: str) -> str:
    """First line of the docstring of an engine's module."""
    from importlib.metadata import entry_points

    from treesearch.registry import GROUPS, TABLES

    target = TABLES["engine"].get(name)
    if target is None:
        target = next(e.value for e in entry_points(group=GROUPS["engine"]) if e.name == name)
    spec = importlib.util.find_spec(target.partition(":")[0])
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return ""
    text = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or ""
    return text.split("\n")[0]


def _show_entries(entries: list[dict[str, Any]], *, verbose: bool) -> None:
    width = max((len(entry["name"]) for entry in entries), default=0)
    for entry in entries:
        say(f"  {entry['name']:{width}}  {one_line(entry['summary'])}")
        if not verbose:
            continue
        for setting in entry.get("settings", ()):
            say(f"  {'':{width}}    {setting['name']} = {_text(setting['default'])}  ({setting['type']})")


def _text(default: Any) -> str:
    return "none" if default is None else str(default)


def _runs() -> list[dict[str, Any]]:
    from treesearch.run.overview import overviews

    rows: list[dict[str, Any]] = []
    for found in overviews():
        if isinstance(found, tuple):
            folder, error = found
            rows.append({"run": str(folder), "state": "damaged", "error": _reason(error)})
            continue
        config = found.header.resolved.config
        rows.append(
            {
                "run": str(found.folder),
                "state": found.state,
                "n_done": len(found.rows),
                "n_problems": found.header.n_problems,
                "accuracy": found.accuracy,
                "task": config.task,
                "algorithm": config.algorithm,
                "policy": config.policy,
            }
        )
    return rows


def _reason(error: SearchError) -> str:
    return one_line(str(error))


def _show_runs(rows: list[dict[str, Any]]) -> None:
    if not rows:
        say("  no runs under ./runs")
        return
    table: list[list[str]] = []
    for row in rows:
        if row["state"] == "damaged":
            table.append([row["run"], "damaged", "", "", one_line(row["error"], 80)])
            continue
        accuracy = "-" if row["accuracy"] is None else f"{row['accuracy']:.1%}"
        what = f"{row['task']}, {row['algorithm']}, {row['policy']}"
        table.append([row["run"], row["state"], f"{row['n_done']}/{row['n_problems']}", accuracy, what])
    say_table(["run", "state", "done", "accuracy", "what"], table)
