"""Trees as files and graphs: JSONL that reads back equal, networkx, GraphML."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jsonlines
import networkx as nx

from tasks.base import Problem
from tasks.errors import DataError
from treesearch.budget import Cost, Usage
from treesearch.engines.base import FinishReason
from treesearch.events import Issued, Step, StopReason
from treesearch.tree import Completion, Node, Tree


def save_trees(path: Path | str, trees: Iterable[Tree]) -> None:
    """Write trees as JSONL, one a line: the same tree gives the same bytes."""
    with jsonlines.open(path, "w", compact=True) as writer:
        for tree in trees:
            writer.write(tree_to_json(tree))


def load_trees(path: Path | str) -> list[Tree]:
    """Read what `save_trees` wrote.

    Raises `DataError`: with file and line for a line that is no tree, with the reason for a file that cannot
    be read.
    """
    trees: list[Tree] = []
    try:
        reader = jsonlines.open(path)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}; check the path") from error
    with reader:
        try:
            for row in reader:
                trees.append(tree_from_json(row))
        except (jsonlines.InvalidLineError, KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{path}:{len(trees) + 1}: not a tree ({type(error).__name__}: {error})"
            ) from error
    return trees


def tree_to_json(tree: Tree) -> dict[str, Any]:
    """The whole tree as JSON data: problem, nodes with steps and statistics, roll-outs, usage."""
    return {
        "problem": asdict(tree.problem) | {"meta": dict(tree.problem.meta)},
        "seed": tree.seed,
        "works": tree.works,
        "cancelled": tree.cancelled,
        "stop": tree.stop,
        "best_finished": None if tree.best_finished == float("-inf") else tree.best_finished,
        "votes": tree.votes,
        "usage": asdict(tree.usage),
        "in_flight": [[i.work, i.node, asdict(i.cost)] for i in tree.in_flight.values()],
        "nodes": [_node_to_json(node) for node in tree.nodes],
        "completions": [asdict(done) for done in tree.completions],
    }


def tree_from_json(row: dict[str, Any]) -> Tree:
    """Read `tree_to_json` back. The budget is not part of a tree; the meter starts without limits."""
    tree = Tree(problem=Problem(**row["problem"]), seed=row["seed"])
    tree.nodes = [_node_from_json(entry) for entry in row["nodes"]]
    tree.completions = [Completion(**entry) for entry in row["completions"]]
    tree.works = row["works"]
    tree.cancelled = row.get("cancelled", 0)
    tree.stop = StopReason(row["stop"]) if row["stop"] else None
    if row["best_finished"] is not None:
        tree.best_finished = row["best_finished"]
    tree.votes = {str(vote): int(count) for vote, count in row["votes"].items()}
    tree.meter.used = Usage(**row["usage"])
    for work, node, cost in row["in_flight"]:
        tree.in_flight[work] = Issued(work, node, Cost(**cost))
        tree.meter.reserve(tree.in_flight[work].cost)
    return tree


_PLAIN = ("id", "parent", "depth", "prior", "value", "visits", "total", "q", "pending", "expansions")
_MORE = ("expanded_at", "closed", "children")


def _node_to_json(node: Node) -> dict[str, Any]:
    row = {name: getattr(node, name) for name in (*_PLAIN, *_MORE)}
    row["step"] = None if node.step is None else asdict(node.step)
    return row


def _node_from_json(row: dict[str, Any]) -> Node:
    step = row["step"]
    if step is not None:
        step = Step(
            **(
                step
                | {
                    "token_ids": tuple(step["token_ids"]),
                    "logprobs": tuple(step["logprobs"]),
                    "finish": FinishReason(step["finish"]),
                }
            )
        )
    return Node(step=step, **{name: row[name] for name in (*_PLAIN, *_MORE)})


def to_networkx(tree: Tree) -> nx.DiGraph[int]:
    """A directed graph from parents to children; node attributes are plain numbers and strings.

    Attributes: `text`, `depth`, `value` (absent before scoring), `visits`, `q`, `prior`, `tokens`, `logprob`,
    `closed`, `finish`, `answer` (absent unless finished). Graph attributes: `problem`, `question`.
    """
    graph: nx.DiGraph[int] = nx.DiGraph(problem=tree.problem.id, question=tree.problem.question)
    for node in tree.nodes:
        step = node.step
        attributes: dict[str, Any] = {
            "text": step.text if step else tree.problem.question,
            "depth": node.depth,
            "visits": node.visits,
            "q": node.q,
            "prior": node.prior,
            "tokens": len(step.token_ids) if step else 0,
            "logprob": sum(step.logprobs) if step else 0.0,
            "closed": node.closed,
            "finish": step.finish.value if step else "",
        }
        if node.value is not None:
            attributes["value"] = node.value
        if step and step.answer is not None:
            attributes["answer"] = step.answer
        graph.add_node(node.id, **attributes)
        if node.step is not None:
            graph.add_edge(node.parent, node.id)
    return graph


def to_graphml(tree: Tree, path: Path | str) -> None:
    """Write the tree as GraphML, which Gephi, yEd and networkx read. Control characters become spaces."""
    graph = to_networkx(tree)
    for attributes in (graph.graph, *(attributes for _, attributes in graph.nodes(data=True))):
        for name, value in attributes.items():
            if isinstance(value, str):
                attributes[name] = "".join(c if c.isprintable() or c in "\n\t" else " " for c in value)
    nx.write_graphml(graph, path)
