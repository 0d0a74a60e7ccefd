"""The options of the commands: their help, their completion, and numbers as people write them."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from tasks.errors import UsageError

_NUMBER = re.compile(r"(\d+(?:\.\d+)?)([kmg]?)", re.IGNORECASE)
_SCALE = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000}


def number(text: str | None, option: str) -> str | None:
    """``4k`` as ``4000``, ``1.5M`` as ``1500000``; `none` (no limit) stays; None if not given."""
    if text is None or text.lower() == "none":
        return text
    match = _NUMBER.fullmatch(text.replace("_", "").replace(",", ""))
    if match is None:
        raise UsageError(f"{option} must be a number such as 4000 or 4k, or none; got {text!r}")
    value = float(match[1]) * _SCALE[match[2].lower()]
    return str(int(value)) if value.is_integer() else str(value)


def _names(kind: str, incomplete: str) -> list[str]:
    from treesearch.registry import names

    return [name for name in names(kind) if name.startswith(incomplete)]


def complete_algorithm(incomplete: str) -> list[str]:
    """Names of algorithms."""
    return _names("algorithm", incomplete)


def complete_value(incomplete: str) -> list[str]:
    """Names of value sources."""
    return _names("value", incomplete)


def complete_task(incomplete: str) -> list[str]:
    """Names of tasks."""
    return _names("task", incomplete)


def complete_engine(incomplete: str) -> list[str]:
    """Names of engines."""
    return _names("engine", incomplete)


def complete_run(incomplete: str) -> list[str]:
    """Names of the runs under ./runs."""
    from treesearch.run.overview import RUNS, run_names

    return [found for name in run_names() if (found := str(RUNS / name)).startswith(incomplete)]


_CONFIG = "YAML file with these options as keys, and `settings` for --set; options win over it."
_RUN = "Run directory; one that holds this run is gone on with. [default: runs/TASK-ALGORITHM-TIME]"
_SET = "A setting: width=8, policy.temperature=0.7, value.n=4. Repeatable; see `search list`."

Question = Annotated[str | None, typer.Argument(help="One question; without it, the task's data is solved.")]
TaskName = Annotated[
    str | None,
    typer.Option("--task", help="Kind of problem. [default: math]", autocompletion=complete_task),
]
Data = Annotated[str | None, typer.Option("--data", help="Problem file. [default: the shipped problems]")]
PolicyName = Annotated[
    str | None,
    typer.Option(
        "--policy", help="Model: embedded, a folder, a hub id, or a server's address. [default: embedded]"
    ),
]
ModelName = Annotated[
    str | None,
    typer.Option("--model", metavar="NAME", help="Which of a server's models. [default: its only one]"),
]
EngineName = Annotated[
    str | None,
    typer.Option(
        "--engine",
        help="What runs the model. [default: openai for an address, else transformers]",
        autocompletion=complete_engine,
    ),
]
EngineArgs = Annotated[
    str | None,
    typer.Option("--engine-args", metavar="ARGS", help="Arguments of vLLM itself, in one string."),
]
AlgorithmName = Annotated[
    str | None,
    typer.Option("--algorithm", help="How to search. [default: mcts]", autocompletion=complete_algorithm),
]
ValueName = Annotated[
    str | None,
    typer.Option(
        "--value", help="What scores steps. [default: the algorithm's]", autocompletion=complete_value
    ),
]
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help=_SET)]
ConfigFile = Annotated[str | None, typer.Option("--config", help=_CONFIG)]
Tokens = Annotated[
    str | None,
    typer.Option("--budget-tokens", metavar="N", help="Tokens a problem, scoring included. [default: 2k]"),
]
Calls = Annotated[str | None, typer.Option("--budget-calls", metavar="N", help="Engine requests a problem.")]
Nodes = Annotated[str | None, typer.Option("--budget-nodes", metavar="N", help="Tree nodes a problem.")]
Seconds = Annotated[str | None, typer.Option("--budget-seconds", metavar="S", help="Seconds a problem.")]
_MORE = "A larger budget: {} a problem; what the old one had stopped goes on."
MoreTokens = Annotated[str | None, typer.Option("--budget-tokens", metavar="N", help=_MORE.format("tokens"))]
MoreCalls = Annotated[
    str | None, typer.Option("--budget-calls", metavar="N", help=_MORE.format("engine requests"))
]
MoreNodes = Annotated[
    str | None, typer.Option("--budget-nodes", metavar="N", help=_MORE.format("tree nodes"))
]
Limit = Annotated[int | None, typer.Option("--limit", metavar="N", help="Solve the first N problems only.")]
Seed = Annotated[int | None, typer.Option("--seed", metavar="N", help="Root of all sampling. [default: 0]")]
Concurrency = Annotated[
    int | None, typer.Option("--concurrency", metavar="N", help="Problems in flight at once. [default: 64]")
]
RunFolder = Annotated[str | None, typer.Option("--run", metavar="DIR", help=_RUN)]
Json = Annotated[
    bool, typer.Option("--json", help="Write one JSON object to standard output, and nothing else there.")
]
Run = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="Run directory, or its name under ./runs.", autocompletion=complete_run
    ),
]
