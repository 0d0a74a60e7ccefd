"""Steps a second of step-level DPO on a packed tree, against TRL's DPOTrainer and against a plain loop.

    python experiments/packed-training/bench.py --out experiments/packed-training/result.json

One searched tree: a prompt of 200 tokens, 8 levels of 4 siblings of 60 tokens, one sibling of each level
expanded. Two sets of pairs: all 48 of siblings, and the best against the worst of each level (8). A step is
the gradient of the mean loss over the set, and an AdamW update. All take reference log-probs as given.
Trainers take turns in one process; memory is measured in a process for each.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # TRL tells its makers of every trainer otherwise

import torch
import transformers
from torch import Tensor
from trainers import LEVELS, PROMPT, SIBLINGS, STEP, TRAINERS, make_model, make_pairs, make_tree

from selftrain.packing import EdgeScorer, TokenTree, pack


def reference_sums(tree: TokenTree) -> Tensor:
    """Log-prob sums of every node under the start model moved a little, so that no ratio is 0."""
    model = make_model()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.002 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
        return EdgeScorer(model)(pack([tree])[0]).sums


def gradient_of(trainer: Any) -> Tensor:
    """The gradients as one vector, cleared."""
    found = torch.cat([p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None])
    trainer.model.zero_grad()
    return found


def compare(trainers: dict[str, Any]) -> dict[str, Any]:
    """Loss of each at the start, and how far its gradient is from the plain loop's, relative to that norm."""
    losses = {name: trainer.gradient() for name, trainer in trainers.items()}
    slopes = {name: gradient_of(trainer) for name, trainer in trainers.items()}
    norm = slopes["plain"].norm()
    apart = {
        name: float((slope - slopes["plain"]).norm() / norm)
        for name, slope in slopes.items()
        if name != "plain"
    }
    return {"loss": losses, "gradient_apart_from_plain": apart}


def measure(trainers: dict[str, Any], rounds: int) -> dict[str, Any]:
    """Seconds of each round, the trainers taking turns: by the clock, and of this process's CPU time."""
    wall: dict[str, list[float]] = {name: [] for name in trainers}
    cpu: dict[str, list[float]] = {name: [] for name in trainers}
    optimizers = {name: torch.optim.AdamW(one.model.parameters(), lr=1e-6) for name, one in trainers.items()}
    for _ in range(rounds):
        for name, trainer in trainers.items():
            started, used = time.perf_counter(), time.process_time()
            trainer.gradient()
            optimizers[name].step()
            optimizers[name].zero_grad()
            if next(trainer.model.parameters()).is_cuda:
                torch.cuda.synchronize()
            wall[name].append(round(time.perf_counter() - started, 3))
            cpu[name].append(round(time.process_time() - used, 3))
    ratios = {
        f"{kind}_{name}": round(median(times[name]) / median(times["packed"]), 2)
        for kind, times in (("wall", wall), ("cpu", cpu))
        for name in trainers
        if name != "packed"
    }
    return {"wall_s": wall, "cpu_s": cpu, "times_faster": ratios}


def peak_memory(name: str, kind: str) -> float:
    """MiB by which one step of a trainer raises this process's resident size at most, gradients included."""
    tree = make_tree()
    reference = torch.full((len(tree),), -400.0)
    trainer = TRAINERS[name](tree, make_pairs(kind), reference, "cpu")
    before = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of imports and of making the model
    trainer.gradient()
    return (_resident("VmHWM") - before) / 1024


def _resident(name: str) -> int:
    """Resident size of this process in KiB: VmRSS now, VmHWM the most since it was last forgotten (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1])


def memory_of(name: str, kind: str) -> float:
    """`peak_memory` in a process of its own."""
    command = [sys.executable, __file__, "--memory", name, "--pairs", kind]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return round(float(done.stdout.split()[-1]), 1)


def run(kind: str, rounds: int, device: str, names: list[str]) -> dict[str, Any]:
    """Everything about one set of pairs."""
    tree, pairs = make_tree(), make_pairs(kind)
    reference = reference_sums(tree)
    trainers = {name: TRAINERS[name](tree, pairs, reference, device) for name in names}
    nodes = {node for pair in pairs for node in pair}
    tokens = sum(2 * sum(len(tree.segments[one]) for one in tree.path(pair[0])) for pair in pairs)
    found = {
        "pairs": len(pairs),
        "tokens_unpacked": tokens,
        "tokens_packed": pack([tree], wanted=[nodes])[0].tokens,
        **compare(trainers),
        **measure(trainers, rounds),
    }
    if device == "cpu":
        found["peak_memory_mib"] = {name: memory_of(name, kind) for name in names}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, help="of torch; on a busy machine 1 is the fairest")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--trainers", default="packed,plain,trl")
    parser.add_argument("--pairs", choices=("all", "best-worst"), help="only this set")
    parser.add_argument("--memory", choices=tuple(TRAINERS), help="only print the memory of this trainer")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.memory:
        print(peak_memory(args.memory, args.pairs))
        return
    kinds = [args.pairs] if args.pairs else ["all", "best-worst"]
    result = {
        "parameters": sum(p.numel() for p in make_model().parameters()),
        "tree": {"prompt": PROMPT, "levels": LEVELS, "siblings": SIBLINGS, "step": STEP},
        "versions": {"python": platform.python_version(), "torch": torch.__version__}
        | {"transformers": transformers.__version__},
        "device": args.device if args.device == "cpu" else torch.cuda.get_device_name(),
        "threads": torch.get_num_threads(),
    }
    for kind in kinds:
        result[kind] = run(kind, args.rounds, args.device, args.trainers.split(","))
    text = json.dumps(result, indent=1)
    if args.out:
        args.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
