"""How fast the core is when the model costs nothing: nodes per second, bytes per node, waiting at latency.

    python experiments/core-speed/bench.py [--out result.json] [--nodes 100 300 1000]

1. 64 concurrent MCTS problems, scripted engine at zero latency, journal on, trees of several sizes: nodes
   added and simulations made per second, on one core; journal and memory bytes per node besides its text.
2. 256 problems in flight at 100 ms latency: wall time over the critical path (the most calls that any one
   problem makes one after another, times the latency).
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import Any

from tasks.base import Problem
from tasks.math import MathTask
from treesearch import MCTS, Budget, LogProb, Policy, PolicyConfig, ScriptedEngine, Tree
from treesearch.budget import Meter
from treesearch.journal import Journal

POLICY = PolicyConfig(step_tokens=32, solution_tokens=512)


def make_trees(count: int, budget: Budget, journal: Journal | None) -> list[Tree]:
    trees: list[Tree] = []
    for index in range(count):
        name = f"problem-{index}"
        problem = Problem(id=name, question=f"What is the value of item {index}?")
        tree = Tree(problem=problem, seed=index, meter=Meter(budget=budget))
        if journal is not None:
            tree.sink = lambda record, name=name: journal.append(name, record)
        trees.append(tree)
    return trees


async def search(trees: list[Tree], engine: ScriptedEngine, algorithm: MCTS) -> None:
    policy = Policy(engine=engine, task=MathTask(), config=POLICY)
    await asyncio.gather(*(algorithm(tree, policy, LogProb()) for tree in trees))


def nodes_per_second(nodes: int, algorithm: MCTS) -> dict[str, Any]:
    """Best of three: the machine's other load only ever slows a run down."""
    rates: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for round_ in range(3):
            path = Path(folder) / f"{round_}.jsonl"
            journal = Journal(path)
            trees = make_trees(64, Budget(nodes=nodes), journal)
            started, cpu = time.perf_counter(), time.process_time()
            asyncio.run(search(trees, ScriptedEngine(), algorithm))
            journal.flush()
            wall, cpu = time.perf_counter() - started, time.process_time() - cpu
            added = sum(tree.usage.nodes for tree in trees)
            rates.append(added / min(wall, cpu))
            journal.close()
        text = sum(len(node.step.text.encode()) for tree in trees for node in tree.nodes if node.step)
        simulations = sum(tree.root.visits for tree in trees) / added
        return {
            "nodes": added,
            "nodes_per_second": round(max(rates)),
            "all_rounds": [round(rate) for rate in rates],
            "simulations_per_second": round(max(rates) * simulations),
            "journal_bytes_per_node": round((path.stat().st_size - text) / added, 1),
        }


def memory_per_node(nodes: int, algorithm: MCTS) -> dict[str, float]:
    gc.collect()
    tracemalloc.start()
    trees = make_trees(8, Budget(nodes=nodes), None)
    asyncio.run(search(trees, ScriptedEngine(), algorithm))
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    added = sum(tree.usage.nodes for tree in trees)
    text = sum(len(node.step.text) for tree in trees for node in tree.nodes if node.step)
    return {"memory_bytes_per_node": round((size - text) / added, 1)}


def waiting(problems: int, latency_s: float) -> dict[str, float]:
    engine = ScriptedEngine(latency_s=latency_s)
    trees = make_trees(problems, Budget(), None)
    algorithm = MCTS(simulations=20, in_flight=1)
    started = time.perf_counter()
    asyncio.run(search(trees, engine, algorithm))
    wall = time.perf_counter() - started
    critical = max(tree.usage.calls for tree in trees) * latency_s
    return {
        "wall_s": round(wall, 3),
        "critical_path_s": round(critical, 3),
        "ratio": round(wall / critical, 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--nodes", type=int, nargs="*", default=[100, 300, 1_000], help="nodes a problem")
    args = parser.parse_args()
    result: dict[str, Any] = {
        f"mcts_{nodes}_nodes_in_flight_{in_flight}": nodes_per_second(nodes, MCTS(in_flight=in_flight))
        for nodes in args.nodes
        for in_flight in (1, 4)
    }
    result |= {
        "memory": memory_per_node(max(args.nodes), MCTS()),
        "latency_100ms_256_problems": waiting(256, 0.1),
    }
    text = json.dumps(result, indent=2)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
