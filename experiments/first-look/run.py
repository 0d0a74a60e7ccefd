"""Every algorithm on the shipped held-out problems at 4,000 tokens each: accuracy and tokens, with intervals.

    python experiments/first-look/run.py --runs FOLDER [--task countdown|math] [--tokens 4000] [--limit 100]
        [--only LABEL ...]

One `search solve` run for each method and task; a run directory that exists is gone on with, so the script
can be stopped and started again, and two processes with a task each leave nothing to do for a third that
writes them together. Writes result.json beside itself; `plot.py` draws the figure from it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TASKS = ("countdown", "math")


@dataclass(frozen=True, kw_only=True)
class Method:
    """A label and the options of `search solve` behind it."""

    label: str
    algorithm: str
    value: str | None = None
    settings: tuple[str, ...] = ()

    def options(self) -> list[str]:
        value = ["--value", self.value] if self.value else []
        return [
            "--algorithm",
            self.algorithm,
            *value,
            *(part for s in self.settings for part in ("--set", s)),
        ]


METHODS = (
    Method(label="greedy", algorithm="greedy"),
    Method(label="majority vote", algorithm="self-consistency", settings=("n=none",)),
    Method(label="best-of-n, log-prob", algorithm="best-of-n", settings=("n=none",)),
    Method(
        label="best-of-n, Borda by self-certainty", algorithm="best-of-n", settings=("n=none", "answer=borda")
    ),
    Method(label="beam, log-prob", algorithm="beam", value="logprob", settings=("rounds=none",)),
    Method(label="beam, roll-outs", algorithm="beam", value="rollout", settings=("rounds=none", "value.n=2")),
    Method(
        label="best-first, log-prob", algorithm="best-first", settings=("max_solutions=none", "answer=vote")
    ),
    Method(
        label="best-first, roll-outs",
        algorithm="best-first",
        value="rollout",
        settings=("max_solutions=none", "answer=vote"),
    ),
    Method(label="MCTS, roll-outs", algorithm="mcts", value="rollout"),
    Method(label="ReST-MCTS*, roll-outs", algorithm="rest-mcts", value="rollout", settings=("answer=vote",)),
    Method(label="beam, verifier", algorithm="beam", value="verifier", settings=("rounds=none",)),
    Method(label="MCTS, verifier", algorithm="mcts", value="verifier"),
    Method(label="best-of-n, verifier", algorithm="best-of-n", value="verifier", settings=("n=none",)),
)


def run(method: Method, task: str, folder: Path, tokens: int, limit: int, seed: int) -> dict[str, Any]:
    name = "".join(char if char.isalnum() else "-" for char in method.label.lower())
    command = [
        sys.executable, "-m", "treesearch.cli", "solve", "--task", task, "--limit", str(limit),
        "--budget-tokens", str(tokens), "--seed", str(seed), "--run", str(folder / f"{task}-{name}-{seed}"),
        "--json", *method.options(),
    ]  # fmt: skip
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    summary = json.loads(done.stdout)
    results = [json.loads(line) for line in (Path(summary["run"]) / "results.jsonl").read_text().splitlines()]
    over = [
        row["id"]
        for row in results
        if row["usage"]["generated_tokens"] + row["usage"]["value_tokens"] > tokens
    ]
    summary.pop("run")
    summary["command"] = " ".join(["search", *command[3:]]).replace(str(folder), "RUNS")
    correct = {row["id"]: row["verdict"] == "correct" for row in results}
    return summary | {"method": method.label, "task": task, "over_budget": over, "correct": correct}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--tokens", type=int, default=4_000)
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", help="labels; all methods without it")
    parser.add_argument("--task", choices=TASKS, help="both without it")
    parser.add_argument("--out", type=Path, default=HERE / "result.json")
    args = parser.parse_args()
    chosen = [method for method in METHODS if not args.only or method.label in args.only]
    rows: list[dict[str, Any]] = []
    for task in [args.task] if args.task else TASKS:
        for method in chosen:
            rows.append(run(method, task, args.runs, args.tokens, args.limit, args.seed))
            row = rows[-1]
            low, high = row["accuracy_ci95"]
            print(
                f"{task:10} {method.label:36} {row['accuracy']:.2f} [{low:.2f}, {high:.2f}] "
                f"{sum(row['usage'][k] for k in ('generated_tokens', 'value_tokens'))} tokens "
                f"{row['seconds']:.0f} s{' oracle' if row['oracle'] else ''}",
                flush=True,
            )
            args.out.write_text(json.dumps({"tokens": args.tokens, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
