"""Best-of-N curves: what a model's choice among n samples is worth, at equal tokens, and where it breaks.

Contract: each problem has m samples with step scores, whether each is right, its answer and its tokens. For
every n the report has, for every aggregate, the exact expected accuracy of the best-scored of n samples and
of the weighted majority; and pass@n (the ceiling), majority and a single sample (the floor), by
`prm.evaluation.subsets`. Every figure is a mean over problems with a 95 % interval in which problems are the
units; best-of-n minus majority is paired by problem.

Equal tokens: n samples and their scoring take as many tokens as `equal_n` samples alone, so best-of-n is also
compared with majority at `equal_n` (fractional n is rounded up, in the majority's favour); where that is more
than the samples at hand it is None.

Over-optimisation (Gao et al. 2022, arXiv 2210.10760; Coste et al. 2023, arXiv 2310.02743): beside the
accuracy of the chosen sample stand the score it was chosen for and KL = ln n - (n - 1) / n from the policy.
`drop` is the accuracy lost from the best n to the largest; `parted` says that its interval excludes 0: more
search makes the score better and the answers worse.

It does not choose an aggregate. The best n and its drop are of the same data, so `drop` is no estimate for
new data but a question whether the curve turns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prm.aggregates import Aggregate, aggregate, applicable
from prm.evaluation.rows import Row, read_rows
from prm.evaluation.scoring import AS_USUAL, Scoring, score_fitting
from prm.evaluation.subsets import best_of_n, is_exact, majority, pass_at_n, weighted_majority
from prm.scoring.base import StepScorer
from tasks.errors import DataError, UsageError
from treesearch.comparison.statistics import difference_interval, mean_interval


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A finished solution: `answer` is its canonical form (None: none found), `tokens` what it took.

    `scored_tokens` is what scoring it took.
    """

    steps: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    right: bool
    answer: str | None
    tokens: int
    scored_tokens: int = 0


@dataclass(frozen=True, kw_only=True)
class SampledProblem:
    """A question and the samples drawn for it, in the order of drawing."""

    id: str
    question: str
    candidates: tuple[Candidate, ...]


def read_sampled(path: Path, *, scored: bool) -> list[SampledProblem]:
    """Problems with samples; `DataError` with file and line for a broken record.

    A record: `id`, `question`, `samples`, each with `right`, `answer`, `tokens`, and `scores` if `scored`,
    else `steps`; `scored_tokens` is optional.
    """
    problems: dict[str, SampledProblem] = {}
    for row in read_rows(path):
        if (name := row.name("id")) in problems:
            row.fail(f"the id {name!r} occurs twice; all samples of a problem are one record")
        found = tuple(_candidate(row.part(each, "samples"), scored) for each in row.items("samples"))
        problems[name] = SampledProblem(id=name, question=row.text("question"), candidates=found)
    if not problems:
        raise DataError(f"{path}: no record in the file")
    return list(problems.values())


def _candidate(row: Row, scored: bool) -> Candidate:
    answer = row.get("answer")
    if answer is not None and not isinstance(answer, str):
        row.fail(f"'answer' must be text or null, got {answer!r}")
    return Candidate(
        steps=() if scored and "steps" not in row.content else row.texts("steps"),
        scores=row.scores("scores") if scored else (),
        right=row.flag("right"),
        answer=answer,
        tokens=row.integer("tokens", 0),
        scored_tokens=row.integer("scored_tokens", 0) if "scored_tokens" in row.content else 0,
    )


async def score_sampled(
    problems: Sequence[SampledProblem],
    scorer: StepScorer,
    how: Scoring = AS_USUAL,
) -> list[SampledProblem]:
    """The problems with the scores of `scorer` and the tokens it took.

    A problem with a solution that is too long is left out where `how` says so.
    """
    every = [
        (problem, number, each) for problem in problems for number, each in enumerate(problem.candidates)
    ]
    scored = iter(
        await score_fitting(
            scorer,
            [(problem.question, each.steps) for problem, _, each in every],
            [f"{problem.id}, sample {number + 1}" for problem, number, _ in every],
            how,
        )
    )
    found: list[SampledProblem] = []
    for problem in problems:
        given = [next(scored) for _ in problem.candidates]
        candidates = tuple(
            replace(each, scores=one.scores, scored_tokens=one.tokens)
            for each, one in zip(problem.candidates, given, strict=True)
            if one is not None
        )
        if len(candidates) == len(given):
            found.append(replace(problem, candidates=candidates))
    return found


def sizes(problems: Sequence[SampledProblem]) -> list[int]:
    """Powers of two up to the smallest number of samples of a problem, and that number."""
    most = min(len(problem.candidates) for problem in problems)
    return sorted({2**power for power in range(most.bit_length()) if 2**power <= most} | {most})


def evaluate(problems: Sequence[SampledProblem], ns: Sequence[int] | None = None) -> dict[str, Any]:
    """The report: `baselines` and `aggregates`, each with one entry an n.

    `UsageError` without a problem, and for two of one id.
    """
    if not problems:
        raise UsageError("no problem to evaluate")
    if len({problem.id for problem in problems}) < len(problems):
        raise UsageError("two problems have the same id; put all samples of a problem into one")
    ns = sizes(problems) if ns is None else sorted(set(ns))
    every = [each for problem in problems for each in problem.candidates]
    tokens = sum(each.tokens for each in every) / len(every)
    scoring = sum(each.scored_tokens for each in every) / len(every)
    fitting = applicable(each.scores for each in every)
    equal = {n: math.ceil(n * (tokens + scoring) / tokens - 1e-9) if tokens else n for n in ns}
    needed = {n for n in (*ns, *equal.values()) if n <= max(sizes(problems))}
    floor = {n: _per_problem(problems, n, _majority) for n in sorted(needed)}
    return {
        "bench": "best-of-n",
        "n_problems": len(problems),
        "tokens_per_sample": tokens,
        "scored_tokens_per_sample": scoring,
        "baselines": [
            {
                "n": n,
                "tokens": n * tokens,
                "pass": _estimate(_per_problem(problems, n, _pass)),
                "majority": _estimate(floor[n]),
            }
            for n in ns
        ],
        "aggregates": {
            how.value: _curves(problems, equal, how, tokens + scoring, floor) if how in fitting else None
            for how in Aggregate
        },
    }


def _curves(
    problems: Sequence[SampledProblem],
    equal: dict[int, int],
    how: Aggregate,
    tokens: float,
    floor: dict[int, list[float]],
) -> dict[str, Any]:
    scores = {p.id: [aggregate(each.scores, how) for each in p.candidates] for p in problems}
    chosen = {
        n: [best_of_n(scores[p.id], [float(each.right) for each in p.candidates], n) for p in problems]
        for n in equal
    }
    curve: list[dict[str, Any]] = []
    for n, same in equal.items():
        votes = [
            weighted_majority(
                [each.answer for each in p.candidates], [each.right for each in p.candidates], scores[p.id], n
            )
            for p in problems
        ]
        curve.append(
            {
                "n": n,
                "tokens": n * tokens,
                "best": _estimate(chosen[n]),
                "weighted_majority": _estimate(votes),
                "weighted_majority_exact": all(is_exact(len(p.candidates), n) for p in problems),
                "best_minus_majority": _difference(chosen[n], floor[n]),
                "equal_n": same,
                "majority_at_equal_tokens": _estimate(floor[same]) if same in floor else None,
                "best_minus_majority_at_equal_tokens": (
                    _difference(chosen[n], floor[same]) if same in floor else None
                ),
            }
        )
    return {"curve": curve, "overoptimisation": _overoptimisation(problems, list(equal), scores, chosen)}


def _overoptimisation(
    problems: Sequence[SampledProblem],
    ns: Sequence[int],
    scores: dict[str, list[float]],
    chosen: dict[int, list[float]],
) -> dict[str, Any]:
    means = {n: sum(chosen[n]) / len(problems) for n in ns}
    peak, last = max(ns, key=lambda n: (means[n], -n)), ns[-1]
    drop = _difference(chosen[peak], chosen[last])
    curve: list[dict[str, Any]] = []
    for n in ns:
        score = sum(best_of_n(scores[p.id], scores[p.id], n) for p in problems) / len(problems)
        curve.append(
            {
                "n": n,
                "kl": math.log(n) - (n - 1) / n,
                "accuracy": means[n],
                "score": score if math.isfinite(score) else None,
            }
        )
    return {"curve": curve, "peak_n": peak, "drop": drop, "parted": peak != last and drop["ci95"][0] > 0}


def _per_problem(
    problems: Sequence[SampledProblem], n: int, measure: Callable[[SampledProblem, int], float]
) -> list[float]:
    return [measure(problem, n) for problem in problems]


def _pass(problem: SampledProblem, n: int) -> float:
    return pass_at_n([each.right for each in problem.candidates], n)


def _majority(problem: SampledProblem, n: int) -> float:
    return majority([e.answer for e in problem.candidates], [e.right for e in problem.candidates], n)


def _estimate(values: Sequence[float]) -> dict[str, Any]:
    return {"accuracy": sum(values) / len(values), "ci95": list(mean_interval(_inside(values)))}


def _inside(values: Sequence[float]) -> list[float]:
    return [min(1.0, max(0.0, value)) for value in values]  # sums of chances can be 1 + 2e-16


def _difference(first: Sequence[float], second: Sequence[float]) -> dict[str, Any]:
    differences = [a - b for a, b in zip(first, second, strict=True)]
    return {"mean": sum(differences) / len(differences), "ci95": list(difference_interval(differences))}
