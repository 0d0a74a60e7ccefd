"""Self-training from the embedded policy with verifier answers only: arms at equal generated tokens.

    python experiments/selftrain/run.py --task countdown --work WORK [--arms revisions,rft] [--seeds 0,1,2]

A cell is an arm with a seed: a run of the loop (TASK.yaml, arms/ARM.yaml) in WORK/TASK/ARM-sSEED, and then
the policy that it ends with on problems that no gate has seen: greedy on 500, and 64 samples on the first 100
of them; and greedy of the policy trained last, which is another one where the gate did not promote it. The
cell `base` is the embedded policy as it is. Finished cells are kept in cells-TASK.jsonl beside this script
and are not made again, those under way go on where they were; cells of another configuration are refused.
Processes with different arms or seeds may run side by side. result-TASK.json is brought up to date at the
end; plot.py draws it.

`--trial` makes every cell small, in a folder of its own, and stores nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from results import summarise

from selftrain.decontamination import find_overlaps, require_clean
from selftrain.loop import LoopConfig, RunStatus, Watch, read_config, run
from selftrain.loop.evaluating import evaluate_sets
from selftrain.loop.gate import Measured
from selftrain.loop.hashing import data_hash
from selftrain.loop.layout import stage_folder
from selftrain.loop.manifest import read_manifest
from selftrain.loop.problems import freeze, load, thaw
from selftrain.loop.searching import ProblemFile, SearchJob
from selftrain.loop.sections import EnginePart, ProblemSource, TaskPart
from tasks.errors import UsageError
from treesearch.atomic import write_json, write_text

HERE = Path(__file__).parent
ARMS = ("revisions", "outcome-dpo", "rest-em", "rft")
FINAL_START = 2_000
SAMPLES = 64
SMALL = ("iterations=1", "search.problems=60", "search.budget_tokens=600")


def configuration(task: str, arm: str, seed: int, *, small: bool) -> LoopConfig:
    """The run of a cell."""
    files = [HERE / f"{task}.yaml", HERE / "arms" / f"{arm}.yaml"]
    return read_config(files, [f"seed={seed}", *(SMALL if small else ())])


def final_problems(task: str, folder: Path, count: int) -> ProblemFile:
    """The problems that the figures are of, frozen in `folder`."""
    path = folder / f"final-{count}.jsonl"
    part = TaskPart(name=task, task=task, heldout=ProblemSource(generate=2 * count, start=FINAL_START))
    if not path.exists():
        freeze(path, load(part, "heldout")[:count], task)  # equal questions are left out
    return ProblemFile(name=task, task=task, path=path, seed=0)


async def measured(model: str, problems: ProblemFile, folder: Path, *, samples: int) -> tuple[Measured, int]:
    """Greedy with one sample, else that many samples at temperature 1; and the tokens generated."""
    job = SearchJob(
        model=model,
        sets=(problems,),
        engine=EnginePart(),
        algorithm="greedy" if samples == 1 else "best-of-n",
        settings={} if samples == 1 else {"n": 1, "policy.temperature": 1.0},
        budgets={"tokens": None},
        concurrency=100,
    )
    evaluation, costs = await evaluate_sets(job, folder, Watch(), samples=samples)
    return evaluation[problems.name], costs.generated_tokens


def measurement(model: str, task: str, folder: Path, counts: tuple[int, int]) -> dict[str, Any]:
    """Right answers by problem, greedy and of `SAMPLES`, and the tokens of the greedy ones together."""
    many, few = (final_problems(task, folder.parent, count) for count in counts)
    greedy, tokens = asyncio.run(measured(model, many, folder / "greedy", samples=1))
    sampled, _ = asyncio.run(measured(model, few, folder / "sampled", samples=SAMPLES))
    return {
        "greedy": list(greedy.right.values()),
        "greedy_tokens": tokens,
        "sampled": list(sampled.right.values()),
    }


def history(folder: Path, found: RunStatus) -> list[dict[str, Any]]:
    """What each iteration decided, and what its stages cost."""
    rows: list[dict[str, Any]] = []
    for each in found.iterations:
        costs: dict[str, dict[str, float]] = {}
        for stage in each.stages:
            manifest = read_manifest(stage_folder(folder, each.iteration, stage))
            if manifest is not None:
                spent = manifest.costs
                tokens = spent.generated_tokens + spent.value_tokens + spent.trained_tokens
                costs[stage] = {"tokens": tokens, "seconds": round(spent.seconds, 1)}
        rows.append(
            {"action": each.action, "reason": each.reason, "accuracy": dict(each.accuracy), "costs": costs}
        )
    return rows


def make(task: str, arm: str, seed: int, work: Path, *, small: bool) -> dict[str, Any]:
    """Run, or go on with, a cell."""
    counts = (100, 20) if small else (500, 100)
    folder = work / f"{arm}-s{seed}"
    if arm == "base":
        return {"cell": folder.name, "arm": arm, "seed": seed} | measurement("embedded", task, folder, counts)
    config = configuration(task, arm, seed, small=small)
    found = run(config, folder / "run", watch=Watch(stage=lambda *told: print(arm, seed, *told, flush=True)))
    frozen = stage_folder(folder / "run", 0, "decontaminate") / "problems" / f"{task}.train.jsonl"
    final = thaw(final_problems(task, work, counts[0]).path, task)
    require_clean(find_overlaps(thaw(frozen, task), {"final": final}))
    cell = {"cell": folder.name, "arm": arm, "seed": seed, "config": data_hash(config.to_json())}
    cell |= {"iterations": history(folder / "run", found)}
    cell |= measurement(found.policy, task, folder, counts)
    last = stage_folder(folder / "run", found.iterations[-1].iteration, "train") / "policy" / "model"
    if last.resolve() == Path(found.policy).resolve():
        return cell | {"last": cell["greedy"]}
    ungated, _ = asyncio.run(
        measured(str(last), final_problems(task, work, counts[0]), folder / "last", samples=1)
    )
    return cell | {"last": list(ungated.right.values())}


def stored(task: str, seeds: Sequence[int]) -> dict[str, dict[str, Any]]:
    """Finished cells by name; `UsageError` for one of another configuration."""
    path = HERE / f"cells-{task}.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    cells = {cell["cell"]: cell for cell in map(json.loads, lines)}
    for name, cell in cells.items():
        if cell["arm"] != "base" and cell["seed"] in seeds:
            now = data_hash(configuration(task, cell["arm"], cell["seed"], small=False).to_json())
            if now != cell["config"]:
                raise UsageError(f"the stored cell {name} is of another configuration; take its line away")
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--task", choices=("countdown", "math"), required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--arms", default=",".join(ARMS))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--trial", action="store_true")
    args = parser.parse_args()
    seeds = [int(seed) for seed in args.seeds.split(",")]
    work = args.work / (f"{args.task}-trial" if args.trial else args.task)
    cells = {} if args.trial else stored(args.task, seeds)
    for arm, seed in [("base", 0), *((arm, seed) for seed in seeds for arm in args.arms.split(","))]:
        if f"{arm}-s{seed}" in cells:
            continue
        cell = make(args.task, arm, seed, work, small=args.trial)
        if not args.trial:
            cells = stored(args.task, seeds)  # with what other processes finished meanwhile
        cells[cell["cell"]] = cell
        print(cell["cell"], f"{sum(cell['greedy'])} of {len(cell['greedy'])} by greedy", flush=True)
        if not args.trial:
            lines = "".join(json.dumps(cells[name]) + "\n" for name in sorted(cells))
            write_text(HERE / f"cells-{args.task}.jsonl", lines)
    result = summarise(list(cells.values()), samples=SAMPLES)
    print(json.dumps(result, indent=1))
    if not args.trial:
        write_json(HERE / f"result-{args.task}.json", result)


if __name__ == "__main__":
    main()
