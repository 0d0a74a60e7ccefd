"""Kill -9 a run at random moments, resume it, and compare with an uninterrupted run.

    python experiments/crash/crash.py [--kills 56] [--only ALGORITHM ...] [--out result.json]

For every algorithm: one uninterrupted run with the scripted engine; then runs that are killed again and
again at random moments and resumed with `search resume` until they finish. Checked: every problem has
exactly one result, no finished problem's result changed after a kill, and every tree folded from the journal
has the same bytes as in the uninterrupted run. `--kills` are spread over all algorithms; with `--only` some
of them run, and an existing result file keeps the rows of the others.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tasks.countdown import generate
from tasks.countdown.task import CountdownTask
from treesearch.export import tree_to_json
from treesearch.registry import names
from treesearch.run.store import fold_trees, read_header, read_results

PROBLEMS = 24
SEARCH = [sys.executable, "-m", "treesearch.cli"]


def solve_command(algorithm: str, data: Path, run: Path) -> list[str]:
    settings = ["policy.step_tokens=20", "policy.solution_tokens=160", "engine.latency_s=0.01"]
    options = [part for setting in settings for part in ("--set", setting)]
    return [
        *SEARCH, "solve", "--task", "countdown", "--data", str(data), "--engine", "scripted",
        "--policy", "script", "--algorithm", algorithm, "--budget-tokens", "3000",
        "--concurrency", "8", "--run", str(run), "--json", *options,
    ]  # fmt: skip


def write_data(path: Path) -> None:
    puzzles = [generate(seed, split="test") for seed in range(PROBLEMS)]
    rows = [{"id": f"p{i}", "numbers": p.numbers, "target": p.target} for i, p in enumerate(puzzles)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def tree_bytes(run: Path, data: Path) -> dict[str, str]:
    config = read_header(run).resolved.config
    trees = fold_trees(run, CountdownTask().load(data), config)
    return {name: json.dumps(tree_to_json(tree)) for name, tree in sorted(trees.items())}


def results(run: Path) -> dict[str, Any]:
    rows = [{key: row[key] for key in row if key != "seconds"} for row in read_results(run)]
    ids = [row["id"] for row in rows]
    if len(ids) != len(set(ids)):
        raise SystemExit(f"{run}: a problem was done twice: {sorted(ids)}")
    return {row["id"]: row for row in rows}


def still_there(run: Path, before: dict[str, Any]) -> dict[str, Any]:
    """The results now; ends the script if one of `before` is gone or another."""
    now = results(run)
    changed = [name for name in before if now.get(name) != before[name]]
    if changed:
        raise SystemExit(f"{run}: finished problems lost or changed: {changed}")
    return now


def run_with_kills(algorithm: str, data: Path, run: Path, longest_s: float, rng: random.Random) -> int:
    """Start, kill, resume until it finishes by itself; returns how often it was killed."""
    kills, command, before = 0, solve_command(algorithm, data, run), dict[str, Any]()
    while True:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            code = process.wait(timeout=rng.uniform(0.2, longest_s))
        except subprocess.TimeoutExpired:
            code = None
        if code is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            if (run / "run.json").exists():
                command = [*SEARCH, "resume", str(run), "--json"]
                before = still_there(run, before)
            continue
        if code != 0:
            raise SystemExit(f"{' '.join(command)} exited with {code}")
        return kills


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=56)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", help="algorithms; all without it", choices=names("algorithm"))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data.jsonl"
        write_data(data)
        for algorithm in args.only or names("algorithm"):
            plain = Path(folder) / f"{algorithm}-plain"
            started = time.perf_counter()
            subprocess.run(solve_command(algorithm, data, plain), check=True, capture_output=True)
            took = time.perf_counter() - started
            wanted, kills, runs = tree_bytes(plain, data), 0, 0
            while kills * len(names("algorithm")) < args.kills:
                killed = Path(folder) / f"{algorithm}-{runs}"
                kills += run_with_kills(algorithm, data, killed, took * 0.9, rng)
                runs += 1
                if set(results(killed)) != set(wanted) or tree_bytes(killed, data) != wanted:
                    raise SystemExit(f"{algorithm}: a killed run's trees differ from the uninterrupted run's")
            rows.append({"algorithm": algorithm, "kills": kills, "runs": runs, "identical": True})
            print(rows[-1], flush=True)
    if args.only and args.out and args.out.exists():
        kept = json.loads(args.out.read_text())["algorithms"]
        rows += [row for row in kept if row["algorithm"] not in args.only]
        rows.sort(key=lambda row: names("algorithm").index(row["algorithm"]))
    result = {"problems": PROBLEMS, "kills": sum(row["kills"] for row in rows), "algorithms": rows}
    if args.out:
        args.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
