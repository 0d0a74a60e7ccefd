"""Samples with self-certainty out of vLLM, which gives the log-probabilities of a whole vocabulary.

Contract: `sample_with_certainty` gives the samples that the same request without certainty would, with
`Sample.certainty` as the transformers engine computes it (`hf_sampling`): the mean over the vocabulary of
KL(uniform || p) = -log V - mean_j log p_j, in nats (Kang et al. 2025, arXiv 2502.18581).

Each sample is a request of its own, read as it is written, with the seed that it would have as one of n; stop
strings are found here (`hf_stops`). vLLM would look for them in decoded text, and would then decode every
entry of the vocabulary with every token. It still hands over the vocabulary's numbers with every token and
keeps them until the sample ends: about 100 bytes times vocabulary times tokens. That is fine for a vocabulary
of a few thousand or for a few short steps, and too much for a large run over a vocabulary of 150,000.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any

import numpy as np

from treesearch.engines.base import EngineError, FinishReason, Sample
from treesearch.engines.hf_stops import MAYBE, StopTables
from treesearch.engines.hf_tokenizer import HFTokenizer
from treesearch.engines.vllm_args import import_vllm
from treesearch.engines.vllm_client import VLLMClient

_LOG_TINY = math.log(float(np.finfo(np.float32).tiny))


async def sample_with_certainty(
    client: VLLMClient,
    prompt: list[int],
    asked: Any,
    *,
    stop: tuple[str, ...],
    end_ids: Collection[int],
    tokenizer: HFTokenizer,
) -> list[Sample]:
    """The samples of the request `asked` (vLLM's parameters), all at once."""
    stops = StopTables(tokenizer, vocabulary=client.vocabulary, end_ids=())
    readers = [_Reader(client, stops, stop, end_ids, tokenizer) for _ in range(asked.n)]
    tasks = [
        asyncio.ensure_future(client.request(prompt, _one(asked, number), reader.read, counted=number > 0))
        for number, reader in enumerate(readers)
    ]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()


def certainty_of(logprobs: Sequence[float]) -> float:
    """Mean of KL(uniform || p) for the log-probabilities of a whole vocabulary, in nats, at least 0."""
    mean = float(np.maximum(np.asarray(logprobs, dtype=np.float64), _LOG_TINY).mean())
    return max(0.0, -math.log(len(logprobs)) - mean)


def _one(asked: Any, number: int) -> Any:
    """vLLM's parameters of sample `number` alone."""
    alone = asked.clone()
    alone.n, alone.seed = 1, asked.seed + number
    alone.stop, alone.detokenize = [], False
    alone.logprobs, alone.flat_logprobs = -1, True
    alone.output_kind = import_vllm("vllm.sampling_params").RequestOutputKind.DELTA
    return alone


class _Reader:
    """Makes a sample of one request's outputs; ends the request where a stop string is complete."""

    def __init__(
        self,
        client: VLLMClient,
        stops: StopTables,
        stop: tuple[str, ...],
        end_ids: Collection[int],
        tokenizer: HFTokenizer,
    ) -> None:
        self._client, self._stops, self._stop = client, stops, stop
        self._end_ids, self._tokenizer = end_ids, tokenizer
        self._token_ids: list[int] = []
        self._logprobs: list[float] = []
        self._certainty: list[float] = []

    async def read(self, outputs: AsyncIterator[Any]) -> Sample:
        """The sample; what was taken of it is counted in any case."""
        try:
            return self._sample(await self._finish(outputs))
        finally:
            self._client.usage.generated_tokens += len(self._token_ids)

    async def _finish(self, outputs: AsyncIterator[Any]) -> FinishReason:
        """Take tokens in until the sample ends; why it does."""
        async for output in outputs:
            completion = output.outputs[0]
            for position, token in enumerate(completion.token_ids):
                self._take(token, completion.logprobs, position)
                if token not in self._end_ids and self._stopped():
                    return FinishReason.STOP
            if completion.finish_reason == "length":
                return FinishReason.LENGTH
            if completion.finish_reason == "stop":
                return FinishReason.END if self._token_ids[-1] in self._end_ids else FinishReason.STOP
            if completion.finish_reason is not None:
                raise EngineError(f"vLLM ended a sample with {completion.finish_reason!r}")
        raise EngineError("vLLM ended the request without an answer")

    def _take(self, token: int, flat: Any, position: int) -> None:
        """Note a token: vLLM puts its log-probability in front of those of the vocabulary."""
        values = flat.logprobs[flat.start_indices[position] : flat.end_indices[position]]
        self._token_ids.append(token)
        self._logprobs.append(min(0.0, values[0]))
        self._certainty.append(certainty_of(values[1:]))

    def _stopped(self) -> bool:
        """Whether the last token completed a stop string."""
        if not self._stop:
            return False
        table = self._stops.number(self._stop, ())
        codes = self._stops.classify(np.array([table]), np.array(self._token_ids[-1:]))
        return bool(codes[0] == MAYBE) and self._stops.completed(table, self._token_ids)

    def _sample(self, finish: FinishReason) -> Sample:
        return Sample(
            token_ids=tuple(self._token_ids),
            text=self._tokenizer.continuation(self._token_ids),
            logprobs=tuple(self._logprobs),
            finish=finish,
            certainty=tuple(self._certainty),
        )
