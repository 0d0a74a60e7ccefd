"""The gate: whether a new model takes over from the current one, from paired results on frozen problems.

Both models answered the same held-out problems with the same number of samples under the same seeds. Problems
are the units: d_i is how many more of problem i's samples the new model got right. For each task:

- `exact`: p of the sign-flip test of sum d_i (`treesearch.comparison.statistics.paired_p`); with one sample a
  problem it is McNemar's exact test. The interval is Bonett and Price's.
- `bootstrap`: the percentile interval of mean d_i over `resamples` draws of problems with replacement (Efron
  1979), and p = min(1, 2 (1 + min(#{m <= 0}, #{m >= 0})) / (resamples + 1)). It is approximate: below some 50
  problems, or where few differ, prefer `exact`.

Decision. A task has fallen if its difference is below 0 and its p is at most alpha; it has gained if its
difference is above 0 and its p, adjusted over all tasks by Holm's method, is at most alpha. Falls are not
adjusted: missing one costs more than holding a model back. Then

- `roll back` if a task of `hold` (all tasks if empty) has fallen;
- `promote` with rule `gain` if some task has gained; with rule `non-inferior` if the mean difference of all
  tasks is above 0 and the interval of each held task ends above -margin at its lower end. That interval is
  the 95 % one with `exact`, and the 1 - alpha one with `bootstrap`;
- `hold` otherwise: the current model stays, and nothing speaks against going on from it.

It measures nothing and moves no model.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from selftrain.loop.sections import GatePart
from tasks.errors import DataError
from treesearch.comparison.statistics import difference_interval, holm, paired_p
from treesearch.seeds import derive


class Action(enum.StrEnum):
    """What the gate decided."""

    PROMOTE = "promote"
    """The new model is the current one from now on."""
    HOLD = "hold"
    """The current model stays."""
    ROLL_BACK = "roll back"
    """The current model stays, and what this iteration made is not used any further."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """How a model did on one task: of `samples` answers to each problem, how many were `right`, by id."""

    samples: int
    right: Mapping[str, int]

    @property
    def accuracy(self) -> float:
        """Share of right answers in [0, 1]; 0 without a problem."""
        count = len(self.right) * self.samples
        return sum(self.right.values()) / count if count else 0.0


Evaluation = Mapping[str, Measured]
"""One model's results by task."""


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """The comparison on one task; `change` is gained, fallen or none. Differences are new less current."""

    problems: int
    before: float
    after: float
    difference: float
    interval: tuple[float, float]
    p: float
    p_adjusted: float
    change: str


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What the gate decided, why, and the comparison on every task."""

    action: Action
    reason: str
    tasks: Mapping[str, TaskResult]

    def to_json(self) -> dict[str, Any]:
        """The decision as plain data."""
        return {
            "action": self.action.value,
            "reason": self.reason,
            "tasks": {
                name: asdict(found) | {"interval": list(found.interval)} for name, found in self.tasks.items()
            },
        }


def decide(current: Evaluation, new: Evaluation, settings: GatePart, *, seed: int = 0) -> Decision:
    """Compare two evaluations and decide; `DataError` if they are not of the same problems and samples."""
    differences = {name: paired(current, new, name) for name in current}
    tests = {
        name: _test(values, current[name].samples, settings, derive(seed, "gate", name))
        for name, values in differences.items()
    }
    adjusted = dict(zip(tests, holm([p for p, _ in tests.values()]), strict=True))
    results: dict[str, TaskResult] = {}
    for name, (p, interval) in tests.items():
        before, after = current[name].accuracy, new[name].accuracy
        total = sum(differences[name])
        change = "none"
        if total < 0 and p <= settings.alpha:
            change = "fallen"
        elif total > 0 and adjusted[name] <= settings.alpha:
            change = "gained"
        results[name] = TaskResult(
            problems=len(differences[name]),
            before=before,
            after=after,
            difference=after - before,
            interval=interval,
            p=p,
            p_adjusted=adjusted[name],
            change=change,
        )
    action, reason = _decide(results, settings)
    return Decision(action=action, reason=reason, tasks=results)


def paired(current: Evaluation, new: Evaluation, task: str) -> list[int]:
    """How many more samples of each problem the new model got right; `DataError` if they do not pair up."""
    old, fresh = current[task], new.get(task)
    if fresh is None or set(old.right) != set(fresh.right) or old.samples != fresh.samples:
        raise DataError(f"the two evaluations of task {task!r} are not of the same problems and samples")
    return [fresh.right[problem] - count for problem, count in old.right.items()]


def _test(
    differences: Sequence[int], samples: int, settings: GatePart, seed: int
) -> tuple[float, tuple[float, float]]:
    """Two-sided p and an interval of the mean difference per sample."""
    if settings.test == "bootstrap":
        return bootstrap(differences, samples, alpha=settings.alpha, resamples=settings.resamples, seed=seed)
    return paired_p(differences), difference_interval([each / samples for each in differences])


def bootstrap(
    differences: Sequence[int], samples: int, *, alpha: float, resamples: int, seed: int
) -> tuple[float, tuple[float, float]]:
    """p and the percentile interval at level 1 - `alpha` of the mean of `differences` / `samples`.

    (1, (-1, 1)) without a problem. The same seed gives the same figures.
    """
    if not differences:
        return 1.0, (-1.0, 1.0)
    generator = np.random.default_rng(seed)
    values = np.asarray(differences, dtype=float) / samples
    means = np.empty(resamples)
    for index in range(resamples):  # one at a time: held-out sets may be large
        means[index] = values[generator.integers(0, len(values), len(values))].mean()
    low, high = np.quantile(means, [alpha / 2, 1 - alpha / 2])
    tail = 1 + min(int((means <= 0).sum()), int((means >= 0).sum()))
    return min(1.0, 2 * tail / (resamples + 1)), (float(low), float(high))


def _decide(results: Mapping[str, TaskResult], settings: GatePart) -> tuple[Action, str]:
    held = settings.hold or tuple(results)
    fallen = [name for name in held if results[name].change == "fallen"]
    if fallen:
        return Action.ROLL_BACK, "; ".join(f"{name} fell {_shown(results[name])}" for name in fallen)
    if settings.rule == "gain":
        gained = [name for name, found in results.items() if found.change == "gained"]
        if gained:
            return Action.PROMOTE, "; ".join(f"{name} gained {_shown(results[name])}" for name in gained)
        every = "; ".join(f"{name} {_shown(found)}" for name, found in results.items())
        return Action.HOLD, f"no task gained at alpha {settings.alpha:g}: {every}"
    mean = sum(found.difference for found in results.values()) / len(results)
    wide = [name for name in held if results[name].interval[0] <= -settings.margin]
    if mean > 0 and not wide:
        return Action.PROMOTE, f"mean difference {mean:+.1%}, no task below -{settings.margin:.1%}"
    if wide:
        lows = ", ".join(f"{name} {results[name].interval[0]:+.1%}" for name in wide)
        return Action.HOLD, f"a loss of {settings.margin:.1%} cannot be excluded: lower ends {lows}"
    return Action.HOLD, f"mean difference {mean:+.1%}"


def _shown(found: TaskResult) -> str:
    return (
        f"from {found.before:.1%} to {found.after:.1%} ({found.problems} problems, p {found.p:.3g}, "
        f"interval {found.interval[0]:+.1%} to {found.interval[1]:+.1%})"
    )
