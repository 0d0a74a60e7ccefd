"""The benches by name: which files each reads, and how a model or published scores are evaluated on it.

Contract: `run_bench` reads, scores where there is a scorer, and returns the report as JSON data. A bench is
evaluated from data and a model, or from published scores; which files that takes is in `BENCHES`. Wrong
combinations are `UsageError`, broken records `DataError` with file and line. It opens no model: the caller
passes a `StepScorer`, and closes it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from prm.conventions.base import Threshold
from prm.evaluation import best_of_n, canaries, prmbench, processbench, rewardmath, steps
from prm.evaluation.sampled_runs import sampled_run
from prm.evaluation.scoring import CONCURRENCY, Scoring, TooLong
from prm.scoring.base import StepScorer, convention_of, usual_threshold
from tasks.errors import UsageError, unknown_name

OnDone = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class BenchOptions:
    """What a bench may be told. `limit` takes the first records of each data file.

    `threshold` calls a step right; None chooses one on held-out data where the bench can, and is the
    convention's own for canaries. `choose_on` names the part of ProcessBench that it is chosen on. `too_long`
    says what becomes of solutions that the model's context does not hold: `refuse` ends the evaluation with
    an error, `drop` leaves them out (a problem with such a solution where several are compared) and counts
    them in the report as `left_out`.
    """

    threshold: float | None = None
    choose_on: str | None = None
    bins: int = 10
    limit: int | None = None
    concurrency: int = CONCURRENCY
    too_long: TooLong = "refuse"

    def __post_init__(self) -> None:
        if self.too_long not in get_args(TooLong):
            raise unknown_name("value of too_long", self.too_long, get_args(TooLong))
        for name in ("bins", "concurrency", "limit"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} must be at least 1, got {value}")


@dataclass(frozen=True, kw_only=True)
class Bench:
    """How a bench is run. `files` says what published scores need beside them: `scores` alone, or `data` too.

    None: the bench takes a model only. `uses` are the options that not every bench has a use for.
    """

    summary: str
    files: Literal["scores", "data and scores"] | None
    run: Callable[[Given], Awaitable[Any]]
    uses: frozenset[str] = frozenset()


def _ignore(_: int) -> None:
    """The display of an evaluation that nobody watches."""


@dataclass(frozen=True, kw_only=True)
class Given:
    """What a bench is run on: data files, and a scorer or a file of published scores."""

    data: Sequence[Path]
    published: Path | None
    scorer: StepScorer | None
    options: BenchOptions
    on_done: OnDone

    @property
    def scores(self) -> Path:
        """The published scores; `UsageError` where neither these nor a scorer are given."""
        if self.published is None:
            raise UsageError("neither a model nor published scores were given; give one of them")
        return self.published

    @property
    def limit(self) -> int | None:
        """How many records of each data file are taken; None: all."""
        return self.options.limit

    @property
    def scoring(self) -> Scoring:
        """How the model is asked."""
        options = self.options
        return Scoring(concurrency=options.concurrency, on_done=self.on_done, too_long=options.too_long)

    @property
    def usual(self) -> Threshold | None:
        """The threshold of the model's convention, where its authors name one."""
        convention = convention_of(self.scorer) if self.scorer is not None else None
        return (
            convention.threshold
            if convention is not None and convention.threshold.value is not None
            else None
        )


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
    check_inputs(name, data, scores=scores, model=scorer is not None, options=options)
    given = Given(
        data=data, published=scores, scorer=scorer, options=options or BenchOptions(), on_done=on_done
    )
    report = await BENCHES[name].run(given)
    convention = convention_of(scorer) if scorer is not None else None
    if convention is not None and name in _AGGREGATING:
        report["usual_aggregate"] = convention.aggregate.value
    return report


def check_inputs(
    name: str,
    data: Sequence[Path],
    *,
    scores: Path | None,
    model: bool,
    options: BenchOptions | None = None,
) -> None:
    """Raise `UsageError` for an unknown bench, or inputs or options that it has no use for. Loads nothing."""
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
    for each in fields(BenchOptions) if options is not None else ():
        users = [other for other, made in BENCHES.items() if each.name in made.uses]
        if users and name not in users and getattr(options, each.name) != each.default:
            option, benches = each.name.replace("_", "-"), " or ".join(users)
            raise UsageError(f"--{option} is for the bench {benches}, not for {name}; leave it out")


async def _rewardmath(given: Given) -> Any:
    if given.scorer is None:
        ranked = rewardmath.read_scores(given.scores)[: given.limit]
    else:
        problems = rewardmath.read_problems(given.data[0])[: given.limit]
        ranked = await rewardmath.score_problems(problems, given.scorer, given.scoring)
        left_out = len(problems) - len(ranked)
        return {
            how: entry and entry | {"left_out": left_out}
            for how, entry in rewardmath.evaluate(ranked).items()
        }
    return rewardmath.evaluate(ranked)


async def _processbench(given: Given) -> Any:
    parts = {part_name(path): processbench.read_processbench(path)[: given.limit] for path in given.data}
    if len(parts) < len(given.data):
        raise UsageError(f"two data files are of the same part: {', '.join(map(str, given.data))}")
    choose_on = given.options.choose_on
    if choose_on is None and given.options.threshold is None and len(parts) > 1 and _USUAL in parts:
        choose_on = _USUAL
    if given.scorer is None:
        predicted = {name: processbench.read_predictions(given.scores, part) for name, part in parts.items()}
        return processbench.evaluate(predicted, threshold=given.options.threshold, choose_on=choose_on)
    predicted = await processbench.score_parts(parts, given.scorer, given.scoring)
    report = processbench.evaluate(predicted, threshold=given.options.threshold, choose_on=choose_on)
    report["left_out"] = sum(map(len, parts.values())) - sum(map(len, predicted.values()))
    if given.usual is not None:
        found = processbench.evaluate(predicted, threshold=given.usual.value)
        f1 = {name: part["f1"] for name, part in found["parts"].items()}
        report["usual"] = asdict(given.usual) | {"f1": f1, "average_f1": found["average_f1"]}
    return report


_AGGREGATING = ("best-of-n", "canaries", "processbench", "steps")
"""Benches whose reports have figures by aggregate, rewardmath's apart, which have nothing else."""
_USUAL = "gsm8k"
"""The part on which the threshold is chosen in the paper."""


def part_name(path: Path) -> str:
    """The part of ProcessBench that a file holds: ``processbench_math.json`` is ``math``."""
    return path.stem.removeprefix("processbench_")


async def _prmbench(given: Given) -> Any:
    solutions = prmbench.read_prmbench(given.data[0])[: given.limit]
    if given.scorer is None:
        solutions = prmbench.read_prmbench_scores(given.scores, solutions)
        return prmbench.evaluate(solutions, threshold=given.options.threshold)
    scored = await prmbench.score_modified(solutions, given.scorer, given.scoring)
    report = prmbench.evaluate(scored, threshold=given.options.threshold)
    report["left_out"] = len(solutions) - len(scored)
    if given.usual is not None:
        found = prmbench.evaluate(scored, threshold=given.usual.value)
        report["usual"] = asdict(given.usual) | {"total": found["total"]}
    return report


async def _best_of_n(given: Given) -> Any:
    if given.scorer is None:
        problems = best_of_n.read_sampled(given.scores, scored=True)[: given.limit]
    else:
        path = given.data[0]
        sampled = await sampled_run(path) if path.is_dir() else best_of_n.read_sampled(path, scored=False)
        problems = await best_of_n.score_sampled(sampled[: given.limit], given.scorer, given.scoring)
        return best_of_n.evaluate(problems) | {"left_out": len(sampled[: given.limit]) - len(problems)}
    return best_of_n.evaluate(problems)


async def _steps(given: Given) -> Any:
    if given.scorer is None:
        solutions = steps.read_labelled(given.scores, scored=True)[: given.limit]
    else:
        labelled = steps.read_labelled(given.data[0])[: given.limit]
        solutions = await steps.score_labelled(labelled, given.scorer, given.scoring)
        report = steps.evaluate(solutions, bins=given.options.bins)
        return report | {"left_out": len(labelled) - len(solutions)}
    return steps.evaluate(solutions, bins=given.options.bins)


async def _canaries(given: Given) -> Any:
    if given.scorer is None:
        raise UsageError("canaries need a model to attack")
    solutions = canaries.wrong_solutions(processbench.read_processbench(given.data[0]))[: given.limit]
    threshold, source = given.options.threshold, "given by the caller"
    if threshold is None:
        threshold, source = usual_threshold(given.scorer)
    report = await canaries.evaluate(solutions, given.scorer, threshold=threshold, how=given.scoring)
    return report | {"threshold_source": source, "left_out": len(solutions) - report["n_solutions"]}


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
        uses=frozenset({"threshold", "choose_on"}),
    ),
    "prmbench": Bench(
        summary="errors of nine kinds: PRMScore",
        files="data and scores",
        run=_prmbench,
        uses=frozenset({"threshold"}),
    ),
    "best-of-n": Bench(
        summary="choosing among n samples against majority and pass@n; over-optimisation",
        files="scores",
        run=_best_of_n,
    ),
    "steps": Bench(
        summary="labelled steps: AUROC and calibration, by depth",
        files="scores",
        run=_steps,
        uses=frozenset({"bins"}),
    ),
    "canaries": Bench(
        summary="texts without work that must score low",
        files=None,
        run=_canaries,
        uses=frozenset({"threshold"}),
    ),
}
