"""Ensembles of reward models against a single one, with flipped labels: cells and result.json.

    python experiments/reward-ensembles/run.py --records WORK/mc.jsonl --pool WORK/pool \
        --truth WORK/truth.jsonl --work WORK/reward-ensembles [--small] [--dry-run]

Of the labels of training steps (shares of right completions) a fourth is flipped, v to 1 - v, step by step;
every model of a seed sees the same flips. `single` is trained on all of it, the members each on a bootstrap
of the problems with a seed of their own; `heads` is one backbone with as many heads, which is trained once.
Members are combined step by step: mean, worst case (WCO), mean less lambda times the variance (UWO).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy

sys.path.insert(0, str(Path(__file__).parents[1] / "embedded-prm"))

from cells import Cell, Scores, Work, arguments, config, open_inputs, out_file, show_cost
from held_out import HeldOut, Solution, judge
from summaries import against, difference, estimate, ns, over_seeds, per_problem
from training_problems import Records, in_order

from prm.conventions import find
from prm.labels import label_rows
from prm.scoring.reading import Reading
from prm.training import StepRow
from treesearch.atomic import write_json
from treesearch.seeds import derive

HERE = Path(__file__).parent
COMBINED: dict[str, Callable[[], Reading]] = {
    "mean": lambda: Reading(convention=find("steps")),
    "WCO": lambda: Reading(convention=find("steps"), combine="worst"),
    "UWO 0.5": lambda: Reading(convention=find("steps"), combine="uncertain", uncertainty=0.5),
    "UWO 4": lambda: Reading(convention=find("steps"), combine="uncertain", uncertainty=4.0),
}
"""How members are combined, by name; the number is lambda, 0.5 in the paper."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Sizes. `noise`: share of the labels that are flipped. `members` of an ensemble."""

    problems: int = 200
    noise: float = 0.25
    members: int = 5
    seeds: tuple[int, ...] = (0, 1, 2)
    epochs: float = 3.0
    rate: float = 5e-4
    samples: int = 256
    labelled: int = 16
    held_out: int | None = None


SMALL = Profile(problems=16, members=2, seeds=(0,), epochs=1.0, samples=16, labelled=4, held_out=8)


def flipped(rows: Sequence[StepRow], *, noise: float, seed: int) -> list[StepRow]:
    """The rows with a share `noise` of the labels flipped; a step that rows share is flipped in each."""
    found: list[StepRow] = []
    for row in rows:
        labels = [
            1 - label if label is not None and _is_flipped(row, at, noise=noise, seed=seed) else label
            for at, label in enumerate(row.labels)
        ]
        found.append(replace(row, labels=tuple(labels), counts=()))
    return found


def _is_flipped(row: StepRow, at: int, *, noise: float, seed: int) -> bool:
    return derive(seed, "flip", row.id, "".join(row.steps[: at + 1])) < noise * 2**63


def resampled(rows: Sequence[StepRow], *, seed: int) -> list[StepRow]:
    """A bootstrap of the problems: as many, drawn with replacement, with all their rows."""
    by_problem: dict[str, list[StepRow]] = {}
    for row in rows:
        by_problem.setdefault(row.id, []).append(row)
    problems = list(by_problem)
    drawn = numpy.random.default_rng(seed).integers(len(problems), size=len(problems))
    return [row for at in drawn for row in by_problem[problems[at]]]


def make_cells(profile: Profile, records: Records) -> dict[tuple[int, str], list[Cell]]:
    """The cells of each seed: `single`, `members` and `heads`."""
    cells: dict[tuple[int, str], list[Cell]] = {}
    for seed in profile.seeds:
        problems = in_order(records, seed)[: profile.problems]
        clean = label_rows([record for problem in problems for record in records[problem]], "soft")
        rows = flipped(clean, noise=profile.noise, seed=seed)
        plain = config(learning_rate=profile.rate, epochs=profile.epochs, seed=seed)
        facts = {"problems": len(problems)}

        def one(arm: str, rows: Sequence[StepRow], setting: str = "-", **changed: Any) -> Cell:
            return Cell(
                arm=arm,
                setting=setting,
                seed=seed,  # noqa: B023 - called in this turn only
                rows=rows,
                config=replace(plain, **changed),  # noqa: B023
                facts=facts,  # noqa: B023
            )

        seeds = [derive(seed, "member", number) % 2**31 for number in range(profile.members)]
        cells[seed, "single"] = [one("single", rows)]
        cells[seed, "members"] = [
            one("member", resampled(rows, seed=own), f"{number}", seed=own)
            for number, own in enumerate(seeds)
        ]
        cells[seed, "heads"] = [one("heads", rows, members=profile.members)]
    return cells


Members = Mapping[Solution, Sequence[Sequence[float]]]
"""For each solution and step the scores of the members."""


def combine(members: Members, reading: Reading) -> Scores:
    """One score a step."""
    return {solution: tuple(reading.score(step) for step in steps) for solution, steps in members.items()}


def side_by_side(scores: Sequence[Scores]) -> Members:
    """The scores of several models as members of one."""
    return {solution: list(zip(*(each[solution] for each in scores), strict=True)) for solution in scores[0]}


def ensembles(
    work: Work, cells: Mapping[tuple[int, str], list[Cell]], held_out: HeldOut, seed: int
) -> list[dict[str, Any]]:
    """The figures of every combination at one seed, as lines; nothing is trained."""
    solutions = held_out.solutions
    apart = side_by_side([work.scored(cell, solutions).scores for cell in cells[seed, "members"]])
    heads = work.scored(cells[seed, "heads"][0], solutions).members
    return [
        {"arm": f"{name}, {how}", "setting": "-", "seed": seed}
        | judge(held_out, combine(members, COMBINED[how]()))
        for name, members in (("members", apart), ("heads", heads))
        for how in COMBINED
    ]


def averaged(lines: Sequence[Mapping[str, Any]], seed: int) -> dict[str, Any]:
    """The mean member as a line: its best-of-n accuracies are the members' means, problem by problem."""
    best = {
        how: [
            {
                "n": n,
                "right": per_problem(lines, how, at),
                "score": sum(line["best"][how][at]["score"] for line in lines) / len(lines),
            }
            for at, n in enumerate(ns(lines[0], how))
        ]
        for how in lines[0]["best"]
    }
    known = {place: [line["auroc"][place] for line in lines] for place in lines[0]["auroc"]}
    areas = {place: None if None in values else sum(values) / len(values) for place, values in known.items()}
    without = {
        place: [None if None in each else sum(each) / len(each) for each in zip(*sides, strict=True)]
        for place in lines[0]["without"]
        for sides in [[line["without"][place] for line in lines]]
    }
    return {
        "arm": "one member", "setting": "-", "seed": seed, "auroc": areas, "without": without, "best": best
    }  # fmt: skip


def overoptimised(lines: Sequence[Mapping[str, Any]], how: str = "last") -> dict[str, Any]:
    """The n of highest mean accuracy, and what is lost from there to the largest n."""
    every = ns(lines[0], how)
    curves = [per_problem(lines, how, at) for at in range(len(every))]
    peak = max(range(len(every)), key=lambda at: (sum(curves[at]), -at))
    return {"peak_n": every[peak], "drop": difference(curves[peak], curves[-1])}


def result(
    by_arm: Mapping[str, Sequence[dict[str, Any]]], held_out: HeldOut, settings: Any
) -> dict[str, Any]:
    """What is stored and drawn."""
    return {
        "settings": settings,
        "n_held_out": len(held_out.pool),
        "baselines": [
            {"n": one["n"], "majority": estimate(one["majority"]), "pass": estimate(one["pass"])}
            for one in held_out.baselines()
        ],
        "arms": [over_seeds(lines) | overoptimised(lines) for lines in by_arm.values()],
        "differences": [
            {"arm": arm} | against(lines, by_arm["single"])
            for arm, lines in by_arm.items()
            if arm != "single"
        ],
    }


def main() -> None:
    args = arguments(__doc__ or "", HERE).parse_args()
    profile = SMALL if args.small else Profile()
    records, held_out, settings = open_inputs(args, profile)
    if len(records) < profile.problems:
        raise SystemExit(f"{args.records} has {len(records)} problems, {profile.problems} are needed")
    cells = make_cells(profile, records)
    every = [cell for found in cells.values() for cell in found]
    if args.dry_run:
        show_cost(every, held_out)
        return
    work = Work(args.work, settings, policy=args.policy, threads=args.threads)
    lines = {line["name"]: line for line in work.run(every, held_out, lambda found: judge(held_out, found))}
    by_arm: dict[str, list[dict[str, Any]]] = {}
    for seed in profile.seeds:
        own = [lines[cell.name] for cell in cells[seed, "members"]]
        found = [lines[cells[seed, "single"][0].name], averaged(own, seed)]
        for line in [*found, *ensembles(work, cells, held_out, seed)]:
            by_arm.setdefault(line["arm"], []).append(line)
    write_json(out_file(args), result(by_arm, held_out, settings))
    print(f"written: {out_file(args)}")


if __name__ == "__main__":
    main()
