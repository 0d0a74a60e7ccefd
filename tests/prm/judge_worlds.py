"""Judges that reply by a script, and what they are shown."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any

from values_worlds import done, step

from prm.scoring.base import StepScores
from prm.values.judge import Judge, OpenJudge
from tasks.base import Problem
from treesearch.engines.scripted import mix
from treesearch.values.base import Path

SECRET = Problem(id="p", question="How far is it?", gold="the gold 7781")
PATHS: list[Path] = [(step("step 0: 1\n"),), (step("step 0: 2\n"),), done("3"), (step("step 0: 4\n"),)]


def shown(prompt: str) -> list[str]:
    """The solutions of a prompt, in the order shown."""
    return re.findall(r"<solution(?: \d+)?>\n(.*?)\n</solution", prompt, re.DOTALL)


def opened(engine: Any, *, ranked_by: Any = None, **given: Any) -> OpenJudge:
    return OpenJudge(settings=Judge(**given), engine=engine, meta=ranked_by)


def verdict_script(prompt: str, seed: int) -> str:
    """Writes a check that ends in a verdict, in two of three cases."""
    line = f"checked {seed % 7}"
    return line if seed % 3 == 0 else f"verdict: no, they say\n{line}\n**Verdict:** yes\nBye."


def grading(grade: Any, noise: int = 0) -> Any:
    """A judge's script: `grade` of each solution shown, or of (its place, its text)."""

    def script(prompt: str, seed: int) -> str:
        found = [grade(place, text) for place, text in enumerate(shown(prompt))]
        return "They differ.\nScores: " + ", ".join(str(each + mix(seed) % (noise + 1)) for each in found)

    return script


def by_digit(place: int, text: str) -> int:
    return int(text.strip()[-1]) * 2


class Meta:
    """Likes judgements whose first solution shown got a high grade."""

    name = "meta"

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.closed = 0

    async def score(self, question: str, steps: Sequence[str]) -> StepScores:
        (text,) = steps
        self.asked.append((question, text))
        await asyncio.sleep(0)
        return StepScores((int(text.split("Scores: ")[1].split(",")[0]) / 10,), len(question) + len(text))

    async def close(self) -> None:
        self.closed += 1


def mixed_script(prompt: str, seed: int) -> str:
    """Answers whatever is asked, at times unreadably."""
    if "Scores:" in prompt:
        return "hm" if seed % 4 == 0 else "Scores: " + ", ".join(["5", "7", "2", "9"][: len(shown(prompt))])
    return verdict_script(prompt, seed)


MODES: list[dict[str, Any]] = [
    {"mode": "verdict"},
    {"mode": "critique", "k": 3, "max_tokens": 30},
    {"mode": "grades", "k": 3, "max_tokens": 30, "group": 2},
    {"mode": "grades", "k": 4, "max_tokens": 25, "meta": "m", "k_meta": 1},
]
