"""Tiny random models and tokenizers in the shape of real ones, written to a folder; no network."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

CONTEXT = 160
CHAT_TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] | trim }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
_TEXT = [
    "Tom has 12 apples and buys 7 more.\nNow he has 12 + 7 = 19 apples.",
    "the answer is 5 — café\n\n#### 5",
]


def byte_level_tokenizer(*, chat: bool = False) -> PreTrainedTokenizerFast:
    """A byte-level BPE of 308 tokens; <s> 0, </s> 1, <pad> 2."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<s>", "</s>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_TEXT * 3, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        chat_template=CHAT_TEMPLATE if chat else None,
    )


def word_tokenizer() -> PreTrainedTokenizerFast:
    """Words that carry their space in front and drop it at a text's front, as SentencePiece's do."""
    pieces = ["<s>", "</s>", "▁a", "a", "▁b", "b", "▁", "<0xC3>", "<0xA9>", "<0x0A>"]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(
        models.BPE(vocabulary, merges=[("▁", "a"), ("▁", "b")], byte_fallback=True, unk_token="<s>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", left=1, right=0),
        ]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


def write_llama(folder: Path, *, seed: int = 0) -> Path:
    """A Llama of two layers with grouped key/value heads; its text hardly ever ends by itself."""
    torch.manual_seed(seed)
    tokenizer = byte_level_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        initializer_range=0.25,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_qwen(folder: Path) -> Path:
    """A Qwen2 with tied embeddings, biases, a padded vocabulary, a chat template and two end tokens."""
    torch.manual_seed(1)
    tokenizer = byte_level_tokenizer(chat=True)
    config = Qwen2Config(
        vocab_size=len(tokenizer) + 12,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=1,
        max_position_embeddings=CONTEXT,
        initializer_range=0.25,
        tie_word_embeddings=True,
        use_sliding_window=False,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
    )
    model = Qwen2ForCausalLM(config)
    model.generation_config.eos_token_id = [1, 40]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
