"""`search show`: the results of a run, or one problem's tree, read from the run directory.

It reads a run that is being written as well, and needs neither the model nor, for the tree, the data file.
"""

from __future__ import annotations

import difflib
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tasks.errors import SearchError, UsageError
from treesearch.cli import options
from treesearch.cli.terminal import draws, is_terminal, one_line, say, say_json, say_table, tell

if TYPE_CHECKING:
    from tasks.base import Problem
    from treesearch.cli.tree_text import Line
    from treesearch.run.overview import Overview
    from treesearch.tree import Tree


def show(
    run: options.Run,
    problem: Annotated[str | None, typer.Argument(help="A problem's id: show its tree.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Show every node, and texts in full.")] = False,
    as_json: options.Json = False,
) -> None:
    """Show the results of a run, or the search tree of one PROBLEM."""
    from treesearch.run.overview import find_run, read_overview

    overview = read_overview(find_run(run))
    if problem is None:
        _show_results(overview, as_json=as_json)
    else:
        _show_tree(overview, problem, everything=everything, as_json=as_json)


def _show_results(overview: Overview, *, as_json: bool) -> None:
    from treesearch.run.summary import read_summary

    config = overview.header.resolved.config
    if as_json:
        say_json(
            {
                "run": str(overview.folder),
                "state": overview.state,
                "n_problems": overview.header.n_problems,
                "accuracy": overview.accuracy,
                "config": overview.header.resolved.to_json(),
                "summary": read_summary(overview.folder) or None,
                "results": overview.rows,
            }
        )
        return
    table = [
        [row["id"], row["verdict"] or "-", _answer(row), row["stop_reason"] or "-", _tokens(row)]
        for row in overview.rows
    ]
    say_table(["id", "verdict", "answer", "stopped by", "tokens"], table)
    accuracy = "" if overview.accuracy is None else f", accuracy {overview.accuracy:.1%}"
    done = f"{len(overview.rows)} of {overview.header.n_problems} done"
    say(f"{config.task}, {config.algorithm}: {overview.state}, {done}{accuracy}")


def _answer(row: dict[str, Any]) -> str:
    if row.get("error"):
        return one_line(f"error: {row['error']}", 60)
    return "-" if row["answer"] is None else one_line(row["answer"], 40)


def _tokens(row: dict[str, Any]) -> str:
    return f"{row['usage']['generated_tokens'] + row['usage']['value_tokens']:,}"


def _show_tree(overview: Overview, name: str, *, everything: bool, as_json: bool) -> None:
    from treesearch.api import open_algorithm
    from treesearch.run.store import fold_tree
    from treesearch.settings import split_settings

    config = overview.header.resolved.config
    problem = _problem(overview, name)
    tree = fold_tree(overview.folder, problem, config)
    row = next((row for row in overview.rows if row["id"] == name), None)
    if row is None and tree.works == 0:
        raise _no_problem(overview, name)
    algorithm = open_algorithm(config.algorithm, split_settings(config.settings)["algorithm"])
    answer = row["answer"] if row is not None else algorithm.final_answer(tree)
    if as_json:
        say_json(_tree_json(tree, answer, row) | {"run": str(overview.folder)})
        return
    state = "not finished" if row is None else f"{row['verdict'] or 'error'}, {row['stop_reason']}"
    say(f"{name}: answer {'none' if answer is None else answer} ({state})")
    usage = tree.usage
    say(f"{usage.nodes:,} nodes, {usage.generated_tokens:,} tokens, {usage.value_tokens:,} for values")
    _draw(tree, answer, everything=everything)
    if row is not None and row.get("error"):
        tell(f"failed: {one_line(row['error'])}")


def _problem(overview: Overview, name: str) -> Problem:
    """The problem from the run's data; without its question where the data cannot be read any more."""
    from tasks.base import Problem
    from treesearch.run.plan import prepare

    try:
        problems = prepare(overview.header.resolved).problems
    except SearchError as error:
        tell(f"warning: the question is not shown: {one_line(str(error))}")
        return Problem(id=name, question=f"problem {name}", task=overview.header.resolved.config.task)
    found = next((problem for problem in problems if problem.id == name), None)
    if found is None:
        raise _no_problem(overview, name, [problem.id for problem in problems])
    return found


def _no_problem(overview: Overview, name: str, known: list[str] | None = None) -> UsageError:
    ids = [row["id"] for row in overview.rows] if known is None else known
    if name in ids:
        return UsageError(f"the search of problem {name!r} has not begun")
    near = difflib.get_close_matches(name, ids, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"`search show {overview.folder}` lists them"
    return UsageError(f"unknown problem {name!r}; {hint}")


def _draw(tree: Tree, answer: str | None, *, everything: bool) -> None:
    from treesearch.cli.tree_text import ASCII, UNICODE, tree_lines

    guides = UNICODE if draws(sys.stdout, UNICODE.branch) else ASCII
    lines = tree_lines(tree, answer, guides, everything=everything)
    if not is_terminal(sys.stdout):
        for line in lines:
            say(str(line))
        return
    _draw_coloured(list(lines))


def _draw_coloured(lines: list[Line]) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    for line in lines:
        text = Text(line.guide, style="dim")
        text.append(line.text, style="bold green" if line.on_path else "not dim")
        text.append(f"  {line.numbers}" if line.numbers else "", style="not dim cyan")
        text.append(f"  {line.marks}" if line.marks else "", style="not dim yellow")
        console.print(text, soft_wrap=True)


def _tree_json(tree: Tree, answer: str | None, row: dict[str, Any] | None) -> dict[str, Any]:
    """The tree without token ids; `treesearch.save_trees` writes everything."""
    from dataclasses import asdict

    from treesearch.cli.tree_text import answer_nodes

    path = answer_nodes(tree, answer)
    nodes = [
        {
            "id": node.id,
            "parent": None if node.step is None else node.parent,
            "text": None if node.step is None else node.step.text,
            "visits": node.visits,
            "q": node.q,
            "value": node.value,
            "prior": node.prior,
            "tokens": 0 if node.step is None else len(node.step.token_ids),
            "finished": node.finished,
            "closed": node.closed,
            "answer": None if node.step is None else node.step.answer,
            "on_answer_path": node.id in path,
        }
        for node in tree.nodes
    ]
    return {
        "problem": tree.problem.id,
        "question": tree.problem.question,
        "answer": answer,
        "result": row,
        "usage": asdict(tree.usage),
        "nodes": nodes,
        "rollouts": [asdict(done) for done in tree.completions],
    }
