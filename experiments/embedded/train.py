"""Train the embedded policy from scratch on generated problems; resumes from its newest checkpoint.

    python experiments/embedded/train.py --out WORK_FOLDER [--config FILE]
    python experiments/embedded/train.py --out WORK_FOLDER --export treesearch/models/embedded

Muon for the layers' matrices, AdamW for the embedding and the norms; float32 masters of weights in bf16, or
in float32 with `--dtype`. To end a run early, give another `--config` with an earlier decay, a folder of its
own and `--from-checkpoint`. `--from-model` goes on from exported weights instead, with fresh optimizers, at
the position that the configuration's `restart` names. Metrics go to `metrics.jsonl`, checkpoints to
`checkpoint/`, whole or not at all.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
import torch.nn.functional as functional
import yaml
from build_tokenizer import build
from data import IGNORE, Batch, Stream
from muon import Muon
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

HERE = Path(__file__).parent


@dataclass
class Trainer:
    """Model, masters, optimizers, streams and counters: everything that a checkpoint must hold."""

    config: dict[str, Any]
    out: Path
    tokenizer: PreTrainedTokenizerFast
    device: str
    dtype: str

    def __post_init__(self) -> None:
        torch.manual_seed(self.config["seed"])
        self.model = LlamaForCausalLM(model_config(self.config, self.tokenizer)).to(self.device)
        self.master = {name: p.detach().clone().float() for name, p in self.model.named_parameters()}
        self.model.to(getattr(torch, self.dtype))
        train = self.config["train"]
        matrices = [n for n, p in self.master.items() if p.ndim == 2 and "embed" not in n]
        rest = [n for n in self.master if n not in matrices]
        decay = train["weight_decay"]
        self.muon = Muon([self.master[n] for n in matrices], lr=train["muon_lr"], weight_decay=decay)
        self.adam = torch.optim.AdamW(
            [self.master[n] for n in rest], lr=train["adam_lr"], betas=(0.9, 0.95), weight_decay=0.0
        )
        data = self.config["data"]
        self.streams = {
            source: Stream(
                source=source,
                hard_problems=data["hard_problems"],
                tokenizer=self.tokenizer,
                batch_tokens=data["microbatch_tokens"],
                weak_from=data["weak_from"],
                weak_kinds=frozenset(data["weak_kinds"]),
            )
            for source in ("countdown", "math")
        }
        self.tokens = {"countdown": 0, "math": 0}
        self.step = 0
        self.seconds = 0.0
        torch._dynamo.config.recompile_limit = 32  # one graph a row length
        self.compiled = torch.compile(self.model, dynamic=False)

    def total(self) -> int:
        """Tokens trained on so far, without padding."""
        return sum(self.tokens.values())

    def rate(self) -> float:
        """Learning-rate factor: warm-up, then the configuration's points."""
        warm = min(1.0, (self.step + 1) / self.config["train"]["warmup_steps"])
        return min(warm, float(numpy.interp(self.total(), *zip(*self.config["train"]["rate"], strict=True))))

    def done(self) -> bool:
        """Whether the last point is reached."""
        return self.total() >= self.config["train"]["rate"][-1][0]

    def update(self, batches: list[tuple[str, Batch]]) -> dict[str, float]:
        """One optimizer step over the microbatches; returns the mean loss of each task."""
        losses: dict[str, list[float]] = {}
        for source, batch in batches:
            ids = torch.from_numpy(batch.ids).to(self.device)
            labels = torch.from_numpy(batch.labels).to(self.device)
            logits = self.compiled(input_ids=ids).logits
            loss = functional.cross_entropy(
                logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten(), ignore_index=IGNORE
            )
            (loss / len(batches)).backward()
            losses.setdefault(source, []).append(float(loss.detach()))
            self.tokens[source] += batch.tokens
        for name, p in self.model.named_parameters():
            self.master[name].grad = p.grad.float() if p.grad is not None else None
            p.grad = None
        torch.nn.utils.clip_grad_norm_(self.master.values(), self.config["train"]["clip"])
        factor = self.rate()
        for optimizer, key in ((self.muon, "muon_lr"), (self.adam, "adam_lr")):
            for group in optimizer.param_groups:
                group["lr"] = self.config["train"][key] * factor
            optimizer.step()
        with torch.no_grad():
            for name, p in self.model.named_parameters():
                p.copy_(self.master[name])
        self.step += 1
        return {source: sum(values) / len(values) for source, values in losses.items()}

    def batches(self, iterators: dict[str, Any]) -> list[tuple[str, Batch]]:
        """The next step's microbatches: each from the task that is furthest behind its share of tokens."""
        points = self.config["data"]["countdown_share"]
        share = float(numpy.interp(self.total(), *zip(*points, strict=True)))
        ahead = dict(self.tokens)
        picked: list[tuple[str, Batch]] = []
        for _ in range(self.config["data"]["microbatches"]):
            source = "countdown" if ahead["countdown"] * (1 - share) <= ahead["math"] * share else "math"
            batch = next(iterators[source])
            ahead[source] += batch.tokens
            picked.append((source, batch))
        return picked

    def save(self) -> None:
        """Write a checkpoint beside the old one, then put it in its place."""
        target, beside = self.out / "checkpoint", self.out / "checkpoint.new"
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        tensors = dict(self.master)
        for prefix, optimizer in (("muon", self.muon), ("adam", self.adam)):
            for index, state in optimizer.state_dict()["state"].items():
                tensors |= {f"{prefix}/{index}/{key}": torch.as_tensor(value) for key, value in state.items()}
        save_file(
            {name: t.detach().cpu().contiguous() for name, t in tensors.items()}, beside / "state.safetensors"
        )
        position = {
            "step": self.step,
            "tokens": self.tokens,
            "seconds": self.seconds,
            "streams": {
                source: {"next_seed": s.next_seed, "waiting": {str(k): v for k, v in s.waiting.items()}}
                for source, s in self.streams.items()
            },
        }
        (beside / "position.json").write_text(json.dumps(position))
        old = self.out / "checkpoint.old"
        shutil.rmtree(old, ignore_errors=True)
        if target.exists():
            os.replace(target, old)
        os.replace(beside, target)

    def load(self, folder: Path) -> None:
        """Take up a checkpoint: weights, optimizer moments, counters and the streams' positions."""
        tensors = load_file(folder / "state.safetensors")
        with torch.no_grad():
            for name, p in self.model.named_parameters():
                self.master[name].copy_(tensors[name])
                p.copy_(self.master[name])
        for prefix, optimizer in (("muon", self.muon), ("adam", self.adam)):
            state: dict[int, dict[str, torch.Tensor]] = {}
            for name, tensor in tensors.items():
                if name.startswith(prefix + "/"):
                    _, index, key = name.split("/")
                    state.setdefault(int(index), {})[key] = tensor
            optimizer.load_state_dict(
                {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
            )
        position = json.loads((folder / "position.json").read_text())
        self.step, self.tokens, self.seconds = position["step"], position["tokens"], position["seconds"]
        for source, kept in position["streams"].items():
            self.streams[source].next_seed = kept["next_seed"]
            self.streams[source].waiting = {int(k): v for k, v in kept["waiting"].items()}

    def restart(self, folder: Path) -> None:
        """Take up exported weights at the configured position; the optimizers start anew."""
        tensors = load_file(folder / "model.safetensors")
        with torch.no_grad():
            for name, p in self.model.named_parameters():
                if name in tensors:  # a tied head is stored once
                    self.master[name].copy_(tensors[name])
                p.copy_(self.master[name])
        position = self.config["restart"]
        self.step, self.tokens = position["step"], dict(position["tokens"])
        for source, seed in position["next_seed"].items():
            self.streams[source].next_seed = seed

    def export(self, folder: Path) -> None:
        """Write the policy as an ordinary Hugging Face folder in bf16, with its card."""
        self.model.bfloat16().save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        shutil.copy(HERE / "treesearch.json", folder)


def model_config(config: dict[str, Any], tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    """The Llama architecture of `config`, with the tokenizer's special tokens."""
    made = LlamaConfig(
        vocab_size=len(tokenizer),
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **config["model"],
    )
    made._attn_implementation = "eager"  # faster than fused attention at these lengths on a CPU
    return made


def run(trainer: Trainer) -> None:
    """Train until the decay ends, with a checkpoint now and then and a line of metrics every 20 steps."""
    iterators = {source: iter(stream) for source, stream in trainer.streams.items()}
    every = trainer.config["train"]["checkpoint_every"]
    with (trainer.out / "metrics.jsonl").open("a") as metrics:
        while not trainer.done():
            started = time.perf_counter()
            losses = trainer.update(trainer.batches(iterators))
            trainer.seconds += time.perf_counter() - started
            if trainer.step % 20 == 0:
                line = {"step": trainer.step, "tokens": trainer.tokens, "seconds": round(trainer.seconds, 1)}
                metrics.write(json.dumps(line | {"loss": losses, "rate": round(trainer.rate(), 4)}) + "\n")
                metrics.flush()
            if trainer.step % every == 0:
                trainer.save()
    trainer.save()
    trainer.export(trainer.out / "model")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--config", type=Path, default=HERE / "config.yaml")
    parser.add_argument("--from-checkpoint", type=Path, help="start from this checkpoint folder instead")
    parser.add_argument("--from-model", type=Path, help="start from this model folder's weights instead")
    parser.add_argument("--export", type=Path, help="only write the newest checkpoint as a model folder")
    parser.add_argument(
        "--dtype",
        choices=("bfloat16", "float32"),
        default="bfloat16",
        help="of the forward and backward passes; float32 is the faster one on a CPU without bf16 units",
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    config = yaml.safe_load(args.config.read_text())
    args.out.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(config, args.out, build(), args.device, args.dtype)
    checkpoint = args.out / "checkpoint"
    if checkpoint.exists() or args.from_checkpoint:
        trainer.load(checkpoint if checkpoint.exists() else args.from_checkpoint)
    elif args.from_model:
        trainer.restart(args.from_model)
    if args.export:
        trainer.export(args.export)
    else:
        run(trainer)


if __name__ == "__main__":
    main()
