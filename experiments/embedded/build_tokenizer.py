"""Train the embedded model's tokenizer: byte-level BPE with base-100 numbers, saved as a Hugging Face folder.

Numbers are cut into chunks of two digits from the right (125 -> 1 25), so that a chunk always stands for
the same power of a hundred; a newline is a token of its own, so that a step ends on a token boundary; the
words of countdown steps get one token each. Any text can be encoded (bytes are the fallback).

    python experiments/embedded/build_tokenizer.py OUT_FOLDER
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from tasks import countdown, generator

VOCAB_SIZE = 1024
PIECES = Regex(r"\n| \(left:|####| ?\d{1,2}(?=(?:\d{2})*(?!\d))| ?[A-Za-z]+| ?[^\sA-Za-z\d]|\s")


def corpus() -> Iterator[str]:
    """Text of training problems, and every one- and two-digit chunk often enough to become a token."""
    chunks = [*map(str, range(10)), *(f"{n:02}" for n in range(100))]
    for _ in range(300):
        yield "\n".join(chunk for chunk in chunks)
        yield "".join(f"\n {chunk}" for chunk in chunks)
    for seed in range(20_000):
        worked = generator.generate(seed, split="train", difficulty=generator.HARD)
        yield "\n".join([worked.question, *worked.steps])
    for seed in range(3_000):
        puzzle = countdown.generate(seed, split="train")
        yield "\n".join([puzzle.question, *puzzle.steps])


def build() -> PreTrainedTokenizerFast:
    """The tokenizer; texts get `<s>` in front, as Llama models do."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(PIECES, behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<pad>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        model_max_length=512,
        clean_up_tokenization_spaces=False,
    )


if __name__ == "__main__":
    out = Path(sys.argv[1])
    build().save_pretrained(out)
    print(f"saved to {out}")
