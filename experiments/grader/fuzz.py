"""Does any text at all get a valid grade in bounded time, and do canonical keys keep their promise?

Run: `python experiments/grader/fuzz.py [--count 5000] [--seed 0] [--out fuzz.json]`. Pairs of golden answers
are damaged in one to four places (a cut, a repetition, a piece of LaTeX, an odd character), and both are
graded against each other and themselves. Exits 1 if a call raises, takes longer than `MAX_CALL_S`, gives no
valid verdict, finds a text wrong against itself, or finds a pair with equal keys wrong. Pairs in which both
sides assign are left out of the last: `x=5` and `y=5` vote together and grade apart, by design.
"""

from __future__ import annotations

import argparse
import collections
import json
import random
import sys
import time
from pathlib import Path
from typing import Any

from golden import FOLDER
from self_grade import summary

from tasks.base import Verdict
from tasks.math import canonical, extract, grade, prewarm

MAX_CALL_S = 2.5
PIECES = [
    r"\frac", r"\sqrt", "{", "}", "(", ")", "[", "]", "^", "_", "=", ",", ";", "|", "!", "'", r"\pm", r"\cup",
    r"\text{", r"\left", r"\begin{pmatrix}", "&", r"\\", r"\ldots", " or ", "<", "9", "0", "-", "x", "i", "e",
    "$", "%", "\x00", "\ud800", "½", "√", "π", "∞", "≈", ".", "\n", r"\boxed{", "####",
]  # fmt: skip


def damaged(text: str, pick: random.Random) -> str:
    for _ in range(pick.randint(1, 4)):
        place = pick.randint(0, len(text))
        again = text[place : place + pick.randint(1, 6)]
        piece = pick.choice([pick.choice(PIECES), again + again, ""])
        text = text[:place] + piece + text[place + pick.randint(0, 4) :]
    return text


def measure(count: int, seed: int) -> dict[str, Any]:
    lines = [line for path in sorted(FOLDER.glob("*.jsonl")) for line in path.read_text().splitlines()]
    pairs = [json.loads(line) for line in lines]
    pick = random.Random(seed)
    verdicts: collections.Counter[str] = collections.Counter()
    seconds: list[float] = []
    failed: list[str] = []
    same_keys = 0

    def ask(gold: str, answer: str) -> Verdict | None:
        started = time.perf_counter()
        try:
            found = extract(f"so \\boxed{{{answer}}}")
            result = grade(gold, answer)
        except Exception as error:  # noqa: BLE001 - any exception at all is what this looks for
            failed.append(f"raised {error!r}: {(gold, answer)!a}")
            return None
        seconds.append(time.perf_counter() - started)
        verdicts[result.verdict] += 1
        if seconds[-1] > MAX_CALL_S or (found is not None and not found.text.strip()):
            failed.append(f"{seconds[-1]:.2f} s or an empty answer: {(gold, answer)!a}")
        return result.verdict

    for _ in range(count):
        pair = pick.choice(pairs)
        gold, answer = pair["gold"], damaged(pair["answer"], pick)
        if pick.random() < 0.5:
            gold = damaged(gold, pick)
        verdict = ask(gold, answer)
        if ask(answer, answer) is Verdict.INCORRECT and answer.strip():
            failed.append(f"wrong against itself: {answer!a}")
        if canonical(gold) == canonical(answer) != "" and not ("=" in gold and "=" in answer):
            same_keys += 1
            if verdict is Verdict.INCORRECT:
                failed.append(f"equal keys and incorrect: {(gold, answer)!a}")
    return {
        "seed": seed,
        "calls": len(seconds),
        "verdicts": dict(verdicts),
        "pairs_with_equal_keys": same_keys,
        "time": summary(seconds),
        "failed": failed,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    prewarm()
    result = measure(arguments.count, arguments.seed)
    print(json.dumps(result, indent=2))
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    return 1 if result["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
