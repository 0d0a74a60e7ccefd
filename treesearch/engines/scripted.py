"""A deterministic engine without a model: for tests, benchmarks and dry runs.

A script is a function (prompt text, seed) -> the solution's text from there to its end; the engine cuts it
at stop strings and `max_tokens` as a model's back end would. One character is one token. Replies depend on
prompt, parameters and seed alone, so a search with this engine is repeatable to the byte. Latency is
simulated with `asyncio.sleep`; faults raise `EngineError` for a seeded share of requests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks.errors import UsageError
from treesearch.engines.base import (
    EngineError,
    EngineUsage,
    FinishReason,
    Sample,
    SamplingParams,
    refuse_distinct,
)
from treesearch.seeds import derive
from treesearch.settings import build

Script = Callable[[str, int], str]
_EOS = 1
_SHIFT = 8  # ids below are special


class CharTokenizer:
    """One token a character; id = code point + 8; the end-of-text token is 1."""

    eos_token_id: int | None = _EOS

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """Code points, shifted; there are no special tokens in front."""
        del special
        return [ord(char) + _SHIFT for char in text]

    def decode(self, token_ids: Sequence[int]) -> str:
        """The characters, special ids left out."""
        return "".join([chr(token - _SHIFT) for token in token_ids if token >= _SHIFT])

    def chat(self, messages: Sequence[dict[str, str]]) -> list[int] | None:
        """None: there is no chat template."""
        del messages


def walk_script(prompt: str, seed: int) -> str:
    """Steps ``step K: D`` for a seeded length of 2 to 6 lines, then ``#### D``; K goes on from the prompt."""
    done = prompt.count("step ")
    bits = mix(seed)
    total = 2 + bits % 5
    lines: list[str] = []
    for index in range(done, max(done, total)):
        bits = mix(bits + index)
        lines.append(f"step {index}: {bits % 10}\n")
    return "".join(lines) + f"#### {mix(bits) % 4}"


def mix(value: int) -> int:
    """A 64-bit mixing function (splitmix64): a cheap, seeded pseudo-random number."""
    value = (value + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return value ^ (value >> 31)


@dataclass(kw_only=True)
class ScriptedEngine:
    """Answers from `script`. `latency_s` is slept per request; `fault_rate` of requests fail, by `seed`.

    A request that failed fails again if it is asked again with the same seed, unless `faults_once`.
    """

    script: Script = walk_script
    latency_s: float = 0.0
    fault_rate: float = 0.0
    faults_once: bool = False
    seed: int = 0
    max_context: int = 1_000_000
    name: str = "scripted"
    model: str = "script"
    tokenizer: CharTokenizer = field(default_factory=CharTokenizer)
    usage: EngineUsage = field(default_factory=EngineUsage)

    def __post_init__(self) -> None:
        if not 0 <= self.fault_rate <= 1 or self.latency_s < 0:
            raise UsageError("fault_rate must be in [0, 1] and latency_s at least 0")
        self._failed: set[int] = set()

    async def sample(self, prompt_ids: Sequence[int], n: int, params: SamplingParams) -> list[Sample]:
        """`n` cuts of the script's continuations of the prompt."""
        refuse_distinct(self.name, params.distinct)
        prompt = self.tokenizer.decode(prompt_ids)
        self.usage.requests += 1
        self.usage.prompt_tokens += len(prompt_ids)
        if self.latency_s:
            await asyncio.sleep(self.latency_s)
        self._maybe_fail(prompt, params)
        samples = [self._sample(prompt, mix(params.seed + index), params) for index in range(n)]
        self.usage.generated_tokens += sum(len(sample.token_ids) for sample in samples)
        return samples

    async def logprobs(self, prompt_ids: Sequence[int], completion_ids: Sequence[int]) -> list[float]:
        """A fixed log-probability for every token."""
        del prompt_ids
        return [-0.5] * len(completion_ids)

    async def close(self) -> None:
        """Nothing to free."""

    def _maybe_fail(self, prompt: str, params: SamplingParams) -> None:
        if not self.fault_rate:
            return
        draw = derive(self.seed, "fault", prompt, params.seed)
        if draw % 1_000_000 < self.fault_rate * 1_000_000 and draw not in self._failed:
            if self.faults_once:
                self._failed.add(draw)
            raise EngineError("injected fault")

    def _sample(self, prompt: str, seed: int, params: SamplingParams) -> Sample:
        seed = seed if params.temperature > 0 else 0
        text, finish = self.script(prompt, seed), FinishReason.END
        for stop in params.stop:
            end = text.find(stop)
            if end >= 0:
                text, finish = text[: end + len(stop)], FinishReason.STOP
        ids = [ord(char) + _SHIFT for char in text]
        if finish is FinishReason.END:
            ids.append(_EOS)
        if len(ids) > params.max_tokens:
            ids, finish = ids[: params.max_tokens], FinishReason.LENGTH
            text = text[: params.max_tokens]
        logprob = -0.01 - (mix(seed ^ len(text)) % 1000) / 1000
        certainty = (1.0 - logprob,) * len(ids) if params.certainty else ()
        return Sample(
            token_ids=tuple(ids),
            text=text,
            logprobs=(logprob,) * len(ids),
            finish=finish,
            certainty=certainty,
        )


@dataclass(frozen=True, kw_only=True)
class ScriptedOptions:
    """Settings of `ScriptedEngine` by name; see there."""

    latency_s: float = 0.0
    fault_rate: float = 0.0
    faults_once: bool = False
    seed: int = 0


def open_engine(model: str, settings: dict[str, Any]) -> ScriptedEngine:
    """The engine by name, with `settings` of `ScriptedOptions`; the model's name is only recorded."""
    options = build(ScriptedOptions, settings, what="engine")
    return ScriptedEngine(
        model=model,
        latency_s=options.latency_s,
        fault_rate=options.fault_rate,
        faults_once=options.faults_once,
        seed=options.seed,
    )
