"""Rows for `search prm train` out of OpenAI's GSM8K model solutions: every step has its solution's outcome.

    python experiments/gsm8k-verifier/rows.py --data gsm8k_model_solutions.jsonl --out rows.jsonl

The solutions are of four models (openai/grade-school-math); `is_correct` is the file's own. A row's id is its
question's number, so that training splits by problem.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

MODELS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    count = 0
    with args.out.open("w") as out:
        for number, line in enumerate(args.data.read_text().splitlines()):
            record = json.loads(line)
            for model in MODELS:
                solution = record[model]
                steps = [step for step in solution["solution"].splitlines() if step.strip()]
                if not steps:
                    continue
                row = {"id": str(number), "prompt": record["question"], "completions": steps}
                labels = [float(solution["is_correct"])] * len(steps)
                out.write(json.dumps(row | {"labels": labels, "meta": {"model": model}}) + "\n")
                count += 1
    print(f"{count} solutions in {args.out}")


if __name__ == "__main__":
    main()
