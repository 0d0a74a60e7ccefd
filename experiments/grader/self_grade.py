"""Does every reference answer of GSM8K (test), MATH-500 and AIME grade correct against itself?

Run: `python experiments/grader/self_grade.py DATA_FOLDER [--out results.json]`. Each gold is graded as it
stands, through extraction of `\\boxed{gold}`, and by the symbolic worker alone (which must be able to parse
it). Prints counts by verdict and the p50, p99 and maximum of the seconds per call.
"""

from __future__ import annotations

import argparse
import collections
import json
import statistics
import time
from pathlib import Path

from tasks.base import Problem
from tasks.math import extract, grade, prewarm, worker
from tasks.math.latex import plain
from tasks.readers import read_problems

FILES = ("gsm8k_test.jsonl", "math500.jsonl", "aime.jsonl")


def summary(seconds: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return {
        "p50_ms": round(cuts[49] * 1e3, 3),
        "p99_ms": round(cuts[98] * 1e3, 3),
        "max_ms": round(max(seconds) * 1e3, 3),
    }


def by_grade(problems: list[Problem], *, boxed: bool) -> dict[str, object]:
    verdicts: collections.Counter[str] = collections.Counter()
    seconds: list[float] = []
    for problem in problems:
        started = time.perf_counter()
        answer = problem.gold
        if boxed:
            found = extract(f"We find that the answer is $\\boxed{{{problem.gold}}}$.")
            answer = found.text if found else None
        result = grade(problem.gold, answer)
        seconds.append(time.perf_counter() - started)
        verdicts[result.verdict] += 1
        if result.verdict != "correct":
            print("NOT CORRECT", problem.id, repr(problem.gold), result)
    return {"verdicts": dict(verdicts), **summary(seconds)}


def by_worker(problems: list[Problem]) -> dict[str, object]:
    outcomes: collections.Counter[str] = collections.Counter()
    seconds: list[float] = []
    for problem in problems:
        text = plain(problem.gold or "")
        reply = worker.compare(text, text + " ")
        outcomes[reply.outcome] += 1
        seconds.append(reply.seconds)
        if reply.outcome != "equal":
            print("WORKER", reply.outcome, repr(problem.gold), reply.detail)
    return {"outcomes": dict(outcomes), **summary(seconds)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    started = time.perf_counter()
    prewarm()
    results: dict[str, object] = {"prewarm_s": round(time.perf_counter() - started, 2)}
    for name in FILES:
        problems = read_problems(arguments.data / name).require_clean()
        results[name] = {
            "problems": len(problems),
            "gold against itself": by_grade(problems, boxed=False),
            "through boxed": by_grade(problems, boxed=True),
        }
        if name == "math500.jsonl":
            results["math500 by the worker alone"] = by_worker(problems)
    print(json.dumps(results, indent=2))
    if arguments.out:
        arguments.out.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
