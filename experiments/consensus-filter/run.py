"""Consensus filtering against its parts, under injected label noise: cells and result.json.

    python experiments/consensus-filter/run.py --records WORK/mc.jsonl --pool WORK/pool \
        --truth WORK/truth.jsonl --work WORK/consensus-filter [--small] [--dry-run]

Two labellers say where the first wrong step of a solution is: `mc` (the first step after which none of a few
completions was right) and `judge` (what the solver knows). Both verdicts are disturbed, each for itself: with
a chance of `noise` another place is named, each of the others alike, "nowhere" among them. A model is trained
on the labels of each, and on those of the solutions where both name the same place (`consensus`). Steps are
labelled 1 before the place, 0 at it, and not at all behind it.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "embedded-prm"))

from cells import Cell, Work, arguments, config, open_inputs, out_file, show_cost
from held_out import HeldOut, judge
from summaries import against, estimate, over_seeds
from training_problems import Records, in_order, truth

from prm.labels import StepRecord, consensus, first_error, judge_labels, label_rows
from prm.labels.judge import ALL_RIGHT
from prm.training import StepRow
from treesearch.atomic import write_json
from treesearch.seeds import derive

HERE = Path(__file__).parent
ARMS = ("mc", "judge", "consensus")


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Sizes. `noise` are the chances that a verdict is disturbed; `few` completions a step are looked at."""

    problems: int = 400
    few: int = 2
    noise: tuple[float, ...] = (0.0, 0.25, 0.4)
    seeds: tuple[int, ...] = (0, 1, 2)
    epochs: float = 3.0
    rate: float = 5e-4
    samples: int = 64
    labelled: int = 16
    held_out: int | None = None


SMALL = Profile(
    problems=16, noise=(0.0, 0.25), seeds=(0,), epochs=1.0, samples=8, labelled=4, held_out=8
)  # fmt: skip


def verdict(labels: Sequence[float | bool | None]) -> int:
    """The first error of hard labels, `ALL_RIGHT` for none."""
    found = first_error([None if label is None else float(label) for label in labels])
    return ALL_RIGHT if found is None else found


def disturbed(error: int, n_steps: int, *, noise: float, seed: int) -> int:
    """The verdict, or with a chance of `noise` one of the `n_steps` others; a function of the seed."""
    draw = random.Random(seed)
    if draw.random() >= noise:
        return error
    return draw.choice([place for place in range(ALL_RIGHT, n_steps) if place != error])


def thinned(record: StepRecord, few: int, *, seed: int) -> StepRecord:
    """The record of `few` of its completions, drawn without putting back: what fewer would have given."""
    if record.finished or record.step is None or record.completions <= few:
        return record
    outcomes = [True] * record.right + [False] * (record.completions - record.right)
    place = derive(seed, "few", record.problem, "".join(record.path))
    return replace(record, completions=few, right=sum(random.Random(place).sample(outcomes, few)))


def with_verdict(row: StepRow, error: int) -> StepRow:
    """The solution labelled by a verdict."""
    return replace(row, labels=tuple(judge_labels(len(row.steps), error)), counts=())


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """The same solutions by both labellers, and the verdicts of the solver on them."""

    mc: list[StepRow]
    judge: list[StepRow]
    true: list[int]

    def wrong(self, arm: str) -> float:
        """Share of the solutions whose verdict is not the solver's."""
        rows = self.mc if arm == "mc" else self.judge
        pairs = zip(rows, self.true, strict=True)
        return sum(verdict(row.labels) != error for row, error in pairs) / len(rows)


def labelled(
    profile: Profile, records: Records, problems: Sequence[str], noise: float, seed: int
) -> Labelled:
    """Solutions of `problems` under both labellers; completions and mistakes are drawn by `seed`."""
    few = [thinned(record, profile.few, seed=seed) for problem in problems for record in records[problem]]
    rows = label_rows(few, "hard")
    true = [verdict(truth(row.id, row.prompt, row.steps)) for row in rows]

    def said(who: str, row: StepRow, error: int) -> StepRow:
        place = derive(seed, who, row.id, "".join(row.steps))
        return with_verdict(row, disturbed(error, len(row.steps), noise=noise, seed=place))

    return Labelled(
        mc=[said("mc", row, verdict(row.labels)) for row in rows],
        judge=[said("judge", row, error) for row, error in zip(rows, true, strict=True)],
        true=true,
    )


def kept(found: Labelled) -> tuple[list[StepRow], dict[str, Any]]:
    """What both agree on; how much that is, and how much of it is wrong, found and predicted.

    Predicted for independent mistakes, each of the other M places alike: a / (a + (1 - e1)(1 - e2)) with
    a = e1 e2 / M.
    """
    agreed = consensus(found.mc, found.judge)
    true = {(row.prompt, row.steps): error for row, error in zip(found.mc, found.true, strict=True)}
    wrong = sum(verdict(row.labels) != true[row.prompt, row.steps] for row in agreed.kept)
    first, second = found.wrong("mc"), found.wrong("judge")
    both = first * second / (sum(len(row.steps) for row in found.mc) / len(found.mc))
    right = (1 - first) * (1 - second)
    return list(agreed.kept), {
        "kept": agreed.ratio,
        "wrong": wrong / len(agreed.kept) if agreed.kept else None,
        "predicted_wrong": both / (both + right) if both + right else None,
    }


def make_cells(profile: Profile, records: Records) -> list[Cell]:
    """All levels of noise, arms and seeds."""
    cells: list[Cell] = []
    for level in profile.noise:
        for arm in ARMS:
            for seed in profile.seeds:
                problems = in_order(records, seed)[: profile.problems]
                found = labelled(profile, records, problems, level, seed)
                if arm == "consensus":
                    rows, facts = kept(found)
                else:
                    rows = found.mc if arm == "mc" else found.judge
                    facts = {"kept": 1.0, "wrong": found.wrong(arm)}
                cells.append(
                    Cell(
                        arm=arm,
                        setting=f"{level:g}",
                        seed=seed,
                        rows=rows,
                        config=config(learning_rate=profile.rate, epochs=profile.epochs, seed=seed),
                        facts=facts | {"problems": len(problems)},
                    )
                )
    return cells


def result(lines: Sequence[dict[str, Any]], held_out: HeldOut, settings: Any) -> dict[str, Any]:
    """What is stored and drawn."""
    groups = {
        key: list(found) for key, found in groupby(lines, key=lambda line: (line["setting"], line["arm"]))
    }
    return {
        "settings": settings,
        "n_held_out": len(held_out.pool),
        "baselines": [
            {"n": one["n"], "majority": estimate(one["majority"]), "pass": estimate(one["pass"])}
            for one in held_out.baselines()
        ],
        "arms": [over_seeds(found) | {"labels": _labels(found)} for found in groups.values()],
        "differences": [
            {"noise": level, "base": base} | against(groups[level, "consensus"], groups[level, base])
            for level, arm in groups
            if arm == "consensus"
            for base in ("mc", "judge")
        ],
    }


def _labels(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over seeds of what was kept and wrong."""
    names = [name for name in ("kept", "wrong", "predicted_wrong") if name in lines[0]]
    known = {name: [line[name] for line in lines if line[name] is not None] for name in names}
    return {name: sum(values) / len(values) if values else None for name, values in known.items()}


def main() -> None:
    args = arguments(__doc__ or "", HERE).parse_args()
    profile = SMALL if args.small else Profile()
    records, held_out, settings = open_inputs(args, profile)
    if len(records) < profile.problems:
        raise SystemExit(f"{args.records} has {len(records)} problems, {profile.problems} are needed")
    cells = make_cells(profile, records)
    if args.dry_run:
        show_cost(cells, held_out)
        return
    work = Work(args.work, settings, policy=args.policy, threads=args.threads)
    lines = work.run(cells, held_out, lambda scores: judge(held_out, scores))
    write_json(out_file(args), result(lines, held_out, settings))
    print(f"written: {out_file(args)}")


if __name__ == "__main__":
    main()
