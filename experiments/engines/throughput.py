"""How fast is the in-process engine against plain `model.generate` on the same prompts?

Run: `python experiments/engines/throughput.py [--dtype float32] [--rounds 3] [--out FILE]`. The model has
random weights in the shape of the one that ships (Llama, hidden 256, 5 layers, vocabulary 1024, 4 million
parameters). Nothing is read from the prefix store but in `tree`. Each figure is the median over rounds of
tokens/s of the engine divided by that of `generate` in the same round, as the machine may be shared; both use
the same number of threads.

- `uniform`: 128 prompts of 40 tokens, 35 new tokens each, all at once; `generate` on one batch.
- `ragged`: 256 prompts of 20 to 60 tokens arriving over time with 5 to 65 new tokens each, at most 128 at a
  time; `generate` on batches of 128 in order of arrival, each until its longest is done, padding not counted.
- `samples`: 32 prompts, 4 samples each; `generate` with `num_return_sequences=4`.
- `tree`: 64 chains of 4 steps of 35 tokens, the next prompt being the last one and its step; `generate` on
  the 64 prompts of each level in turn.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from treesearch.engines.base import SamplingParams
from treesearch.engines.transformers import TransformersEngine

VOCABULARY = 1024
NEW = 35
Prompts = list[list[int]]


def write_model(folder: Path) -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=5,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=None,
        pad_token_id=1,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = ["<s>", "<pad>", *alphabet, *(f"{a}{b}" for a in alphabet for b in alphabet)][:VOCABULARY]
    tokenizer = Tokenizer(models.BPE({piece: number for number, piece in enumerate(pieces)}, merges=[]))
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", pad_token="<pad>").save_pretrained(
        folder
    )


def draw_prompts(rng: random.Random, lengths: list[int]) -> Prompts:
    return [[rng.randrange(2, VOCABULARY) for _ in range(length)] for length in lengths]


def generate(model: LlamaForCausalLM, prompts: Prompts, new: int, n: int = 1) -> torch.Tensor:
    """Left-padded batch through `generate`, exactly `new` tokens each."""
    width = max(map(len, prompts))
    ids = torch.tensor([[1] * (width - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    with torch.inference_mode():
        return model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=new,
            do_sample=True,
            top_k=0,
            num_return_sequences=n,
        )


def params(new: int, seed: int) -> SamplingParams:
    return SamplingParams(max_tokens=new, seed=seed)


class Bench:
    """The four workloads; each returns (tokens, seconds) of the engine and of `generate`."""

    def __init__(self, engine: TransformersEngine, model: LlamaForCausalLM, seed: int) -> None:
        self.engine, self.model, self.rng = engine, model, random.Random(seed)

    async def uniform(self) -> list[float]:
        prompts = draw_prompts(self.rng, [40] * 128)
        ours = await self.timed(
            lambda: asyncio.gather(*(self.engine.sample(p, 1, params(NEW, i)) for i, p in enumerate(prompts)))
        )
        return [128 * NEW / ours, 128 * NEW / timed(lambda: generate(self.model, prompts, NEW))]

    async def ragged(self) -> list[float]:
        prompts = draw_prompts(self.rng, [self.rng.randrange(20, 61) for _ in range(256)])
        news = [self.rng.randrange(5, 66) for _ in prompts]

        async def one(number: int) -> None:
            await asyncio.sleep(number * 0.002)
            await self.engine.sample(prompts[number], 1, params(news[number], number))

        ours = await self.timed(lambda: asyncio.gather(*(one(i) for i in range(256))))

        def plain() -> None:
            for at in (0, 128):
                generate(self.model, prompts[at : at + 128], max(news[at : at + 128]))

        return [sum(news) / ours, sum(news) / timed(plain)]

    async def samples(self) -> list[float]:
        prompts = draw_prompts(self.rng, [40] * 32)
        ours = await self.timed(
            lambda: asyncio.gather(*(self.engine.sample(p, 4, params(NEW, i)) for i, p in enumerate(prompts)))
        )
        return [128 * NEW / ours, 128 * NEW / timed(lambda: generate(self.model, prompts, NEW, 4))]

    async def tree(self) -> list[float]:
        prompts = draw_prompts(self.rng, [40] * 64)

        async def chain(number: int) -> None:
            path = prompts[number]
            for level in range(4):
                sample = (await self.engine.sample(path, 1, params(NEW, 4 * number + level)))[0]
                path = [*path, *sample.token_ids]

        ours = await self.timed(lambda: asyncio.gather(*(chain(i) for i in range(64))))

        def plain() -> None:
            paths = prompts
            for _ in range(4):
                paths = generate(self.model, paths, NEW).tolist()

        return [64 * 4 * NEW / ours, 64 * 4 * NEW / timed(plain)]

    async def timed(self, work: Callable[[], Awaitable[object]]) -> float:
        begun = time.perf_counter()
        await work()
        return time.perf_counter() - begun


def timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


async def measure(dtype: str, rounds: int, threads: int) -> dict[str, object]:
    torch.set_num_threads(threads)
    result: dict[str, object] = {"dtype": dtype, "threads": threads, "rounds": rounds}
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder))
        model = LlamaForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
        engine = TransformersEngine.open(folder, device="cpu", dtype=dtype, threads=threads)
        bench = Bench(engine, model, seed=1)
        await bench.uniform()  # warm-up of both
        for name in ("uniform", "ragged", "samples", "tree"):
            pairs = [await getattr(bench, name)() for _ in range(rounds)]
            result[name] = {
                "engine_tokens_per_s": round(statistics.median(pair[0] for pair in pairs)),
                "generate_tokens_per_s": round(statistics.median(pair[1] for pair in pairs)),
                "ratio": round(statistics.median(pair[0] / pair[1] for pair in pairs), 2),
                "ratios": [round(pair[0] / pair[1], 2) for pair in pairs],
            }
        await engine.close()
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    text = json.dumps(asyncio.run(measure(args.dtype, args.rounds, args.threads)), indent=2)
    print(text)
    if args.out:
        args.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
