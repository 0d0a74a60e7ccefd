"""Does the grader agree with people on whether a model's final answer is right?

Run: `python experiments/grader/processbench.py PROCESSBENCH_FILE GSM8K_FILE... [--model-solutions FILE]
[--out processbench.json]`. The 400 GSM8K solutions of ProcessBench carry `final_answer_correct`; the gold is
looked up by question in the GSM8K files. With the file of four models' solutions of the GSM8K repository,
its `is_correct` is compared too. Exits 1 on a disagreement that `EXPLAINED` does not name.
"""

from __future__ import annotations

import argparse
import collections
import json
import sys
from pathlib import Path
from typing import Any

from tasks.math import extract, grade, prewarm
from tasks.readers import read_problems

EXPLAINED = {
    "gsm8k-70": "the label is wrong: 59 is the gold, reached by two mistakes that cancel out",
    "gsm8k-74": "the label is wrong: 2 is the gold, reached from a wrong sum and a rounding up",
    "gsm8k-238": "no marked answer: the last number of the text is that of '... 34 hours ... in 4 weeks'",
    "gsm8k-319": "the box gives two counts, 4 and 6; the gold is their sum, 10, which the text never states",
}


def agreement(solutions: list[tuple[str, str, str, bool]]) -> dict[str, Any]:
    """Counts and disagreements over (id, solution, gold, label)."""
    counts: collections.Counter[str] = collections.Counter()
    differing: list[dict[str, Any]] = []
    for name, solution, gold, label in solutions:
        found = extract(solution)
        result = grade(gold, found.text if found else None)
        right = result.verdict == "correct"
        counts[f"label {label}, grader {result.verdict.value}"] += 1
        if right is not label:
            answer = {"text": found.text, "source": found.source} if found else None
            case = {
                "id": name,
                "gold": gold,
                "answer": answer,
                "verdict": result.verdict.value,
                "label": label,
            }
            differing.append(case | {"reason": EXPLAINED.get(name, "")})
    return {"solutions": len(solutions), "counts": dict(counts), "differing": differing}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("processbench", type=Path)
    parser.add_argument("gsm8k", type=Path, nargs="+")
    parser.add_argument("--model-solutions", type=Path)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    prewarm()
    problems = [problem for file in arguments.gsm8k for problem in read_problems(file).require_clean()]
    golds = {problem.question.strip(): problem.gold or "" for problem in problems}
    records = json.loads(arguments.processbench.read_text())
    result = {
        "processbench": agreement(
            [
                (r["id"], "\n".join(r["steps"]), golds[r["problem"].strip()], r["final_answer_correct"])
                for r in records
            ]
        )
    }
    if arguments.model_solutions:
        rows = [json.loads(line) for line in arguments.model_solutions.read_text().splitlines()]
        result["four models"] = agreement(
            [
                (
                    f"{number} {model}",
                    reply["solution"],
                    row["ground_truth"].rsplit("A:", 1)[-1],
                    reply["is_correct"],
                )
                for number, row in enumerate(rows)
                for model, reply in row.items()
                if isinstance(reply, dict)
            ]
        )
    print(json.dumps(result, indent=2, ensure_ascii=False))
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    return 1 if any(not case["reason"] for part in result.values() for case in part["differing"]) else 0


if __name__ == "__main__":
    sys.exit(main())
