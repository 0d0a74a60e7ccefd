"""The benches by name: which files each reads, and how a model or published scores are evaluated on it.

Contract: `run_bench` reads, scores where there is a scorer, and returns the report as JSON data. A bench is
evaluated from data and a model, or from published scores; which files that takes is in `BENCHES`. Wrong
combinations are `UsageError`, broken records `DataError` with file and line. It opens no model: the caller
passes a `StepScorer`, and closes it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from prm.evaluation import best_of_n, canaries, prmbench, processbench, rewardmath, steps
from prm.evaluation.sampled_runs import sampled_run
from prm.evaluation.scoring import CONCURRENCY, score_all
from prm.scoring.base import StepScorer
from tasks.errors import UsageError, unknown_name

OnDone = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class BenchOptions:
    """What a bench may be told. `limit` takes the first records of each data file.

    `threshold` calls a step right; None chooses one on held-out data where the bench can. `choose_on` names
    the part of ProcessBench that it is chosen on.
    """

    threshold: float | None = None
    choose_on: str | None = None
    bins: int = 10
    limit: int | None = None
    concurrency: int = CONCURRENCY

    def __post_init__(self) -> None:
        for name in ("bins", "concurrency", "limit"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} must be at least 1, got {value}")


@dataclass(frozen=True, kw_only=True)
class Bench:
    """How a bench is run. `files` says what published scores need beside them: `scores` alone, or `data` too.

    None: the bench takes a model only.
    """

    summary: str
    files: Literal["scores", "data and scores"] | None
    run: Callable[[Sequence[Path], Path | None, StepScorer | None, BenchOptions, OnDone], Awaitable[Any]]


def _ignore(_: int) -> None:
    """The display of an evaluation that nobody watches."""


async def run_bench(
    name: str,
    data: Sequence[Path] = (),
    *,
    scores: Path | None = None,
    scorer: StepScorer | None = None,
    options: BenchOptions | None = None,
    on_done: OnDone = _ignore,
) -> dict[str, Any]:
    """The report of the bench `name`; see the module docstring for errors."""
    check_inputs(name, data, scores=scores, model=scorer is not None)
    return await BENCHES[name].run(data, scores, scorer, options or BenchOptions(), on_done)


def check_inputs(name: str, data: Sequence[Path], *, scores: Path | None, model: bool) -> None:
    """Raise `UsageError` for an unknown bench, or inputs that it can not be run with. Loads nothing."""
    if name not in BENCHES:
        raise unknown_name("bench", name, BENCHES)
    bench = BENCHES[name]
    if (scores is not None) == model:
        raise UsageError(
            f"the bench {name} takes a model (--prm) or published scores (--scores); give one of them"
        )
    if scores is not None and bench.files is None:
        raise UsageError(f"the bench {name} needs a model: --prm NAME instead of --scores")
    if not data and (model or bench.files == "data and scores"):
        raise UsageError(f"the bench {name} needs its problems: --data FILE")
    if data and scores is not None and bench.files == "scores":
        raise UsageError(f"the bench {name} reads everything from the scores file; leave --data out")
    if len(data) > 1 and name != "processbench":
        raise UsageError(f"the bench {name} takes one data file, got {len(data)}")


async def _rewardmath(
    data: Sequence[Path],
    scores: Path | None,
    scorer: StepScorer | None,
    options: BenchOptions,
    on_done: OnDone,
) -> Any:
    if scorer is None:
        ranked = rewardmath.read_scores(_given(scores))[: options.limit]
    else:
        problems = rewardmath.read_problems(data[0])[: options.limit]
        ranked = await rewardmath.score_problems(
            problems, scorer, concurrency=options.concurrency, on_done=on_done
        )
    return rewardmath.evaluate(ranked)


async def _processbench(
    data: Sequence[Path],
    scores: Path | None,
    scorer: StepScorer | None,
    options: BenchOptions,
    on_done: OnDone,
) -> Any:
    parts = {part_name(path): processbench.read_processbench(path)[: options.limit] for path in data}
    if len(parts) < len(data):
        raise UsageError(f"two data files are of the same part: {', '.join(map(str, data))}")
    predicted: dict[str, list[processbench.Predicted]] = {}
    if scorer is None:
        predicted = {
            name: processbench.read_predictions(_given(scores), part) for name, part in parts.items()
        }
    else:
        every = [each for part in parts.values() for each in part]
        scored = iter(
            await score_all(
                scorer,
                [(e.problem, e.steps) for e in every],
                concurrency=options.concurrency,
                on_done=on_done,
            )
        )
        for name, part in parts.items():
            predicted[name] = [
                processbench.Predicted(solution=each, scores=next(scored).scores) for each in part
            ]
    choose_on = options.choose_on
    if choose_on is None and options.threshold is None and len(parts) > 1 and _USUAL in parts:
        choose_on = _USUAL
    return processbench.evaluate(predicted, threshold=options.threshold, choose_on=choose_on)


_USUAL = "gsm8k"
"""The part on which the threshold is chosen in the paper."""


def part_name(path: Path) -> str:
    """The part of ProcessBench that a file holds: ``processbench_math.json`` is ``math``."""
    return path.stem.removeprefix("processbench_")


async def _prmbench(
    data: Sequence[Path],
    scores: Path | None,
    scorer: StepScorer | None,
    options: BenchOptions,
    on_done: OnDone,
) -> Any:
    solutions = prmbench.read_prmbench(data[0])[: options.limit]
    if scorer is None:
        solutions = prmbench.read_prmbench_scores(_given(scores), solutions)
    else:
        solutions = await prmbench.score_modified(
            solutions, scorer, concurrency=options.concurrency, on_done=on_done
        )
    return prmbench.evaluate(solutions, threshold=options.threshold)


async def _best_of_n(
    data: Sequence[Path],
    scores: Path | None,
    scorer: StepScorer | None,
    options: BenchOptions,
    on_done: OnDone,
) -> Any:
    if scorer is None:
        problems = best_of_n.read_sampled(_given(scores), scored=True)[: options.limit]
    else:
        whole = data[0].is_dir()
        problems = (await sampled_run(data[0]) if whole else best_of_n.read_sampled(data[0], scored=False))[
            : options.limit
        ]
        problems = await best_of_n.score_sampled(
            problems, scorer, concurrency=options.concurrency, on_done=on_done
        )
    return best_of_n.evaluate(problems)


async def _steps(
    data: Sequence[Path],
    scores: Path | None,
    scorer: StepScorer | None,
    options: BenchOptions,
    on_done: OnDone,
) -> Any:
    if scorer is None:
        solutions = steps.read_labelled(_given(scores), scored=True)[: options.limit]
    else:
        solutions = steps.read_labelled(data[0])[: options.limit]
        solutions = await steps.score_labelled(
            solutions, scorer, concurrency=options.concurrency, on_done=on_done
        )
    return steps.evaluate(solutions, bins=options.bins)


async def _canaries(
    data: Sequence[Path],
    scores: Path | None,
    scorer: StepScorer | None,
    options: BenchOptions,
    on_done: OnDone,
) -> Any:
    del scores
    if scorer is None:
        raise UsageError("canaries need a model to attack")
    solutions = canaries.wrong_solutions(processbench.read_processbench(data[0]))[: options.limit]
    return await canaries.evaluate(
        solutions,
        scorer,
        threshold=0.5 if options.threshold is None else options.threshold,
        concurrency=options.concurrency,
        on_done=on_done,
    )


def _given(scores: Path | None) -> Path:
    if scores is None:
        raise UsageError("neither a model nor published scores were given; give one of them")
    return scores


BENCHES: Mapping[str, Bench] = {
    "rewardmath": Bench(
        summary="one right solution against nine wrong ones: accuracy and MRR",
        files="scores",
        run=_rewardmath,
    ),
    "processbench": Bench(
        summary="finding the first wrong step: F1 with a frozen threshold",
        files="data and scores",
        run=_processbench,
    ),
    "prmbench": Bench(summary="errors of nine kinds: PRMScore", files="data and scores", run=_prmbench),
    "best-of-n": Bench(
        summary="choosing among n samples against majority and pass@n; over-optimisation",
        files="scores",
        run=_best_of_n,
    ),
    "steps": Bench(summary="labelled steps: AUROC and calibration, by depth", files="scores", run=_steps),
    "canaries": Bench(summary="texts without work that must score low", files=None, run=_canaries),
}
