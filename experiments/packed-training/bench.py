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
import tempfile
import time
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # TRL tells its makers of every trainer otherwise

import torch
import transformers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from selftrain.losses import dpo
from selftrain.packing import EdgeIndex, EdgeScorer, TokenTree, backward, pack, use_tree_attention

PROMPT, LEVELS, SIBLINGS, STEP = 200, 8, 4, 60
VOCABULARY = 2048
BETA = 0.1
Pair = tuple[int, int]


def make_model() -> LlamaForCausalLM:
    """A Llama of about five million weights in float32."""
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=256,
            intermediate_size=704,
            num_hidden_layers=6,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=2,
        )
    )


def make_tree() -> TokenTree:
    """The tree; the first sibling of each level is expanded, and stands for the best."""
    generator = torch.Generator().manual_seed(1)

    def text(tokens: int) -> tuple[int, ...]:
        return tuple(torch.randint(3, VOCABULARY, (tokens,), generator=generator).tolist())

    segments, parents, expanded = [text(PROMPT)], [-1], 0
    for _ in range(LEVELS):
        first = len(segments)
        segments += [text(STEP) for _ in range(SIBLINGS)]
        parents += [expanded] * SIBLINGS
        expanded = first
    return TokenTree(segments=tuple(segments), parents=tuple(parents))


def make_pairs(kind: str) -> list[Pair]:
    """(chosen, rejected) nodes, level by level."""
    levels = [range(1 + SIBLINGS * level, 1 + SIBLINGS * (level + 1)) for level in range(LEVELS)]
    if kind == "all":
        return [pair for level in levels for pair in combinations(level, 2)]
    return [(level[0], level[-1]) for level in levels]


class Packed:
    """One row for the tree, cut down to the nodes that the pairs name."""

    def __init__(self, tree: TokenTree, pairs: list[Pair], reference: Tensor, device: str) -> None:
        self.model = make_model().to(device)
        use_tree_attention(self.model, device)
        self._scorer = EdgeScorer(self.model)
        nodes = {node for pair in pairs for node in pair}
        self._batches = [one.to(device) for one in pack([tree], wanted=[nodes])]
        index = EdgeIndex([tree])
        self._sides = [
            index.edges((0, node) for node in side).to(device) for side in zip(*pairs, strict=True)
        ]
        self._reference = reference.to(device)

    def gradient(self) -> float:
        """Add the gradient of the mean loss; returns the loss."""

        def loss(sums: Tensor) -> Tensor:
            ratios = sums - self._reference
            return dpo(ratios[self._sides[0]], ratios[self._sides[1]], beta=BETA)

        return float(backward(self._scorer, self._batches, loss))


class Plain:
    """A loop over pairs: two rows of one length each, no padding, logits only of the last step."""

    def __init__(self, tree: TokenTree, pairs: list[Pair], reference: Tensor, device: str) -> None:
        self.model = make_model().to(device)
        self._rows = [
            torch.tensor([[t for one in tree.path(node) for t in tree.segments[one]] for node in pair]).to(
                device
            )
            for pair in pairs
        ]
        self._reference = [reference[list(pair)].to(device) for pair in pairs]

    def gradient(self) -> float:
        """Add the gradient of the mean loss; returns the loss."""
        total = 0.0
        for rows, reference in zip(self._rows, self._reference, strict=True):
            logits = self.model(input_ids=rows, use_cache=False, logits_to_keep=STEP + 1).logits[:, :-1]
            found = torch.log_softmax(logits.float(), -1).gather(-1, rows[:, -STEP:, None])[..., 0].sum(-1)
            ratios = found - reference
            loss = dpo(ratios[:1], ratios[1:], beta=BETA, total=len(self._rows))
            loss.backward()
            total += float(loss.detach())
        return total


class Trl:
    """DPOTrainer's own loss on ready ids, the pairs of one level a batch, so that nothing is padded."""

    def __init__(self, tree: TokenTree, pairs: list[Pair], reference: Tensor, device: str) -> None:
        self.model = make_model()
        self._trainer = _dpo_trainer(self.model, device)
        self.model.to(device)
        rows: dict[int, list[dict[str, Any]]] = {}
        for pair in pairs:
            above = tree.path(pair[0])[:-1]
            row = {
                "prompt_ids": [token for one in above for token in tree.segments[one]],
                "chosen_ids": list(tree.segments[pair[0]]),
                "rejected_ids": list(tree.segments[pair[1]]),
                "ref_chosen_logps": float(reference[pair[0]]),
                "ref_rejected_logps": float(reference[pair[1]]),
            }
            rows.setdefault(len(above), []).append(row)
        batches = [self._trainer.data_collator(level) for level in rows.values()]
        self._batches = [{k: v.to(device) for k, v in batch.items()} for batch in batches]

    def gradient(self) -> float:
        """Add the gradient of the mean loss; returns the loss."""
        total = 0.0
        for batch in self._batches:
            loss = self._trainer.compute_loss(self.model, batch) / len(self._batches)
            loss.backward()
            total += float(loss.detach())
        return total


def _dpo_trainer(model: Any, device: str) -> Any:
    """A DPOTrainer on made-up text; its batches are not used."""
    from datasets import Dataset
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast
    from trl import DPOConfig, DPOTrainer

    words = {"<s>": 0, "</s>": 1, "<pad>": 2} | {f"w{number}": number for number in range(3, VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    config = DPOConfig(
        output_dir=tempfile.mkdtemp(),
        beta=BETA,
        precompute_ref_log_probs=True,
        gradient_checkpointing=False,
        report_to="none",
        bf16=False,
        use_cpu=device == "cpu",
        disable_tqdm=True,
    )
    row = {"prompt": "w3 w4", "chosen": " w5", "rejected": " w6"}
    return DPOTrainer(model=model, args=config, train_dataset=Dataset.from_list([row]), processing_class=fast)


TRAINERS: dict[str, Callable[..., Any]] = {"packed": Packed, "plain": Plain, "trl": Trl}


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
