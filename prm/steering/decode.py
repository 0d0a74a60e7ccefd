"""Writing the samples of one request, each next token steered by a value.

Contract: `SteeredDecoder.run` writes `n` samples of a prompt, at most `max_rows` side by side, all of one
length. What the value reads at every place counts as generated beside the tokens written
(`Sample.generated_tokens` of the first sample has the request's sum). The prompt goes through the model once
for each such batch. Tokens are drawn from the steered distribution under the request's temperature, top-p and
top-k, each row by its own random stream; log-probabilities and certainty are those of the base model at
temperature 1. A request that is cancelled ends before its next token with `Gone`; what was written until then
is counted.

It runs in one thread and does not queue or deliver.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from prm.steering.logits import steer
from prm.steering.options import Others
from prm.steering.values import Ids, TokenValue
from treesearch.engines.base import EngineError, EngineUsage, FinishReason, Sample, SamplingParams
from treesearch.engines.hf_decoder import Decoder
from treesearch.engines.hf_sampling import SamplingPlan, certainties, sample_tokens, stream_key, uniforms
from treesearch.engines.hf_stops import END, MAYBE, STOP, StopTables


class Gone(Exception):
    """The request was cancelled, or the engine is closing."""


@dataclass(eq=False, kw_only=True)
class SteeredRequest:
    """`n` samples of a prompt, at most `limit` tokens each; `cancelled` may be set from another thread."""

    prompt: Ids
    n: int
    params: SamplingParams
    limit: int
    cancelled: bool = False


@dataclass(eq=False, kw_only=True)
class _Row:
    """Sample `number` being written."""

    number: int
    key: int
    tokens: list[int] = field(default_factory=list[int])
    logprobs: list[float] = field(default_factory=list[float])
    certainty: list[float] = field(default_factory=list[float])


@dataclass(kw_only=True)
class SteeredDecoder:
    """See the module. `beta` times the value is added to the `top_k` likeliest tokens of the base model."""

    decoder: Decoder
    stops: StopTables
    value: TokenValue
    beta: float
    top_k: int
    others: Others
    max_rows: int
    text: Callable[[Sequence[int]], str]
    usage: EngineUsage

    def run(self, request: SteeredRequest) -> list[Sample]:
        """The samples of a request; `Gone` where it was cancelled. Call under `torch.inference_mode`."""
        self.usage.prompt_tokens += len(request.prompt)
        samples: list[Sample] = []
        for first in range(0, request.n, self.max_rows):
            numbers = range(first, min(request.n, first + self.max_rows))
            samples.extend(self._batch(request, numbers))
        taken = sum(len(sample.token_ids) for sample in samples) * self.price
        return [replace(samples[0], generated_tokens=taken), *samples[1:]]

    @property
    def price(self) -> int:
        """Tokens that one written token takes: itself, and what the value reads to choose it."""
        width = min(self.top_k, self.decoder.vocabulary)
        return 1 + (self.value.reads(width) if self.beta else 0)

    def _batch(self, request: SteeredRequest, numbers: range) -> list[Sample]:
        """Samples `numbers` of the request, in order."""
        body = request.prompt[:-1]
        if body:
            self.decoder.prefill(0, [body])
            copies = list(range(1, len(numbers)))
            if copies:
                self.decoder.cache.reserve(rows=len(numbers), length=len(body))
                self.decoder.cache.copy_rows(source=[0] * len(copies), target=copies, length=len(body))
        watch = self.value.begin(request.prompt, len(numbers)) if self.beta else None
        rows = [_Row(number=number, key=stream_key(request.params.seed, number)) for number in numbers]
        inputs, held, done = [request.prompt[-1]] * len(rows), len(body), dict[int, Sample]()
        while rows:
            if request.cancelled:
                raise Gone
            logits = self.decoder.decode(np.array(inputs), np.full(len(rows), held)).float()
            candidates = logits.topk(min(self.top_k, logits.shape[-1]), dim=-1).indices
            values = self._scaled(watch.values(candidates)) if watch else torch.zeros(candidates.shape)
            steered = steer(logits, candidates, values.to(logits.device), others=self.others)
            inputs = self._draw(request, rows, logits, steered)
            held += 1
            going: list[int] = []
            for at, row in enumerate(rows):
                reason = self._reason(request, row)
                if reason is None:
                    going.append(at)
                else:
                    done[row.number] = self._sample(row, reason)
            if watch:
                watch.write(inputs)
            if 0 < len(going) < len(rows):
                self.decoder.cache.copy_rows(source=going, target=range(len(going)), length=held)
                if watch:
                    watch.keep(going)
            rows, inputs = [rows[at] for at in going], [inputs[at] for at in going]
        return [done[number] for number in numbers]

    def _scaled(self, values: torch.Tensor) -> torch.Tensor:
        if not bool(torch.isfinite(values).all()):
            raise EngineError("the value gives a number that is not finite; steering with it is not possible")
        return self.beta * values.double()

    def _draw(
        self, request: SteeredRequest, rows: Sequence[_Row], logits: torch.Tensor, steered: torch.Tensor
    ) -> list[int]:
        """One token for every row, noted with its probability under the base model."""
        params, count = request.params, len(rows)
        plan = SamplingPlan.of(
            temperature=np.full(count, params.temperature, dtype=np.float32),
            top_k=np.full(count, params.top_k),
            top_p=np.full(count, params.top_p, dtype=np.float32),
            certainty=False,
            vocabulary=logits.shape[-1],
            device=logits.device,
        )
        keys = np.array([row.key for row in rows], dtype=np.uint64)
        uniform = uniforms(keys, np.full(count, len(rows[0].tokens)))
        tokens, _, _ = sample_tokens(steered, plan, torch.from_numpy(uniform).to(logits.device))
        base = torch.log_softmax(logits, dim=-1)
        chosen: list[float] = base.gather(-1, tokens[:, None])[:, 0].tolist()
        certain: list[float] = certainties(base).tolist() if params.certainty else []
        written: list[int] = tokens.tolist()
        for at, row in enumerate(rows):
            row.tokens.append(written[at])
            row.logprobs.append(chosen[at])
            row.certainty.extend(certain[at : at + 1])
        self.usage.generated_tokens += count * self.price
        return written

    def _reason(self, request: SteeredRequest, row: _Row) -> FinishReason | None:
        """Why a row ends with its last token, None where it goes on."""
        table = self.stops.number(request.params.stop, request.params.stop_token_ids)
        (code,) = self.stops.classify(np.array([table]), np.array(row.tokens[-1:])).tolist()
        if code == END:
            return FinishReason.END
        if code == STOP or (code == MAYBE and self.stops.completed(table, row.tokens)):
            return FinishReason.STOP
        return FinishReason.LENGTH if len(row.tokens) >= request.limit else None

    def _sample(self, row: _Row, finish: FinishReason) -> Sample:
        return Sample(
            token_ids=tuple(row.tokens),
            text=self.text(row.tokens),
            logprobs=tuple(min(0.0, each) for each in row.logprobs),
            finish=finish,
            certainty=tuple(row.certainty),
        )
