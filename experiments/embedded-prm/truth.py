"""Steps with exact labels, for `search prm eval --bench steps` and `search prm calibrate`.

    python experiments/embedded-prm/truth.py --run RUN --out FILE [--split train]

RUN is a run of `self-consistency` over the held-out problems that ship with the package, or over those that
`problems.py` wrote; on countdown of any other search too, whose paths count finished or not. Labels:

- countdown: 1 where the target can still be reached from the numbers left (the solver knows), else 0.
- maths: 1 for every step before the first wrong one (the generator's checker knows; it judges the answer line
  too), 0 for that one; the steps behind it are left out.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from prm.labels.trees import run_trees
from tasks.base import Problem, Task
from tasks.countdown import parse_step, solvable
from tasks.generator import constants_of, generate, wrong_step
from tasks.generator.source import Split
from treesearch.tree import Tree


def labels(task: Task, problem: Problem, steps: Sequence[str], split: Split) -> list[float | None]:
    if problem.task == "countdown":
        found = list(countdown_labels(task, problem, steps))
    else:
        found = math_labels(problem, steps, split)
    return [*found, *[None] * (len(steps) - len(found))]


def countdown_labels(task: Task, problem: Problem, steps: Sequence[str]) -> Iterator[float]:
    texts, alive = [step.strip() for step in steps], True
    for index, text in enumerate(texts):
        move = parse_step(text)
        alive = alive and move is not None and task.check_steps(problem, texts[: index + 1]) is None
        alive = alive and solvable(move.left_over, problem.meta["target"])  # type: ignore[union-attr]
        yield float(alive)


def math_labels(problem: Problem, steps: Sequence[str], split: Split) -> list[float]:
    wrong = wrong_in_maths(problem.id, problem.question, steps, split)
    return [1.0] * len(steps) if wrong is None else [*[1.0] * wrong, 0.0]


def wrong_in_maths(problem: str, question: str, steps: Sequence[str], split: Split) -> int | None:
    """Index of the first wrong step in a generated problem, which its id tells; None without one."""
    worked = generate(int(problem.rpartition("-")[2]), split=split)
    if worked.question != question:
        raise SystemExit(f"{problem} is not the {split} problem of that number; is --split right?")
    return wrong_step(steps, question=question, gold=worked.gold, constants=constants_of(worked.kind))


def solutions(tree: Tree) -> Iterator[list[str]]:
    for node in tree.nodes:
        cut = tree.problem.task == "countdown" and not node.children
        if node.step is not None and (node.finished or cut):
            yield [step.text for step in tree.path(node.id) if step.text.strip()]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--split", choices=("train", "test"), default="test", help="of maths problems")
    args = parser.parse_args()
    found = run_trees(args.run)
    rows: list[dict[str, Any]] = []
    for tree in found.trees:
        for steps in solutions(tree):
            row = {"id": tree.problem.id, "prompt": tree.problem.question, "completions": steps}
            rows.append(row | {"labels": labels(found.plan.task, tree.problem, steps, args.split)})
    args.out.write_text("".join(json.dumps(row) + "\n" for row in rows))
    print(f"{len(rows)} solutions of {len(found.trees)} problems in {args.out}")


if __name__ == "__main__":
    main()
