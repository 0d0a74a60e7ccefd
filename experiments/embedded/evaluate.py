"""Held-out accuracy of a policy folder: greedy, single sample at temperature 1, and pass@k.

    python experiments/embedded/evaluate.py --model FOLDER --out result.json [--problems 200] [--samples 64]
        [--trained position.json]

The problems are test seeds 0 to N - 1 of each generator. With `--trained` (a checkpoint's `position.json`)
every question that the training stream drew is generated again and its hash compared with the held-out ones.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import time
from pathlib import Path
from typing import Any

from tasks import countdown, generator
from tasks.base import Problem, Task, Verdict
from tasks.countdown.task import CountdownTask, puzzle_problem
from tasks.math import MathTask
from treesearch import Policy
from treesearch.policies import open_policy
from treesearch.run.summary import wilson_interval


def problems(name: str, count: int) -> list[Problem]:
    """Held-out problems: test seeds 0 to `count` - 1."""
    if name == "countdown":
        puzzles = [countdown.generate(seed, split="test") for seed in range(count)]
        return [puzzle_problem(id=p.id, numbers=p.numbers, target=p.target) for p in puzzles]
    worked = [generator.generate(seed, split="test") for seed in range(count)]
    return [Problem(id=w.id, question=w.question, gold=w.gold, meta={"kind": w.kind}) for w in worked]


async def right(policy: Policy, problem: Problem, n: int, temperature: float) -> list[bool]:
    """Whether each of `n` solutions is right."""
    room = policy.room((), whole=True)
    reply = await policy.complete(problem, (), n, max_tokens=room, seed=17, temperature=temperature)
    grades = [await policy.task.agrade(problem, chain[-1].answer) for chain in reply.chains]
    return [grade.verdict is Verdict.CORRECT for grade in grades]


async def evaluate(model: str, task: Task, count: int, samples: int) -> dict[str, Any]:
    """Greedy accuracy, mean accuracy of a sample, and pass@samples, with Wilson 95 % intervals."""
    opened = await open_policy(model, task)
    asked = problems(task.name, count)
    started = time.perf_counter()
    greedy = await asyncio.gather(*(right(opened.policy, p, 1, 0.0) for p in asked))
    sampled = await asyncio.gather(*(right(opened.policy, p, samples, 1.0) for p in asked))
    n_greedy, n_any = sum(row[0] for row in greedy), sum(any(row) for row in sampled)
    engine = opened.policy.engine
    result = {
        "problems": count,
        "greedy": n_greedy / count,
        "greedy_ci95": wilson_interval(n_greedy, count),
        "sample": sum(map(sum, sampled)) / (count * samples),
        f"pass@{samples}": n_any / count,
        f"pass@{samples}_ci95": wilson_interval(n_any, count),
        "unsolved": [p.question for p, row in zip(asked, sampled, strict=True) if not any(row)],
        "generated_tokens": engine.usage.generated_tokens,
        "seconds": round(time.perf_counter() - started, 1),
    }
    await engine.close()
    return result


def seen_in_training(position: Path, held_out: list[Problem]) -> int:
    """How many held-out questions the training stream contained, by SHA-256 of the question."""
    hashes = {hashlib.sha256(problem.question.encode()).digest() for problem in held_out}
    streams = json.loads(position.read_text())["streams"]
    found = 0
    for source, draw in (("countdown", countdown.generate), ("math", generator.generate)):
        for seed in range(streams[source]["next_seed"]):
            question = draw(seed, split="train").question
            found += hashlib.sha256(question.encode()).digest() in hashes
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--problems", type=int, default=200)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--trained", type=Path, help="position.json of the training's last checkpoint")
    args = parser.parse_args()
    result: dict[str, Any] = {"model": args.model}
    for task in (CountdownTask(), MathTask()):
        result[task.name] = asyncio.run(evaluate(args.model, task, args.problems, args.samples))
    if args.trained:
        held_out = [p for name in ("countdown", "math") for p in problems(name, args.problems)]
        result["held_out_seen_in_training"] = seen_in_training(args.trained, held_out)
    text = json.dumps(result, indent=2)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
