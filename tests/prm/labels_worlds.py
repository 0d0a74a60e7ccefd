"""A toy world whose success chances can be enumerated, and step records made by hand.

A solution is `DEPTH` lines of "a" or "b", each with chance one half; right with at least `NEEDED` of "a".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prm.labels.builder import Output, Progress
from prm.labels.completer import Outcome, Steps
from prm.labels.record import StepRecord
from prm.labels.store import RecordFile
from tasks.base import Answer, Grade, Problem, Task, Verdict
from treesearch.engines.base import EngineError, FinishReason, Sample, SamplingParams
from treesearch.engines.scripted import ScriptedEngine, mix
from treesearch.events import Step
from treesearch.policy import Policy, PolicyConfig

DEPTH, NEEDED = 4, 3
PROBLEM = Problem(id="toy", question="Letters?", gold="yes", task="toy")


class ToyTask(Task):
    """Grades the letters of a solution; an answer is the whole of it."""

    name = "toy"

    def load(self, data: Path | None = None, *, limit: int | None = None, seed: int = 0) -> list[Problem]:
        return [PROBLEM]

    def problem(self, question: str) -> Problem:
        return Problem(id=question, question=question)

    def extract(self, solution: str) -> Answer | None:
        return Answer(text="".join(solution.split()), source="steps")

    def canonical(self, answer: str) -> str:
        return answer

    def grade(self, problem: Problem, answer: str | None) -> Grade:
        verdict = Verdict.CORRECT if (answer or "").count("a") >= NEEDED else Verdict.INCORRECT
        if problem.gold is None:
            verdict = Verdict.UNGRADABLE_GOLD
        return Grade(verdict=verdict, decided_by="count", grader="toy/1", seconds=0)


def toy_script(prompt: str, seed: int) -> str:
    """The lines that are missing, by fair coins."""
    written = prompt.split("\n", 1)[1].count("\n")
    bits = mix(seed)
    return "\n".join("ab"[bits >> place & 1] for place in range(written, DEPTH))


def truth(prefix: Sequence[str]) -> float:
    """The chance that a uniformly random rest makes the solution right: exact."""
    left, needed = DEPTH - len(prefix), NEEDED - sum(step.strip() == "a" for step in prefix)
    return sum(math.comb(left, k) for k in range(max(0, needed), left + 1)) / 2**left


@dataclass(kw_only=True)
class CountingEngine(ScriptedEngine):
    """Counts samples by prompt, and fails where the prompt holds `poison`."""

    poison: str = "\0"
    asked: dict[str, int] = field(default_factory=dict[str, int])

    async def sample(self, prompt_ids: Sequence[int], n: int, params: SamplingParams) -> list[Sample]:
        prompt = self.tokenizer.decode(prompt_ids)
        if self.poison in prompt:
            raise EngineError("poisoned")
        self.asked[prompt] = self.asked.get(prompt, 0) + n
        return await super().sample(prompt_ids, n, params)


def toy_policy(engine: ScriptedEngine | None = None) -> Policy:
    engine = engine or CountingEngine()
    engine.script = toy_script
    return Policy(engine=engine, task=ToyTask(), config=PolicyConfig(solution_tokens=40))


def output(path: Path, policy: Policy, *, source: str = "mc", total: int = 1) -> Output:
    return Output(
        file=RecordFile(path), policy=policy, model="toy-model", source=source, progress=Progress(total=total)
    )


def step(text: str, *, end: bool = False) -> Step:
    ids = tuple(ord(char) + 8 for char in text)
    return Step(text, ids, (-0.5,) * len(ids), FinishReason.END if end else FinishReason.STOP)


def record(path: str, completions: int = 8, right: int = 4, **more: object) -> StepRecord:
    """A record for a path written as one letter a step; "" is the question itself."""
    fields: dict[str, object] = {
        "problem": "p",
        "question": "q?",
        "prefix": tuple(path[:-1]),
        "step": path[-1] if path else None,
        "completions": completions,
        "right": right,
        "model": "m",
        "grader": "g/1",
        "source": "mc",
    }
    return StepRecord(**(fields | more))  # type: ignore[arg-type]


@dataclass
class PlannedCompleter:
    """A completer with a known first wrong step: `wrong` is the only wrong roll-out of the question.

    Prefixes of fewer than `error` + 1 of its steps have one right roll-out, longer ones none.
    """

    wrong: tuple[str, ...]
    error: int
    sampled: list[int] = field(default_factory=list[int])

    async def __call__(self, path: Steps, n: int, *, seed: int) -> list[Outcome]:
        self.sampled.append(len(path))
        rest = tuple(step(text, end=text == self.wrong[-1]) for text in self.wrong[len(path) :])
        bad = Outcome(rest, right=False, tokens=10 * len(rest))
        good = Outcome((step("fine", end=True),), right=True, tokens=5)
        dead = len(path) > self.error
        return [bad] * n if dead else [good] + [bad] * (n - 1)
