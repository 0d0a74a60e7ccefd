"""Training rows whose labels are chances that a step is right, not the policy's chances of finishing from it.

    python experiments/embedded-prm/posterior.py --rows WORK/rows.jsonl --out WORK/labelled.jsonl \
        --known WORK/calibration-rows.jsonl --truth WORK/calibration.jsonl [--steps 2 --whole 6]

Two completions that failed say little of a hard first step and much of an easy second one. So counts are read
for what they mean: on problems where every step's truth is known (`truth.py`; the trained model is calibrated
on them too), the share of right steps is measured among the steps of one task, place, outcome and number of
completions. A label becomes that share, shrunk to the one of any number of completions as if by `PRIOR` steps
more. Countdown's steps that leave the same numbers for the same target are one state: their counts are added
up. `--steps` cuts countdown's solutions behind so many steps, but for one problem in `--whole`: their last
step is learnt long before the first.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from training_problems import puzzle

from prm.labels import write_rows
from prm.training import StepRow, read_rows
from tasks.countdown import parse_step
from tasks.countdown.task import CountdownTask
from treesearch.seeds import derive

PRIOR = 4.0
PLACES = 4
State = tuple[Any, ...]
Group = tuple[str, int, str, int]
"""Task, place, outcomes (none, some or all right), and completions up to powers of two."""


def group(prompt: str, place: int, count: tuple[int, int]) -> Group:
    """What a step is like, as far as its counts tell."""
    right, completions = count
    outcome = "none" if not right else "all" if right == completions else "some"
    return (
        "countdown" if puzzle(prompt) else "math",
        min(place, PLACES - 1),
        outcome,
        (completions - 1).bit_length(),
    )


def state(row: StepRow, place: int) -> State:
    """What is left of a countdown puzzle after a legal step; the steps themselves otherwise."""
    problem, steps = puzzle(row.prompt), row.steps[: place + 1]
    texts = [step.strip() for step in steps]
    move = parse_step(texts[-1]) if problem is not None else None
    if problem is None or move is None or CountdownTask().check_steps(problem, texts) is not None:
        return row.prompt, steps
    return problem.meta["target"], move.left_over


class Counts:
    """Counts of the steps of some rows, of each state together."""

    def __init__(self, rows: Iterable[StepRow]) -> None:
        self.rows = list(rows)
        self.sums: dict[State, tuple[int, int]] = {}
        self.states: dict[tuple[str, tuple[str, ...]], State] = {}
        for row in self.rows:
            for place, count in enumerate(row.counts):
                step = row.prompt, row.steps[: place + 1]
                if count is None or not count[1] or step in self.states:
                    continue
                self.states[step] = found = state(row, place)
                right, completions = self.sums.get(found, (0, 0))
                self.sums[found] = (right + count[0], completions + count[1])

    def of(self, row: StepRow) -> Iterator[tuple[int, tuple[int, int]]]:
        """Places and counts of a row's steps that have some completions and are labelled."""
        for place, label in enumerate(row.labels):
            found = self.states.get((row.prompt, row.steps[: place + 1]))
            if label is not None and found is not None:
                yield place, self.sums[found]


class Posterior:
    """Shares of right steps by group, from counts and a truth for each step."""

    def __init__(self, known: Counts, truth: Iterable[StepRow]) -> None:
        right: dict[tuple[str, tuple[str, ...]], float] = {}
        for row in truth:
            for place, label in enumerate(row.labels):
                if label is not None:
                    right[row.prompt, row.steps[: place + 1]] = label
        self.sums: dict[Group | tuple[str, int, str], list[float]] = {}
        labelled = ((row, *found) for row in known.rows for found in known.of(row))
        for row, place, count in labelled:
            label = right.get((row.prompt, row.steps[: place + 1]))
            if label is not None:
                found = group(row.prompt, place, count)
                for name in (found, found[:3]):
                    share = self.sums.setdefault(name, [0.0, 0.0])
                    share[0] += label
                    share[1] += 1

    def chance(self, prompt: str, place: int, count: tuple[int, int]) -> float:
        """Chance that a step with these counts is right."""
        found = group(prompt, place, count)
        right, steps = self.sums.get(found[:3], [count[0] / count[1], 1.0])
        coarse = right / steps
        right, steps = self.sums.get(found, [0.0, 0.0])
        return (right + PRIOR * coarse) / (steps + PRIOR)

    def relabelled(self, row: StepRow, counts: Counts, keep: int | None) -> StepRow | None:
        """The first `keep` steps (None: all) with chances for labels; None where none is labelled then."""
        labels: list[float | None] = [None] * len(row.steps)
        for place, count in counts.of(row):
            labels[place] = self.chance(row.prompt, place, count)
        if all(label is None for label in labels[:keep]):
            return None
        return replace(
            row,
            steps=row.steps[:keep],
            labels=tuple(labels[:keep]),
            counts=row.counts[:keep],
            step_ids=None if row.step_ids is None else row.step_ids[:keep],
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=Path, nargs="+", required=True, help="rows of `search prm label`")
    parser.add_argument("--known", type=Path, nargs="+", required=True, help="the same of known problems")
    parser.add_argument("--truth", type=Path, nargs="+", required=True, help="their truth")
    parser.add_argument("--steps", type=int, help="countdown: the steps of a solution that are kept")
    parser.add_argument("--whole", type=int, default=6, help="one problem in so many is kept whole")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    known = Counts(row for path in args.known for row in read_rows(path))
    posterior = Posterior(known, [row for path in args.truth for row in read_rows(path)])
    for name in sorted(posterior.sums, key=str):
        right, steps = posterior.sums[name]
        print(f"{' '.join(map(str, name)):28} {steps:8,.0f} steps, {right / steps:.3f} of them right")
    counts = Counts(row for path in args.rows for row in read_rows(path))
    found: list[StepRow] = []
    for row in counts.rows:
        whole = puzzle(row.prompt) is None or not derive(0, row.id) % args.whole
        relabelled = posterior.relabelled(row, counts, None if whole else args.steps)
        found += [] if relabelled is None else [relabelled]
    print(f"{write_rows(args.out, found):,} rows in {args.out}")


if __name__ == "__main__":
    main()
