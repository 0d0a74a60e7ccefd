"""ImplicitPRM from outcomes against a Monte-Carlo PRM as training problems get fewer: cells and result.json.

    python experiments/implicit-vs-mc/run.py --records WORK/mc.jsonl --pool WORK/pool \
        --truth WORK/truth.jsonl --work WORK/implicit-vs-mc [--small] [--dry-run]

Both arms train on the same solutions. `mc` sees the share of right completions at every step (value-bce),
`implicit` the outcome at the last one alone (implicit-ce). First the settings of each arm are chosen
(learning rate; for the log-ratio also beta) by how well whole solutions of training problems are told apart
that were not trained on; held-out problems have no part in it.
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

from cells import Cell, Scores, Work, arguments, config, epochs, open_inputs, out_file, show_cost
from held_out import HeldOut, judge
from summaries import against, estimate, over_seeds
from training_problems import Records, completions, in_order

from prm.evaluation import auroc
from prm.labels import label_rows
from prm.training import StepRow, TrainConfig
from treesearch.atomic import write_json

HERE = Path(__file__).parent
HEADS = {"mc": "value-bce", "implicit": "implicit-ce"}
TUNING_SEED = 1_000


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Sizes. `rates` and `betas` are what is chosen from; `tuning` problems are trained on for it and
    `choosing` others judged."""

    problems: int = 400
    shares: tuple[float, ...] = (1.0, 0.25, 0.0625)
    seeds: tuple[int, ...] = (0, 1, 2)
    epochs: float = 3.0
    rates: tuple[float, ...] = (2e-4, 6e-4)
    betas: tuple[float, ...] = (0.05, 0.25, 1.0)
    tuning: int = 50
    choosing: int = 100
    samples: int = 64
    labelled: int = 16
    held_out: int | None = None


SMALL = Profile(
    problems=16, shares=(1.0, 0.25), seeds=(0,), epochs=1.0, rates=(6e-4,), betas=(0.05, 1.0), tuning=3,
    choosing=6, samples=8, labelled=4, held_out=8,
)  # fmt: skip


def solutions(records: Records, problems: Sequence[str]) -> list[StepRow]:
    """Finished solutions of `problems` with soft Monte-Carlo labels."""
    found = [record for problem in problems for record in records[problem]]
    finished = {(record.problem, record.path) for record in found if record.finished}
    return [row for row in label_rows(found, "soft") if (row.id, row.steps) in finished]


def outcomes(rows: Sequence[StepRow]) -> list[StepRow]:
    """The rows with the label of the last step alone: whether the answer was right."""
    return [replace(row, labels=(*[None] * (len(row.steps) - 1), row.labels[-1]), counts=()) for row in rows]


def cell(
    arm: str, setting: str, seed: int, records: Records, problems: Sequence[str], chosen: TrainConfig
) -> Cell:
    """One cell; `completions` is what its labels cost: outcomes need no more than the solutions."""
    rows = solutions(records, problems)
    sampled = sum(record.completions for p in problems for record in records[p] if record.step is None)
    cost = completions(record for p in problems for record in records[p]) if arm == "mc" else sampled
    return Cell(
        arm=arm,
        setting=setting,
        seed=seed,
        rows=rows if arm == "mc" else outcomes(rows),
        config=replace(chosen, seed=seed),
        facts={"problems": len(problems), "completions": cost},
    )


def candidates(profile: Profile) -> dict[str, tuple[str, TrainConfig]]:
    """The settings to choose from, by name: arm and config."""
    found: dict[str, tuple[str, TrainConfig]] = {}
    for rate in profile.rates:
        found[f"lr {rate:g}"] = "mc", config(learning_rate=rate)
        for beta in profile.betas:
            found[f"lr {rate:g} beta {beta:g}"] = (
                "implicit", config("implicit-ce", learning_rate=rate, beta=beta)
            )  # fmt: skip
    return found


def tuning(profile: Profile, records: Records) -> tuple[list[Cell], list[StepRow]]:
    """The cells of choosing, and the solutions that they are judged by."""
    order = in_order(records, TUNING_SEED)
    count = epochs(profile.tuning / profile.problems, profile.epochs)
    cells = [
        cell(arm, name, TUNING_SEED, records, order[: profile.tuning], replace(chosen, epochs=count))
        for name, (arm, chosen) in candidates(profile).items()
    ]
    return cells, solutions(records, order[profile.tuning : profile.tuning + profile.choosing])


def choose(work: Work, cells: Sequence[Cell], judged: Sequence[StepRow]) -> list[dict[str, Any]]:
    """Train every candidate; its figure is the AUROC of the last score against the outcome."""
    asked = [(row.prompt, row.steps) for row in judged]
    right = [row.labels[-1] == 1.0 for row in judged]

    def figures(scores: Scores) -> dict[str, Any]:
        return {"outcome_auroc": auroc([scores[solution][-1] for solution in asked], right)}

    distinct = list(dict.fromkeys(asked))
    return [work.do(each, distinct, figures) for each in cells]


def best(lines: Sequence[Mapping[str, Any]], arm: str) -> str:
    """The setting of highest AUROC; the first of equals."""
    of_arm = [line for line in lines if line["arm"] == arm]
    return max(of_arm, key=lambda line: line["outcome_auroc"] or 0.0)["setting"]


def main_cells(profile: Profile, records: Records, chosen: Mapping[str, str]) -> list[Cell]:
    """All arms, shares and seeds; a seed draws its own problems, the larger shares hold the smaller ones."""
    cells: list[Cell] = []
    for share in profile.shares:
        count = max(1, round(share * profile.problems))
        for arm in HEADS:
            _, settings = candidates(profile)[chosen[arm]]
            for seed in profile.seeds:
                settings = replace(settings, epochs=epochs(share, profile.epochs))
                drawn = in_order(records, seed)[:count]
                cells.append(cell(arm, f"1/{round(1 / share)}", seed, records, drawn, settings))
    return cells


def result(
    tuned: Sequence[Mapping[str, Any]], lines: Sequence[dict[str, Any]], held_out: HeldOut, settings: Any
) -> dict[str, Any]:
    """What is stored and drawn."""
    groups = {
        key: list(found) for key, found in groupby(lines, key=lambda line: (line["setting"], line["arm"]))
    }
    shares = list(dict.fromkeys(share for share, _ in groups))
    pairs = [(share, share) for share in shares] + [(shares[0], shares[-1])]
    return {
        "settings": settings,
        "n_held_out": len(held_out.pool),
        "tuning": [
            {key: line[key] for key in ("arm", "setting", "outcome_auroc", "training_tokens")}
            for line in tuned
        ],
        "baselines": [
            {"n": one["n"], "majority": estimate(one["majority"]), "pass": estimate(one["pass"])}
            for one in held_out.baselines()
        ],
        "arms": [over_seeds(found) for found in groups.values()],
        "differences": [
            {"implicit": first, "mc": second} | against(groups[first, "implicit"], groups[second, "mc"])
            for first, second in pairs
        ],
    }


def checked(args: Namespace) -> tuple[Profile, dict[str, Any], HeldOut, dict[str, Any]]:
    """Profile and inputs; ends with a message where the records are too few."""
    profile = SMALL if args.small else Profile()
    records, held_out, settings = open_inputs(args, profile)
    if len(records) < profile.problems:
        raise SystemExit(f"{args.records} has {len(records)} problems, {profile.problems} are needed")
    kept = in_order(records, TUNING_SEED + 1)[: profile.problems]
    return profile, {problem: records[problem] for problem in kept}, held_out, settings


def main() -> None:
    args = arguments(__doc__ or "", HERE).parse_args()
    profile, records, held_out, settings = checked(args)
    tuning_cells, judged = tuning(profile, records)
    if args.dry_run:
        named = candidates(profile).items()
        first = {arm: next(name for name, (of, _) in named if of == arm) for arm in HEADS}
        show_cost([*tuning_cells, *main_cells(profile, records, first)], held_out)
        return
    work = Work(args.work, settings, policy=args.policy, threads=args.threads)
    tuned = choose(work, tuning_cells, judged)
    chosen = {arm: best(tuned, arm) for arm in HEADS}
    print(f"chosen: {chosen}", flush=True)
    lines = work.run(main_cells(profile, records, chosen), held_out, lambda scores: judge(held_out, scores))
    stored = result(tuned, lines, held_out, settings) | {"chosen": chosen}
    write_json(out_file(args), stored)
    print(f"written: {out_file(args)}")


if __name__ == "__main__":
    main()
