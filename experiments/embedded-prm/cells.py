"""The cells of an experiment: one trained model each, a line in WORK/cells.jsonl, never made twice.

    WORK/settings.json     what the cells depend on: profile, hashes of policy, records and held-out solutions
    WORK/cells.jsonl       a line a cell: arm, setting, seed, facts, tokens, seconds of CPU time, figures
    WORK/scores/NAME.json  the cell's scores of the held-out solutions, in their order
    WORK/training/NAME     the run of the cell that is being trained; taken away when its line is written

Contract: a cell is a function of the settings and its name, which fix its rows and config. A folder of other
settings is refused. A script that was killed goes on: cells with a line are left alone, the one under way is
trained again. Everything runs on `threads` threads of a CPU, one cell after another.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from held_out import HeldOut, Solution, load, score
from training_problems import tokens

from prm.labels import StepRecord, read_records
from prm.labels.steptree import by_problem
from prm.training import StepRow, TrainConfig, train
from treesearch.atomic import write_json, write_text
from treesearch.engines.hf_load import weights_hash
from treesearch.policies import resolve_model

TRAINED_A_SECOND = 2_800
"""Tokens of rows that one core trains on in a second; what --dry-run reckons with."""
SCORED_A_SECOND = 6_000
"""Tokens of distinct steps that one core scores in a second."""
STARTING_S = 2.0
"""Seconds a cell for loading, writing and the figures."""
NEVER = 1_000_000

Scores = dict[Solution, tuple[float, ...]]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One model to train. `facts` are noted beside its figures."""

    arm: str
    setting: str
    seed: int
    rows: Sequence[StepRow]
    config: TrainConfig
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def name(self) -> str:
        """Its name in files."""
        return f"{self.arm}_{self.setting}_{self.seed}".replace("/", "-").replace(" ", "-")

    @property
    def tokens(self) -> int:
        """Tokens that training reads."""
        return round(tokens(self.rows) * self.config.epochs)


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Scores of solutions by one cell; `members` has those of each member where the model has several."""

    scores: Scores
    members: dict[Solution, tuple[tuple[float, ...], ...]]


def config(head: str = "value-bce", **changed: Any) -> TrainConfig:
    """The training of every experiment here but for what is `changed`: all rows, batches of 16, no choice."""
    same: dict[str, Any] = {"batch_size": 16, "holdout": 0.0, "checkpoint_every": NEVER, "device": "cpu"}
    return TrainConfig(head=head, **(same | changed))  # type: ignore[arg-type]


def epochs(share: float, least: float) -> float:
    """Epochs at a share of the data: `least` at all of it, and a fourth of the data twice as many.

    So a fourth of the data has half of the optimizer steps: neither equal epochs, which would leave a handful
    of steps, nor equal steps, which would be 16 times as many epochs on a sixteenth.
    """
    return least / share**0.5


class Work:
    """The folder of an experiment; `settings` must be all that its cells depend on besides name and rows."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], *, policy: str, threads: int) -> None:
        self.folder, self.policy, self.threads = folder, policy, threads
        self._cells = folder / "cells.jsonl"
        wanted = json.loads(json.dumps({**settings, "policy": weights_hash(resolve_model(policy))}))
        there = folder / "settings.json"
        if there.exists() and (found := json.loads(there.read_text())) != wanted:
            differs = ", ".join(key for key in {**found, **wanted} if found.get(key) != wanted.get(key))
            raise SystemExit(f"{folder} holds cells of other settings ({differs}); give another folder")
        write_json(there, wanted)
        self.lines: dict[str, dict[str, Any]] = {line["name"]: line for line in self._read()}

    def do(
        self, cell: Cell, solutions: Sequence[Solution], figures: Callable[[Scores], Mapping[str, Any]]
    ) -> dict[str, Any]:
        """The line of a cell: trained, scored and judged now, or as it was."""
        if cell.name in self.lines:
            return self.lines[cell.name]
        torch.set_num_threads(self.threads)
        started = time.process_time()
        out = self.folder / "training" / cell.name
        trained = train(list(cell.rows), base=self.policy, out=out, config=cell.config)
        training_s = time.process_time() - started
        found = score(out / "model", solutions, threads=self.threads)
        content = [[[round(one, 6) for one in each.scores], each.members] for each in found]
        write_text(self._scores(cell), json.dumps(content) + "\n")
        line = {
            "name": cell.name,
            "arm": cell.arm,
            "setting": cell.setting,
            "seed": cell.seed,
            **cell.facts,
            "rows": len(cell.rows),
            "epochs": cell.config.epochs,
            "steps": (trained.summary or {})["steps"],
            "training_tokens": (trained.summary or {})["tokens"],
            "scored_tokens": sum(each.tokens for each in found),
            "training_s": round(training_s, 1),
            "scoring_s": round(time.process_time() - started - training_s, 1),
            **figures(self.scored(cell, solutions).scores),
        }
        self._append(line)
        shutil.rmtree(out)
        return line

    def run(
        self, cells: Sequence[Cell], held_out: HeldOut, figures: Callable[[Scores], Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """The lines of all cells, telling how far it is."""
        solutions, lines = held_out.solutions, list[dict[str, Any]]()
        for number, cell in enumerate(cells, start=1):
            new = cell.name not in self.lines
            lines.append(self.do(cell, solutions, figures))
            if new:
                line = lines[-1]
                last, area = line["best"]["last"][-1], line["auroc"]["all"]
                shown = "-" if area is None else f"{area:.3f}"
                seconds = line["training_s"] + line["scoring_s"]
                print(
                    f"[{number}/{len(cells)}] {cell.name}: {line['training_tokens']:,} tokens, "
                    f"AUROC {shown}, best of {last['n']} {sum(last['right']) / len(last['right']):.3f}, "
                    f"{seconds:.0f} s of CPU time",
                    flush=True,
                )
        return lines

    def scored(self, cell: Cell, solutions: Sequence[Solution]) -> Scored:
        """The stored scores of a cell that is done."""
        content = json.loads(self._scores(cell).read_text())
        scores: Scores = {}
        members: dict[Solution, tuple[tuple[float, ...], ...]] = {}
        for solution, (steps, of_members) in zip(solutions, content, strict=True):
            scores[solution] = tuple(steps)
            members[solution] = tuple(map(tuple, of_members))
        return Scored(scores=scores, members=members)

    def _scores(self, cell: Cell) -> Path:
        return self.folder / "scores" / f"{cell.name}.json"

    def _read(self) -> list[dict[str, Any]]:
        """The lines so far; a torn last one is cut off."""
        if not self._cells.exists():
            return []
        text = self._cells.read_text()
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            write_text(self._cells, whole)
        return [json.loads(line) for line in whole.splitlines()]

    def _append(self, line: dict[str, Any]) -> None:
        with self._cells.open("a") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.lines[line["name"]] = line


def arguments(doc: str, here: Path) -> argparse.ArgumentParser:
    """The options that the experiments share."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--records", type=Path, required=True, help="Monte-Carlo records")
    parser.add_argument("--pool", type=Path, required=True, help="run of sampled held-out solutions")
    parser.add_argument("--truth", type=Path, required=True, help="exact step labels of the pool")
    parser.add_argument("--work", type=Path, required=True, help="folder of the cells; gone on with")
    parser.add_argument("--policy", default="embedded", help="what sampled, and what is trained from")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--small", action="store_true", help="a smoke test: everything, but tiny")
    parser.add_argument("--dry-run", action="store_true", help="list the cells and what they cost")
    parser.add_argument("--out", type=Path, help="[default: result.json here; WORK/result.json if --small]")
    parser.set_defaults(here=here)
    return parser


def out_file(args: argparse.Namespace) -> Path:
    """Where the result goes."""
    return args.out or (args.work if args.small else args.here) / "result.json"


def open_inputs(
    args: argparse.Namespace, profile: Any, **files: Path
) -> tuple[dict[str, list[StepRecord]], HeldOut, dict[str, Any]]:
    """Records by problem, held-out solutions, and the settings; `profile` has `samples` and `labelled`."""
    records = by_problem(read_records(args.records))
    held_out = load(
        args.pool, args.truth, samples=profile.samples, labelled=profile.labelled, problems=profile.held_out
    )
    digests = {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in {"records": args.records, **files}.items()
    }
    settings = {"profile": asdict(profile), "held_out": held_out.digest, **digests}
    print(
        f"{len(records)} training problems; {len(held_out.pool)} held out, with "
        f"{len(held_out.solutions)} distinct solutions"
    )
    return records, held_out, settings


def show_cost(cells: Sequence[Cell], held_out: HeldOut) -> None:
    """Print the cells and what they will cost on one core; log-ratio heads score with two models."""
    per_step = _tokens_a_step(held_out)
    steps = len({(q, steps[:at]) for q, steps in held_out.solutions for at in range(1, len(steps) + 1)})
    total = 0.0
    for cell in cells:
        passes = 2 if cell.config.head.startswith("implicit") else 1
        seconds = cell.tokens / TRAINED_A_SECOND + passes * steps * per_step / SCORED_A_SECOND + STARTING_S
        total += seconds
        print(f"{cell.name:40} {len(cell.rows):6,} rows {cell.tokens:9,} tokens {seconds:6.0f} s")
    print(
        f"{len(cells)} cells, {sum(cell.tokens for cell in cells):,} training tokens, about "
        f"{total / 60:.0f} minutes on one core at {TRAINED_A_SECOND:,} tokens/s"
    )


def _tokens_a_step(held_out: HeldOut) -> float:
    every = [each for problem in held_out.pool for each in problem.candidates]
    return sum(each.tokens for each in every) / max(1, sum(len(each.steps) for each in every))
