"""Tiny worlds of the self-training loop: problems, a model of a few thousand weights, and scripted parts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tiny_models import byte_level_tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

from selftrain.loop import from_json
from selftrain.loop.config import LoopConfig
from selftrain.loop.gate import Measured
from selftrain.loop.manifest import Costs
from selftrain.loop.reading import assign, overlay

ANIMALS = ("ants", "bees", "cats", "dogs", "eels", "foxes", "goats", "hens")
TOOLS = ("axes", "bolts", "clamps", "drills", "files", "gears", "hooks", "irons", "jacks", "knives")


def write_problems(path: Path, words: Sequence[str], count: int) -> Path:
    """Problems whose answers are 0 to 3, as the scripted engine's are."""
    rows = [
        {"id": f"{path.stem}-{i}", "question": f"Count {words[i % len(words)]} {i}?", "answer": str(i % 4)}
        for i in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_tiny(folder: Path, *, seed: int = 0) -> Path:
    """A Llama of one layer and hidden size 16, its tokenizer and a card."""
    torch.manual_seed(seed)
    tokenizer = byte_level_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=256,
        initializer_range=0.2,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    card = {"format": "plain", "template": "{question}\n", "delimiter": "line", "solution_tokens": 64}
    (folder / "treesearch.json").write_text(json.dumps(card))
    return folder


@dataclass(frozen=True)
class World:
    """A folder with problems and a tiny model."""

    folder: Path
    policy: Path
    train: Path
    heldout: Path

    def content(self, **changes: Any) -> dict[str, Any]:
        """A configuration with the scripted engine as plain data; `changes` are dotted by ``__``."""
        found: dict[str, Any] = {
            "tasks": {"count": {"train": {"data": str(self.train)}, "heldout": {"data": str(self.heldout)}}},
            "policy": str(self.policy),
            "engine": {"name": "scripted"},
            "search": {
                "algorithm": "best-of-n",
                "value": "logprob",
                "budget_tokens": None,
                "settings": {"n": 4, "policy.solution_tokens": 64},
            },
            "builder": {"name": "sft"},
            "train": {"settings": {"epochs": 1, "batch_trees": 2, "checkpoint_every": 1, "holdout": 0.0}},
            "evaluate": {"settings": {"policy.solution_tokens": 64}},
        }
        for key, value in changes.items():
            found = put(found, key.replace("__", "."), value)
        return found

    def config(self, **changes: Any) -> LoopConfig:
        """`content` as a configuration."""
        return from_json(self.content(**changes))


def put(content: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """`content` with a value at a dotted key; mappings are laid over what is there."""
    head, dot, rest = key.partition(".")
    below = content.get(head)
    if dot:
        value = put(below if isinstance(below, Mapping) else {}, rest, value)
    return overlay(dict(content), {head: value})


def make_world(folder: Path, *, problems: int = 6, heldout: int = 6) -> World:
    """A world in an empty folder."""
    folder.mkdir(parents=True, exist_ok=True)
    return World(
        folder=folder,
        policy=write_tiny(folder / "tiny"),
        train=write_problems(folder / "animals.jsonl", ANIMALS, problems),
        heldout=write_problems(folder / "tools.jsonl", TOOLS, heldout),
    )


@dataclass
class ScriptedEvaluator:
    """Gives accuracies in the order of being asked: of `problems` problems a task, so many are right."""

    answers: list[Mapping[str, int]]
    problems: int = 40
    asked: list[str] = field(default_factory=list)

    async def __call__(self, job: Any, folder: Path, watch: Any, *, samples: int) -> Any:
        """The next answers."""
        right = self.answers[len(self.asked)]
        self.asked.append(job.model)
        found = {
            name: Measured(samples=samples, right={f"p{i:02}": int(i < count) for i in range(self.problems)})
            for name, count in right.items()
        }
        return found, Costs(generated_tokens=7, calls=1)


__all__ = ["ScriptedEvaluator", "World", "assign", "make_world", "put", "write_problems", "write_tiny"]
