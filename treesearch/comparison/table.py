"""The table of a comparison: the same cells of text for the terminal and for Markdown.

Tokens, calls and nodes are for each problem, seconds for each run. `majority` marks the baseline that
differences are against; a method whose value read the gold answers is marked as an oracle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from treesearch.comparison.methods import MAJORITY

HEADER = (
    "method",
    "budget",
    "accuracy [95 %]",
    "against majority",
    "p (Holm)",
    "tokens",
    "proposing",
    "scoring",
    "prompts",
    "calls",
    "nodes",
    "seconds",
    "tokens/s",
    "budget stops",
)
TEXT_COLUMNS = 1
"""How many columns from the left hold text; the others are numbers."""


def table_rows(content: Mapping[str, Any]) -> list[list[str]]:
    """A line of cells under `HEADER` for every row of a comparison's JSON data."""
    return [_cells(row) for row in content["rows"]]


def legend(content: Mapping[str, Any]) -> list[str]:
    """Sentences that the table needs below it."""
    rows: Sequence[Mapping[str, Any]] = content["rows"]
    seeds = len(content["config"]["seeds"])
    test = "McNemar's exact test" if seeds == 1 else "exact sign-flip test over problems, seeds averaged"
    lines = [
        f"Accuracy in percent, intervals over problems; majority vote is {MAJORITY}; p: {test}, "
        "in brackets adjusted for all tests of the table (Holm). Tokens, calls and nodes a problem, "
        "seconds a run."
    ]
    if any(row["oracle"] for row in rows):
        lines.append("(oracle): the search read the gold answers; an upper bound, not a result.")
    if any(row["n_cancelled"] for row in rows):
        lines.append("A method that cancels requests: its tokens are by the engine's own count.")
    if content["n_errors"]:
        lines.append(f"{content['n_errors']} problems failed and count as not right.")
    if content["n_done"] < content["n_cells"]:
        lines.append(f"{content['n_done']} of {content['n_cells']} runs are done.")
    return lines


def markdown(content: Mapping[str, Any]) -> str:
    """The table and its legend as Markdown."""
    rows = [[cell.replace("|", "\\|") for cell in row] for row in table_rows(content)]
    rule = ["---" if index < TEXT_COLUMNS else "---:" for index in range(len(HEADER))]
    lines = [f"| {' | '.join(cells)} |" for cells in (HEADER, rule, *rows)]
    return "\n".join([*lines, "", *legend(content)]) + "\n"


def _cells(row: Mapping[str, Any]) -> list[str]:
    asked = len(row["seeds"]) * row["n_problems"]
    usage = row["usage"]
    found = row["difference"]
    return [
        f"{row['name']} (oracle)" if row["oracle"] else row["name"],
        f"{row['budget_tokens']:,}",
        "-" if row["accuracy"] is None else _share(row["accuracy"], row["accuracy_ci95"]),
        "-" if found is None else _signed(found["accuracy"], found["ci95"]),
        "-" if found is None else f"{_p(found['p'])} ({_p(found['p_holm'])})",
        f"{row['tokens_per_problem']:,.0f}",
        f"{usage['generated_tokens'] / asked:,.0f}",
        f"{usage['value_tokens'] / asked:,.0f}",
        f"{usage['prompt_tokens'] / asked:,.0f}",
        f"{usage['calls'] / asked:,.1f}",
        f"{usage['nodes'] / asked:,.1f}",
        f"{row['seconds'] / len(row['seeds']):,.1f}",
        "-" if row["tokens_per_second"] is None else f"{row['tokens_per_second']:,.0f}",
        f"{row['n_budget_stops'] / asked:.0%}",
    ]


def _share(value: float, interval: Sequence[float]) -> str:
    return f"{100 * value:.1f} [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"


def _signed(value: float, interval: Sequence[float]) -> str:
    return f"{100 * value:+.1f} [{100 * interval[0]:+.1f}, {100 * interval[1]:+.1f}]"


def _p(value: float) -> str:
    """Three decimals, or that it is below what they show."""
    return "<0.001" if value < 0.001 else f"{value:.3f}"
