"""Write the held-out problems that ship with the package: test seeds 0 to 99 of each generator.

Maths is of the harder difficulty: the model solves more than 85 % of the standard one greedily.

python experiments/embedded/make_samples.py
"""

from __future__ import annotations

from pathlib import Path

import jsonlines

from tasks import countdown, generator

DATA = Path(__file__).parents[2] / "tasks" / "data"
SIZE = 100


def main() -> None:
    DATA.mkdir(exist_ok=True)
    with jsonlines.open(DATA / "math_sample.jsonl", "w") as file:
        for seed in range(SIZE):
            worked = generator.generate(seed, split="test", difficulty=generator.HARD)
            file.write({"id": f"math-{seed:03}", "question": worked.question, "answer": worked.gold})
    with jsonlines.open(DATA / "countdown_sample.jsonl", "w") as file:
        for seed in range(SIZE):
            puzzle = countdown.generate(seed, split="test")
            file.write({"id": f"countdown-{seed:03}", "numbers": puzzle.numbers, "target": puzzle.target})


if __name__ == "__main__":
    main()
