"""Held-out solutions that experiments with process-reward models share, and what scores of them are worth.

Contract: `load` reads a run of sampled solutions (the pool for best-of-n) and step labels that `truth.py`
made of it; of each problem the first `samples` of the pool and the first `labelled` of the labels are taken.
`score` asks a model for every distinct solution once. `judge` gives, from those scores:

- `auroc`: of steps against the exact labels, all of them and by place (first, second, third);
- `without`: the same AUROC of all and of first steps with one problem left out, in the order of the pool, for
  jackknife intervals (`summaries`);
- `best`: for each aggregate and n the chance, problem by problem, that the best-scored of n samples is right
  (`prm.evaluation.subsets`, exact).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prm.aggregates import aggregate
from prm.evaluation import auroc, majority, pass_at_n, score_all
from prm.evaluation.best_of_n import Candidate, SampledProblem, sizes
from prm.evaluation.sampled_runs import sampled_run
from prm.evaluation.steps import LabelledSteps, read_labelled
from prm.evaluation.subsets import best_of_n
from prm.registry import open_scorer
from prm.scoring.base import StepScores

Solution = tuple[str, tuple[str, ...]]
"""A question and the steps of a solution."""
AGGREGATES = ("last", "min", "product")
PLACES = {"all": None, "first": 0, "second": 1, "third": 2}


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """The pool, and the solutions whose steps have exact labels."""

    pool: tuple[SampledProblem, ...]
    labelled: tuple[LabelledSteps, ...]

    @property
    def solutions(self) -> list[Solution]:
        """Every distinct solution, in a fixed order; those of one problem together."""
        by_question: dict[str, dict[Solution, None]] = {problem.question: {} for problem in self.pool}
        for question, steps in self._all():
            by_question[question][question, steps] = None
        return [solution for found in by_question.values() for solution in found]

    def _all(self) -> Iterable[Solution]:
        for problem in self.pool:
            yield from ((problem.question, each.steps) for each in problem.candidates)
        yield from ((each.question, each.steps) for each in self.labelled)

    @property
    def ns(self) -> list[int]:
        """The powers of two up to the samples of a problem."""
        return sizes(self.pool)

    @property
    def digest(self) -> str:
        """A hash of what is judged: other solutions or labels have another one."""
        content = [[problem.id, [[*each.steps] for each in problem.candidates]] for problem in self.pool]
        labels = [[each.question, each.labels] for each in self.labelled]
        return hashlib.sha256(json.dumps([content, labels]).encode()).hexdigest()

    def baselines(self) -> list[dict[str, Any]]:
        """What no model is needed for: majority vote, pass@n, each problem by problem."""
        return [
            {
                "n": n,
                "majority": [
                    majority([e.answer for e in p.candidates], [e.right for e in p.candidates], n)
                    for p in self.pool
                ],
                "pass": [pass_at_n([each.right for each in p.candidates], n) for p in self.pool],
            }
            for n in self.ns
        ]


def load(pool: Path, truth: Path, *, samples: int, labelled: int, problems: int | None = None) -> HeldOut:
    """Read the run `pool` and the labels `truth`; `problems` None takes all of them."""
    found = [_first(problem, samples) for problem in asyncio.run(sampled_run(pool))[:problems]]
    taken: Counter[str] = Counter()
    labels: list[LabelledSteps] = []
    questions = {problem.question for problem in found}
    for each in read_labelled(truth):
        if each.question in questions and taken[each.question] < labelled:
            taken[each.question] += 1
            labels.append(each)
    if lacking := [problem.id for problem in found if not taken[problem.question]]:
        raise SystemExit(f"{truth} has no labels of {lacking[0]}; make it of the same run with truth.py")
    return HeldOut(pool=tuple(found), labelled=tuple(labels))


def _first(problem: SampledProblem, samples: int) -> SampledProblem:
    """The first samples, without blank steps, which no model scores."""
    if len(problem.candidates) < samples:
        raise SystemExit(f"{problem.id} has {len(problem.candidates)} samples, {samples} are needed")
    kept = [replace(each, steps=_written(each)) for each in problem.candidates[:samples]]
    return replace(problem, candidates=tuple(kept))


def _written(candidate: Candidate) -> tuple[str, ...]:
    return tuple(step for step in candidate.steps if step.strip()) or ("\n",)


def score(model: Path, solutions: Sequence[Solution], *, threads: int) -> list[StepScores]:
    """Scores of `solutions` by the model folder `model`, on a CPU in float32."""

    async def ask() -> list[StepScores]:
        scorer = open_scorer(str(model), {"device": "cpu", "dtype": "float32", "threads": threads})
        try:
            return await score_all(scorer, solutions)
        finally:
            await scorer.close()

    return asyncio.run(ask())


def judge(held_out: HeldOut, scores: Mapping[Solution, Sequence[float]]) -> dict[str, Any]:
    """The figures of one model; see the module."""
    items = {place: _items(held_out, scores, depth) for place, depth in PLACES.items()}
    return {
        "auroc": {place: _auroc(found) for place, found in items.items()},
        "without": {
            place: [_auroc([i for i in items[place] if i[2] != p.question]) for p in held_out.pool]
            for place in ("all", "first")
        },
        "best": {how: _curve(held_out, scores, how) for how in AGGREGATES},
    }


Item = tuple[float, bool, str]
"""Score of a step, whether it is right, and the question."""


def _items(held_out: HeldOut, scores: Mapping[Solution, Sequence[float]], depth: int | None) -> list[Item]:
    return [
        (score, label >= 0.5, each.question)
        for each in held_out.labelled
        for at, (score, label) in enumerate(zip(scores[each.question, each.steps], each.labels, strict=True))
        if label is not None and depth in (None, at)
    ]


def _auroc(items: Sequence[Item]) -> float | None:
    return auroc([score for score, _, _ in items], [right for _, right, _ in items])


def _curve(held_out: HeldOut, scores: Mapping[Solution, Sequence[float]], how: str) -> list[dict[str, Any]]:
    """For every n the chance of a right choice, and the mean score it is chosen for."""
    of_problem = [
        [aggregate(scores[problem.question, each.steps], how) for each in problem.candidates]
        for problem in held_out.pool
    ]
    right = [[float(each.right) for each in problem.candidates] for problem in held_out.pool]
    curve: list[dict[str, Any]] = []
    for n in held_out.ns:
        chosen = [best_of_n(own, gold, n) for own, gold in zip(of_problem, right, strict=True)]
        proxy = [best_of_n(own, own, n) for own in of_problem]
        curve.append(
            {
                "n": n,
                "right": [round(each, 6) for each in chosen],
                "score": round(sum(proxy) / len(proxy), 6),
            }
        )
    return curve
