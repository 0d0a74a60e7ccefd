"""Tiny random models and tokenizers in the shape of published process-reward models; no network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

QUESTION = "Tom has 3 apples and buys 4 more. How many does he have?"
STEPS = ("He starts with 3 apples.", "He buys 4 more, so 3 + 4 = 7.", "The answer is 7.")
CONTEXT = 512
HIDDEN = 64
CHATML = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are helpful.<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA3 = (
    "<|begin_of_text|>{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n"
    "{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_SPECIAL = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<extra_0>", "<|begin_of_text|>", "<|start_header_id|>",
    "<|end_header_id|>", "<|eot_id|>",
]  # fmt: skip
_TEXT = [
    QUESTION, *STEPS, "So.\n\nThen.\n\nand \n\n\n\n then \n\n\n\n x\n\n\ny",
    "user\nassistant\nsystem\n + - + -",
    "Step 1: a\nStep 2: b\nQuestion:\nAnswer:\nProblem: Solution:\n# Question\n\n# Solution\n\n",
]  # fmt: skip


def byte_level(*, template: str | None = None, bos: str | None = None) -> PreTrainedTokenizerFast:
    """A byte-level BPE with the pre-tokenizer of Llama 3 and Qwen; line breaks in runs are one token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=_SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_TEXT * 4, trainer)
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, _SPECIAL.index(bos))]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=bos,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=template,
    )


def sentence_pieces() -> PreTrainedTokenizerFast:
    """Pieces that carry their space in front, newlines as bytes, a space before any text (Llama, Mistral)."""
    merges = [
        ("▁", "к"), ("▁к", "и"), ("▁", "+"), ("▁", "-"), ("▁", "S"), ("t", "e"), ("▁S", "te"), ("▁Ste", "p"),
        ("S", "te"), ("Ste", "p"), ("▁", "H"), ("▁H", "e"), ("H", "e"), ("▁", "T"), ("T", "h"), ("▁T", "h"),
        ("▁", "#"),
    ]  # fmt: skip
    letters = sorted({c for text in (*_TEXT, "ки▁'’") for c in text if c not in "\n "})
    pieces = ["<unk>", "<s>", "</s>", "<pad>", *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    pieces += [a + b for a, b in merges]
    tokenizer = Tokenizer(
        models.BPE(
            {piece: number for number, piece in enumerate(dict.fromkeys(pieces))},
            merges=merges,
            byte_fallback=True,
            unk_token="<unk>",
        )
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", left=1, right=0),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<pad>"
    )


def write_causal(
    folder: Path,
    tokenizer: PreTrainedTokenizerFast,
    *,
    kind: str = "llama",
    seed: int = 0,
    tied: bool = False,
) -> Path:
    """A causal model of two layers with grouped key/value heads, in float32."""
    torch.manual_seed(seed)
    shape = {
        "vocab_size": len(tokenizer) + 7,  # published vocabularies are padded
        "hidden_size": HIDDEN,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": CONTEXT,
        "initializer_range": 0.2,
        "tie_word_embeddings": tied,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    if kind == "qwen2":
        model = Qwen2ForCausalLM(Qwen2Config(**shape, use_sliding_window=False))
    else:
        model = LlamaForCausalLM(LlamaConfig(**shape))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def add_head(
    folder: Path,
    tensors: Mapping[str, torch.Tensor],
    *,
    architecture: str | None = None,
    sharded: bool = False,
    without: tuple[str, ...] = (),
) -> Path:
    """Put head tensors into a checkpoint as a published one has them: in its file, or in a shard of two."""
    path = folder / "model.safetensors"
    body = {name: tensor for name, tensor in load_file(str(path)).items() if name not in without}
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    if sharded:
        path.unlink()
        parts = {"model-00001-of-00002.safetensors": body, "model-00002-of-00002.safetensors": tensors}
        for name, part in parts.items():
            save_file(part, str(folder / name), metadata={"format": "pt"})
        weight_map = {key: name for name, part in parts.items() for key in part}
        index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    else:
        save_file({**body, **tensors}, str(path), metadata={"format": "pt"})
    if architecture:
        config = json.loads((folder / "config.json").read_text())
        config["architectures"] = [architecture]
        (folder / "config.json").write_text(json.dumps(config))
    return folder


def random(*shape: int, seed: int = 7) -> torch.Tensor:
    """A random tensor of a size that spreads scores over (0, 1)."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.3
