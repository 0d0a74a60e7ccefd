"""How many of the golden pairs get their verdict?

Run: `python experiments/grader/golden.py [--pairs tests/data/grader] [--out golden.json]`. Each line of the
files is a gold, an answer, whether they are equal, and why. Exits 1 if a pair gets another verdict, or if
there are fewer than `LEAST` right or wrong pairs.
"""

from __future__ import annotations

import argparse
import collections
import json
import sys
import time
from pathlib import Path
from typing import Any

from self_grade import summary

from tasks.math import GRADER, grade, prewarm

LEAST = 300
FOLDER = Path(__file__).parents[2] / "tests" / "data" / "grader"


def measure(folder: Path) -> dict[str, Any]:
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    seconds: list[float] = []
    missed: list[dict[str, str]] = []
    sources: set[str] = set()
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text().splitlines():
            pair = json.loads(line)
            kind, expected = ("right", "correct") if pair["equal"] else ("wrong", "incorrect")
            started = time.perf_counter()
            result = grade(pair["gold"], pair["answer"])
            seconds.append(time.perf_counter() - started)
            if result.decided_by == "timeout":  # a machine under load: asked once more, and counted
                counts["asked again"][path.stem] += 1
                result = grade(pair["gold"], pair["answer"])
            sources.add(pair["source"])
            counts[path.stem][f"{kind} pairs"] += 1
            counts[path.stem][f"{kind} passed"] += result.verdict == expected
            counts["decided by"][result.decided_by] += 1
            if result.verdict != expected:
                missed.append({**pair, "verdict": result.verdict.value})
    names = ("right pairs", "right passed", "wrong pairs", "wrong passed")
    total = {name: sum(counter[name] for counter in counts.values()) for name in names}
    files = {name: dict(counter) for name, counter in counts.items()}
    times = summary(seconds)
    return {
        "grader": GRADER,
        "total": total,
        "sources": len(sources),
        **files,
        "time": times,
        "missed": missed,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=Path, default=FOLDER)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    prewarm()
    result = measure(arguments.pairs)
    print(json.dumps(result, indent=2, ensure_ascii=False))
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    total = result["total"]
    return 1 if result["missed"] or min(total["right pairs"], total["wrong pairs"]) < LEAST else 0


if __name__ == "__main__":
    sys.exit(main())
