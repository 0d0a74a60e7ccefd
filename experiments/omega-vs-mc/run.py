"""OmegaPRM labels against plain Monte-Carlo labels at equal numbers of completions: cells and result.json.

    python experiments/omega-vs-mc/run.py --records WORK/mc.jsonl --omega WORK/omega.jsonl --pool WORK/pool \
        --truth WORK/truth.jsonl --work WORK/omega-vs-mc [--small] [--dry-run]

Both files are of `search prm label` over the same problems. A budget is a number of completions, counted in
the records; each labeller takes problems in the seed's order until the next one would pass it. Labels are the
shares of right completions at steps that do not end a solution. Both arms also see the outcomes of the
solutions that Monte-Carlo labelling started from: OmegaPRM samples as many and more from the question, but
of whole solutions its records keep wrong ones alone, which would teach that every last step is wrong; those
are left out.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "embedded-prm"))

from cells import Cell, Work, arguments, config, epochs, open_inputs, out_file, show_cost
from held_out import HeldOut, judge
from summaries import against, estimate, over_seeds
from training_problems import Records, completions, in_order, truth

from prm.evaluation import auroc
from prm.labels import StepRecord, label_rows, read_records
from prm.labels.steptree import by_problem
from prm.training import StepRow
from treesearch.atomic import write_json

HERE = Path(__file__).parent
ARMS = ("mc", "omega")


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Sizes. `most` is the largest budget, cut to what both files hold; the others are `shares` of it."""

    most: int = 16_000
    shares: tuple[float, ...] = (1.0, 0.25, 0.0625)
    seeds: tuple[int, ...] = (0, 1, 2)
    epochs: float = 3.0
    rate: float = 5e-4
    samples: int = 64
    labelled: int = 16
    held_out: int | None = None


SMALL = Profile(most=800, shares=(1.0, 0.25), seeds=(0,), epochs=1.0, samples=8, labelled=4, held_out=8)


def inner(records: Sequence[StepRecord]) -> list[StepRecord]:
    """Steps that were completed: neither the question nor the end of a solution."""
    return [r for r in records if r.step is not None and not r.finished and r.completions]


def within(records: Records, seed: int, budget: int) -> list[str]:
    """Problems in the seed's order whose completions together stay within `budget`."""
    taken: list[str] = []
    spent = 0
    for problem in in_order(records, seed):
        spent += completions(records[problem])
        if spent > budget:
            break
        taken.append(problem)
    return taken


def rows_of(labels: Sequence[StepRecord], solutions: Sequence[StepRecord]) -> list[StepRow]:
    """Rows of the completed steps of `labels`, and of the outcomes of the solutions that end in `solutions`.

    Where both are of the same records that is one row a solution, as `search prm label` writes them.
    """
    ends = [r for r in solutions if r.finished]
    if labels is solutions:
        return label_rows([*inner(labels), *ends], "soft")
    return [*label_rows(inner(labels), "soft"), *label_rows(ends, "soft")]


def quality(records: Sequence[StepRecord]) -> dict[str, Any]:
    """How well completed steps are labelled, judged by what is true of them.

    `hard_right`: share whose hard label (some completion was right) is the truth; `balanced`: the mean of
    that over true and over false steps; `soft_auroc`: of the share of right completions; `true`: base rate.
    """
    found = inner(records)
    right = [truth(r.problem, r.question, r.path)[-1] for r in found]
    agree = [(r.right > 0) == is_right for r, is_right in zip(found, right, strict=True)]
    sides = [[a for a, t in zip(agree, right, strict=True) if t is side] for side in (True, False)]
    spent = completions(records)
    return {
        "labels": len(found),
        "labels_per_1000": 1_000 * len(found) / spent,
        "right_labels_per_1000": 1_000 * sum(agree) / spent,
        "true": sum(right) / len(right),
        "hard_right": sum(agree) / len(agree),
        "balanced": sum(sum(s) / len(s) for s in sides) / 2 if all(sides) else None,
        "soft_auroc": auroc([r.right / r.completions for r in found], right),
    }


def make_cells(profile: Profile, files: Mapping[str, Records], top: int) -> list[Cell]:
    """All budgets, arms and seeds."""
    cells: list[Cell] = []
    for share in profile.shares:
        budget = round(share * top)
        for arm in ARMS:
            for seed in profile.seeds:
                problems = within(files[arm], seed, budget)
                own = [r for p in problems for r in files[arm][p]]
                starts = own if arm == "mc" else [r for p in problems for r in files["mc"][p]]
                cells.append(
                    Cell(
                        arm=arm,
                        setting=f"{budget}",
                        seed=seed,
                        rows=rows_of(own, starts),
                        config=config(
                            learning_rate=profile.rate, epochs=epochs(share, profile.epochs), seed=seed
                        ),
                        facts={
                            "problems": len(problems),
                            "completions": completions(own),
                            "quality": quality(own),
                        },
                    )
                )
    return cells


def result(lines: Sequence[dict[str, Any]], held_out: HeldOut, settings: Any) -> dict[str, Any]:
    """What is stored and drawn."""
    groups = {
        key: list(found) for key, found in groupby(lines, key=lambda line: (line["setting"], line["arm"]))
    }
    budgets = list(dict.fromkeys(budget for budget, _ in groups))
    return {
        "settings": settings,
        "n_held_out": len(held_out.pool),
        "baselines": [
            {"n": one["n"], "majority": estimate(one["majority"]), "pass": estimate(one["pass"])}
            for one in held_out.baselines()
        ],
        "arms": [
            over_seeds(found) | {"quality": [line["quality"] for line in found]} for found in groups.values()
        ],
        "differences": [
            {"budget": budget} | against(groups[budget, "omega"], groups[budget, "mc"]) for budget in budgets
        ],
    }


def inputs(args: Namespace) -> tuple[Profile, dict[str, Records], HeldOut, dict[str, Any]]:
    """Profile, both files' records of the problems that both have, held-out solutions and settings."""
    profile = SMALL if args.small else Profile()
    profile = replace(profile, most=args.most or profile.most)
    mc, held_out, settings = open_inputs(args, profile, omega=args.omega)
    omega = by_problem(read_records(args.omega))
    both = [problem for problem in mc if problem in omega]
    files: dict[str, Records] = {"mc": {p: mc[p] for p in both}, "omega": {p: omega[p] for p in both}}
    return profile, files, held_out, settings


def main() -> None:
    parser = arguments(__doc__ or "", HERE)
    parser.add_argument("--omega", type=Path, required=True, help="OmegaPRM records of the same problems")
    parser.add_argument("--most", type=int, help="largest budget of completions")
    args = parser.parse_args()
    profile, files, held_out, settings = inputs(args)
    held = {arm: completions(r for found in files[arm].values() for r in found) for arm in ARMS}
    top = min(profile.most, *held.values())
    print(f"completions in the records: {held}; largest budget: {top:,}", flush=True)
    cells = make_cells(profile, files, top)
    if args.dry_run:
        show_cost(cells, held_out)
        return
    work = Work(args.work, settings, policy=args.policy, threads=args.threads)
    lines = work.run(cells, held_out, lambda scores: judge(held_out, scores))
    write_json(out_file(args), result(lines, held_out, settings) | {"held": held})
    print(f"written: {out_file(args)}")


if __name__ == "__main__":
    main()
