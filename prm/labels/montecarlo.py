"""Monte-Carlo labels: every step of sampled solutions is completed K times and the right ones counted.

Contract: for each problem `solutions` solutions are sampled, or given; every distinct prefix of theirs is
completed `completions` times, all prefixes of all problems in flight at once. A step that finished a
solution is graded as it stands, as one outcome. A prefix without room for another token gets a record of 0
completions. The solutions sampled are themselves outcomes of the question, whose record is written last and
marks the problem as done.

Running again skips problems that are done and steps that have a record. Seeds derive from `seed`, problem
and path text, so that what is asked again is the same; where a back end's arithmetic makes other solutions
of it, their steps are labelled besides, and nothing is labelled twice.

Source: Wang et al. 2023, Math-Shepherd, arXiv 2312.08935, section 3.2 (K = 8). The derivations are in
`prm.labels.derive`; counts are all that is kept here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from prm.labels.builder import Output, Progress, build
from prm.labels.completer import Completer, Outcome, PolicyCompleter, Steps, texts
from tasks.base import Problem
from tasks.errors import UsageError
from treesearch.engines.base import FinishReason
from treesearch.seeds import derive
from treesearch.together import together

SOURCE = "mc"


@dataclass(frozen=True, kw_only=True)
class MonteCarlo:
    """Settings. `temperature` None is the policy's own; `concurrency` counts problems in flight."""

    completions: int = 8
    solutions: int = 4
    temperature: float | None = None
    seed: int = 0
    concurrency: int = 64

    def __post_init__(self) -> None:
        for name in ("completions", "solutions", "concurrency"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.temperature is not None and not self.temperature >= 0:
            raise UsageError(f"temperature must be at least 0, got {self.temperature}")


async def label_monte_carlo(
    problems: Sequence[Problem],
    output: Output,
    settings: MonteCarlo,
    *,
    given: Mapping[str, Sequence[Steps]] | None = None,
) -> Progress:
    """Label the steps of solutions of `problems`: `given` ones by problem id, else sampled ones.

    With `given` solutions the question itself is completed K times like a step.
    """

    async def one(problem: Problem) -> None:
        completer = PolicyCompleter(
            policy=output.policy,
            problem=problem,
            temperature=settings.temperature,
            on_tokens=output.progress.spend,
        )
        n = settings.completions if given is not None else settings.solutions
        outcomes = await completer((), n, seed=_seed(settings, problem, ()))
        chains = [done.steps for done in outcomes] if given is None else given.get(problem.id, ())
        await _label_chains(problem, chains, completer, output, settings)
        _write(output, problem, (), outcomes, completer)

    return await build(problems, one, output, concurrency=settings.concurrency)


async def _label_chains(
    problem: Problem,
    chains: Sequence[Steps],
    completer: PolicyCompleter,
    output: Output,
    settings: MonteCarlo,
) -> None:
    async def label(path: Steps) -> None:
        if path[-1].finish is FinishReason.END:
            right = await completer.judge.right(path[-1].answer)
            output.write(
                problem,
                path,
                completions=1,
                right=int(right),
                grader=completer.judge.grader,
                finished=True,
                shortest=0 if right else None,
            )
            return
        outcomes = await completer(path, settings.completions, seed=_seed(settings, problem, path))
        _write(output, problem, path, outcomes, completer)

    await together([label(path) for path in distinct_prefixes(chains) if not output.has(problem, path)])


def distinct_prefixes(chains: Sequence[Steps]) -> list[Steps]:
    """Every prefix of at least one step, once for each text, in the order of first occurrence.

    Where two have the same text, one that finished a solution wins: it needs no completing.
    """
    found: dict[tuple[str, ...], Steps] = {}
    for chain in chains:
        for length in range(1, len(chain) + 1):
            path = chain[:length]
            old = found.get(texts(path))
            if old is None or (
                path[-1].finish is FinishReason.END and old[-1].finish is not FinishReason.END
            ):
                found[texts(path)] = path
    return list(found.values())


def _write(
    output: Output, problem: Problem, path: Steps, outcomes: Sequence[Outcome], completer: PolicyCompleter
) -> None:
    lengths = [len(done.steps) for done in outcomes if done.right]
    output.write(
        problem,
        path,
        completions=len(outcomes),
        right=len(lengths),
        grader=completer.judge.grader,
        shortest=min(lengths, default=None),
    )


def _seed(settings: MonteCarlo, problem: Problem, path: Steps) -> int:
    return derive(settings.seed, SOURCE, problem.id, len(path), "".join(texts(path)))


async def estimate(complete: Completer, path: Steps, n: int, *, seed: int) -> tuple[int, int]:
    """(right, n) of `n` completions of `path`: the estimate by itself, for any completer."""
    outcomes = await complete(path, n, seed=seed)
    return sum(done.right for done in outcomes), len(outcomes)
