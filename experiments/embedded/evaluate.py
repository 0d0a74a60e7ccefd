"""Held-out accuracy of a policy folder: greedy, single sample at temperature 1, and pass@k.

    python experiments/embedded/evaluate.py --model FOLDER --out result.json [--problems 200] [--samples 64]
        [--trained position.json] [--difficulty hard|standard]

The problems are test seeds 0 to N - 1 of each generator, maths of the harder difficulty unless told. With
`--trained` (a checkpoint's `position.json`) every question that the training stream drew is generated again
and its hash compared with the held-out ones.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import itertools
import json
import time
from pathlib import Path
from typing import Any

import yaml

from tasks import countdown, generator
from tasks.base import Problem, Task, Verdict
from tasks.countdown.task import CountdownTask, puzzle_problem
from tasks.math import MathTask
from treesearch import Policy
from treesearch.policies import open_policy
from treesearch.run.summary import wilson_interval

HERE = Path(__file__).parent
DIFFICULTIES = {"hard": generator.HARD, "standard": generator.STANDARD}


def problems(name: str, count: int, difficulty: generator.Difficulty) -> list[Problem]:
    """Held-out problems: test seeds 0 to `count` - 1."""
    if name == "countdown":
        puzzles = [countdown.generate(seed, split="test") for seed in range(count)]
        return [puzzle_problem(id=p.id, numbers=p.numbers, target=p.target) for p in puzzles]
    worked = [generator.generate(seed, split="test", difficulty=difficulty) for seed in range(count)]
    return [Problem(id=w.id, question=w.question, gold=w.gold, meta={"kind": w.kind}) for w in worked]


async def right(policy: Policy, problem: Problem, n: int, temperature: float) -> list[bool]:
    """Whether each of `n` solutions is right."""
    room = policy.room((), whole=True)
    reply = await policy.complete(problem, (), n, max_tokens=room, seed=17, temperature=temperature)
    grades = [await policy.task.agrade(problem, chain[-1].answer) for chain in reply.chains]
    return [grade.verdict is Verdict.CORRECT for grade in grades]


async def evaluate(model: str, task: Task, asked: list[Problem], samples: int) -> dict[str, Any]:
    """Greedy accuracy, mean accuracy of a sample, and pass@samples, with Wilson 95 % intervals."""
    opened = await open_policy(model, task)
    count = len(asked)
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
    n_hard = yaml.safe_load((HERE / "config.yaml").read_text())["data"]["hard_problems"]
    puzzles = (countdown.generate(seed, split="train") for seed in range(streams["countdown"]["next_seed"]))
    worked = (
        generator.generate(
            seed, split="train", difficulty=generator.HARD if seed < n_hard else generator.STANDARD
        )
        for seed in range(streams["math"]["next_seed"])
    )
    questions = (drawn.question for drawn in itertools.chain(puzzles, worked))
    return sum(hashlib.sha256(question.encode()).digest() in hashes for question in questions)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--problems", type=int, default=200)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--difficulty", choices=DIFFICULTIES, default="hard", help="of the maths problems")
    parser.add_argument("--trained", type=Path, help="position.json of the training's last checkpoint")
    args = parser.parse_args()
    result: dict[str, Any] = {"model": args.model, "difficulty": args.difficulty}
    held_out: list[Problem] = []
    for task in (CountdownTask(), MathTask()):
        asked = problems(task.name, args.problems, DIFFICULTIES[args.difficulty])
        held_out += asked
        result[task.name] = asyncio.run(evaluate(args.model, task, asked, args.samples))
    if args.trained:
        result["held_out_seen_in_training"] = seen_in_training(args.trained, held_out)
    text = json.dumps(result, indent=2)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
