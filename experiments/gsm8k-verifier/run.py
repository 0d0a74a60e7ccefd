"""A verifier of real models' solutions: can the trainer learn from data that this project did not make?

    python experiments/gsm8k-verifier/run.py --data gsm8k_model_solutions.jsonl --work WORK [--dry-run]

The file is OpenAI's (`grade-school-math`, MIT): for every GSM8K test question a solution by each of four
models, with whether its answer is right. Problems are split once; a verifier is trained on the solutions of
the training problems for each seed, and on shuffled labels as often as `--shuffles` says (`--seeds none`
trains these alone). Models that are trained are not trained again. `result.json` beside this script has an
entry a head, or of another name that is given.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from resampling import Resampled, area, chances

from prm.aggregates import aggregate, applicable
from prm.evaluation import score_all
from prm.evaluation.discrimination import discrimination
from prm.registry import open_scorer
from prm.training import Progress, StepRow, TrainConfig, train
from treesearch.policies import embedded_folder
from treesearch.seeds import derive

HERE = Path(__file__).parent
TEST_SHARE = 0.3
BINS = 12
AGGREGATES = ("last", "mean", "min", "product")
"""The first is what the verifier is trained to say; the others are shown beside it where they fit."""
ENSEMBLE = "all-seeds"
"""The mean of the scores by the models of all seeds."""
CONFIG = TrainConfig(
    head="value-bce",
    epochs=2,
    batch_size=32,
    microbatch_tokens=2048,
    learning_rate=3e-4,
    holdout=0.1,
    select="loss",
    evaluate_every=25,
    pack=True,
    too_long="drop",
)


@dataclass(frozen=True, kw_only=True)
class Written:
    """A solution by one of the models."""

    problem: str
    question: str
    model: str
    steps: tuple[str, ...]
    right: bool
    tokens: int


def read(path: Path) -> list[Written]:
    """All solutions that fit the model's context, in the order of the file."""
    from transformers import AutoConfig, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(embedded_folder(), model_max_length=1 << 20)
    room = AutoConfig.from_pretrained(embedded_folder()).max_position_embeddings
    found: list[Written] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
        row = json.loads(line)
        for model, given in row.items():
            if not isinstance(given, dict):
                continue
            steps = tuple(step for step in given["solution"].split("\n") if step.strip())
            sizes = [len(tokenizer.encode(text + "\n")) for text in (row["question"], *steps)]
            if steps and sum(sizes) <= room:
                found.append(
                    Written(
                        problem=f"gsm8k-test-{number}",
                        question=row["question"],
                        model=model,
                        steps=steps,
                        right=given["is_correct"],
                        tokens=sum(sizes[1:]),
                    )
                )
    return found


def split(written: Sequence[Written]) -> tuple[list[Written], list[Written]]:
    """Training and held-out solutions, by problem."""
    problems = sorted({one.problem for one in written}, key=lambda name: derive(0, "gsm8k-verifier", name))
    held = set(problems[: round(TEST_SHARE * len(problems))])
    return [one for one in written if one.problem not in held], [
        one for one in written if one.problem in held
    ]


def rows(written: Sequence[Written], *, shuffle: int | None) -> list[StepRow]:
    """Every step labelled by the outcome of its solution (Cobbe et al. 2021 read every token so).

    With a number `shuffle`, by that of another solution, drawn with this seed.
    """
    right = [one.right for one in written]
    if shuffle is not None:
        random.Random(shuffle).shuffle(right)
    return [
        StepRow(id=one.problem, prompt=one.question, steps=one.steps, labels=(float(label),) * len(one.steps))
        for one, label in zip(written, right, strict=True)
    ]


def by_length(train_on: Sequence[Written], test: Sequence[Written]) -> list[float]:
    """The share of right ones among training solutions of about the same number of tokens."""
    sizes = np.array([one.tokens for one in train_on], float)
    right = np.array([one.right for one in train_on], float)
    edges = np.quantile(sizes, np.linspace(0, 1, BINS + 1)[1:-1])
    shares = [right[np.digitize(sizes, edges) == bin].mean() for bin in range(BINS)]
    return [float(shares[bin]) for bin in np.digitize([one.tokens for one in test], edges)]


def scores(folder: Path, test: Sequence[Written]) -> dict[str, list[float]]:
    """The verifier's score of each solution, by aggregate of its steps'."""

    async def job() -> list[tuple[float, ...]]:
        scorer = open_scorer(str(folder), {})
        try:
            found = await score_all(scorer, [(one.question, one.steps) for one in test])
        finally:
            await scorer.close()
        return [tuple(each.scores) for each in found]

    steps = asyncio.run(job())
    fitting = applicable(steps)
    return {how: [aggregate(each, how) for each in steps] for how in AGGREGATES if how in fitting}


def report(found: Sequence[float], test: Sequence[Written]) -> dict[str, Any]:
    """How well scores tell right solutions from wrong ones, and choose among the four of a problem."""
    measured = discrimination(found, [one.right for one in test], [one.problem for one in test])
    return {**measured, "best_of_4": float(chances(found, test).mean())}


def chosen(every: Sequence[dict[str, list[float]]], test: Sequence[Written]) -> list[str]:
    """The aggregate of the best AUROC, averaged over models, on each half of the held-out problems.

    Where both halves choose the same, its figure on the one was not chosen by the one.
    """
    half = [derive(0, "half", one.problem) % 2 for one in test]
    best: list[str] = []
    for number in range(2):
        kept = [index for index, found in enumerate(half) if found == number]
        some = [test[index] for index in kept]
        figures = {
            how: sum(area([model[how][index] for index in kept], some) for model in every) for how in every[0]
        }
        best.append(max(figures, key=figures.__getitem__))
    return best


def tell(progress: Progress) -> None:
    """A line for every twentieth step and every evaluation."""
    if progress.step % 20 == 0 or progress.evaluation is not None:
        figures = "" if progress.evaluation is None else f", AUROC {progress.evaluation['auroc']:.3f}"
        print(f"{progress.step}/{progress.steps}: loss {progress.loss:.4f}{figures}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--head", default=CONFIG.head, help="value-bce, implicit-ce, ... (rows of solutions)")
    parser.add_argument("--name", help="of the entry in the result [default: the head]")
    parser.add_argument("--base", default="embedded", help="policy that verifiers start from")
    parser.add_argument("--epochs", type=float, default=CONFIG.epochs)
    parser.add_argument("--seeds", default="0,1,2", help="or none")
    parser.add_argument("--shuffles", type=int, default=1, help="controls, of as many shuffles of the labels")
    parser.add_argument(
        "--out", type=Path, default=HERE / "result.json", help="its entry of this name is replaced"
    )
    parser.add_argument("--limit", type=int, help="the first so many solutions, for a trial")
    parser.add_argument("--dry-run", action="store_true", help="say what it costs")
    args = parser.parse_args()
    train_on, test = split(read(args.data)[: args.limit])
    config = replace(CONFIG, head=args.head, epochs=args.epochs)
    tokens = sum(one.tokens for one in train_on) * config.epochs
    wanted = [] if args.seeds == "none" else [int(seed) for seed in args.seeds.split(",")]
    models: dict[str, tuple[int, int | None]] = {f"seed-{seed}": (seed, None) for seed in wanted}
    models |= {f"shuffled-{number}": (number, number) for number in range(args.shuffles)}
    print(
        f"{len(train_on):,} solutions to train on, {len(test):,} held out; {len(models)} models, "
        f"{tokens:,.0f} tokens each and the questions"
    )
    if args.dry_run:
        return
    every: dict[str, dict[str, list[float]]] = {}
    for name, (seed, shuffle) in models.items():
        train(
            rows(train_on, shuffle=shuffle),
            base=args.base,
            out=args.work / name,
            config=replace(config, seed=seed),
            on_progress=tell,
        )
        every[name] = scores(args.work / name / "model", test)
    seeds = [every[name] for name, (_, shuffle) in models.items() if shuffle is None]
    if len(seeds) > 1:
        every[ENSEMBLE] = {
            how: list(np.mean([each[how] for each in seeds], axis=0, dtype=float)) for how in seeds[0]
        }
    length = by_length(train_on, test)
    found = {"length": length} | {name: each[AGGREGATES[0]] for name, each in every.items()}
    result: dict[str, Any] = {name: report(each, test) for name, each in found.items()}
    result["any_of_4"] = float(chances([0.0] * len(test), test).mean())
    resampled = Resampled(test)
    if seeds:
        result["chosen_on_halves"] = chosen(seeds, test)
    for name, aggregates in every.items():
        result[name]["best_of_4_over_length"] = resampled.best_of(found[name], length)
        result[name]["aggregates"] = {
            how: {"auroc": area(each, test), "over_length": resampled.area(each, length)}
            for how, each in aggregates.items()
        }
        result[name]["over_length"] = result[name]["aggregates"][AGGREGATES[0]]["over_length"]
    print(json.dumps(result, indent=1))
    if args.limit is None:
        stored = json.loads(args.out.read_text()) if args.out.exists() else {}
        stored[args.name or args.head] = {"epochs": config.epochs, **result}
        args.out.write_text(json.dumps(stored, indent=1) + "\n")


if __name__ == "__main__":
    main()
