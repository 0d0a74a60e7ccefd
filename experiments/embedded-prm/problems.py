"""Problems to sample solutions of: training ones that the policy was not trained on, or held-out ones.

    python experiments/embedded-prm/problems.py --task countdown --count 4000 --out FILE
    python experiments/embedded-prm/problems.py --task countdown --split test --count 200 --out FILE

They are of the generators' train split, so that no held-out problem is among them, with seeds beyond those
that the policy's training draws; or of the test split, which nothing is trained on.
"""

from __future__ import annotations

import argparse
import json
from itertools import count
from pathlib import Path
from typing import Any

from tasks import countdown, generator
from tasks.countdown.generate import Split

FIRST_SEED = 10_000_000


def problem(task: str, seed: int, split: Split) -> dict[str, Any]:
    if task == "countdown":
        puzzle = countdown.generate(seed, split=split)
        return {"id": f"{split}-{seed}", "numbers": list(puzzle.numbers), "target": puzzle.target}
    worked = generator.generate(seed, split=split)
    return {"id": worked.id, "question": worked.question, "answer": worked.gold}


def content(made: dict[str, Any]) -> str:
    """All of a problem but its id."""
    return str([value for name, value in made.items() if name != "id"])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--task", choices=("countdown", "math"), required=True)
    parser.add_argument("--count", type=int, required=True, help="different problems")
    parser.add_argument("--split", choices=("train", "test"), default="train")
    parser.add_argument("--first", type=int, default=0, help="skip so many seeds")
    parser.add_argument("--without", type=Path, nargs="*", default=[], help="files of problems to leave out")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    lines = (line for path in args.without for line in path.read_text().splitlines())
    known = {content(json.loads(line)) for line in lines}
    found: dict[str, dict[str, Any]] = {}
    for seed in count(FIRST_SEED + args.first):
        made = problem(args.task, seed, args.split)
        if content(made) not in known:
            found.setdefault(content(made), made)
        if len(found) == args.count:
            break
    args.out.write_text("".join(json.dumps(each) + "\n" for each in found.values()))
    print(f"{args.count} problems in {args.out}")


if __name__ == "__main__":
    main()
