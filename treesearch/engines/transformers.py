"""The engine that runs a `transformers` model in this process, with continuous batching.

Contract: that of `treesearch.engines.base`. One thread owns the model (`hf_worker`), so the event loop never
waits for it; requests of all trees share one batch, which they join and leave between tokens (`hf_batch`). A
prompt is run once for its n samples, and the keys and values of finished samples are kept, so that the
prompt of a child node needs no pass of its own. Several event loops may use one engine, also at once.

Beyond the base contract: `Sample.text` is decoded as the go-on of a text (see `hf_tokenizer`). A token that
completes a stop string ends the sample and stays in it whole, text after the stop string included.
`max_tokens` is cut to what the context has left, with `FinishReason.LENGTH`. Tokens that `logprobs` scores
count as prompt tokens. The generation config's end-of-text ids are used, its sampling settings are not. An
empty prompt becomes the begin-of-text token, or the end-of-text token where there is none.

It does not shard a model over devices or page its memory.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tasks.errors import MissingPrerequisiteError, UsageError
from treesearch.engines.base import EngineError, EngineUsage, Sample, SamplingParams
from treesearch.settings import build

try:
    from treesearch.engines.hf_batch import Batch
    from treesearch.engines.hf_cpu import fit_to_cpu
    from treesearch.engines.hf_decoder import Decoder
    from treesearch.engines.hf_load import check_model, context_of, end_ids_of, load, weights_hash
    from treesearch.engines.hf_prefix import PrefixStore
    from treesearch.engines.hf_rows import SampleRequest
    from treesearch.engines.hf_stops import StopTables
    from treesearch.engines.hf_tokenizer import HFTokenizer
    from treesearch.engines.hf_worker import Request, ScoreRequest, Worker
except ModuleNotFoundError as error:
    raise MissingPrerequisiteError(
        f"the transformers engine needs torch and transformers ({error}); "
        "run: pip install 'treesearch-toolkit[local]'"
    ) from error


@dataclass(frozen=True, kw_only=True)
class TransformersOptions:
    """Settings of `TransformersEngine`.

    `device`: auto (CUDA where there is one), cpu, cuda, cuda:N. `dtype`: auto, float32, bfloat16, float16.
    `max_sequences`: samples written at a time; memory is taken as they come. `max_context`: most tokens of
    prompt and completion, 0 for the model's own. `prefix_cache_mb`: memory for keys and values of finished
    samples, 0 for none. `threads`: torch threads on a CPU; 0 is one fewer than the process may use, for the
    event loop, since a thread that lacks a core of its own stalls all others at every operation.
    """

    device: str = "auto"
    dtype: str = "auto"
    max_sequences: int = 128
    max_context: int = 0
    prefix_cache_mb: int = 512
    threads: int = 0

    def __post_init__(self) -> None:
        if self.max_sequences < 1:
            raise UsageError(f"max_sequences must be at least 1, got {self.max_sequences}")
        for name in ("max_context", "prefix_cache_mb", "threads"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} must be at least 0, got {getattr(self, name)}")


class TransformersEngine:
    """`Engine` over a `transformers` model; made by `open`, or from a loaded model and its tokenizer.

    A model handed in must be in evaluation mode and be left alone while the engine is open. `model_hash` is
    that of `hf_load.weights_hash`, empty for a model handed in; `device` and `dtype` are those in use.
    """

    name = "transformers"
    gives_distinct = True

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        options: TransformersOptions | None = None,
        source: str = "",
        model_hash: str = "",
    ) -> None:
        options = options or TransformersOptions()
        check_model(model)
        self.model = source or str(model.config.name_or_path)
        self.model_hash = model_hash
        self.options = options
        self.tokenizer = HFTokenizer(tokenizer)
        self.usage = EngineUsage()
        context = context_of(model.config)
        self.max_context = min(context, options.max_context or context)
        decoder = Decoder(model, max_rows=options.max_sequences)
        self._vocabulary = decoder.vocabulary
        self.device = str(decoder.device)
        self.dtype = str(decoder.dtype).removeprefix("torch.")
        batch = Batch(
            decoder,
            StopTables(self.tokenizer, vocabulary=decoder.vocabulary, end_ids=end_ids_of(model, tokenizer)),
            PrefixStore(limit_bytes=options.prefix_cache_mb * 1_000_000),
            max_rows=options.max_sequences,
            max_context=self.max_context,
            text=self.tokenizer.continuation,
        )
        threads = (options.threads or default_threads()) if decoder.device.type == "cpu" else 0
        self._worker = Worker(decoder, batch, self.usage, threads=threads)

    @classmethod
    def open(
        cls,
        model: str,
        *,
        device: str = "auto",
        dtype: str = "auto",
        max_sequences: int = 128,
        max_context: int = 0,
        prefix_cache_mb: int = 512,
        threads: int = 0,
    ) -> TransformersEngine:
        """Load a local folder or hub id; the settings are those of `TransformersOptions`.

        Raises `UsageError` for a folder or setting that is wrong, `MissingPrerequisiteError` for a model
        or device that is not there.
        """
        options = TransformersOptions(
            device=device,
            dtype=dtype,
            max_sequences=max_sequences,
            max_context=max_context,
            prefix_cache_mb=prefix_cache_mb,
            threads=threads,
        )
        loaded, tokenizer = load(model, device=device, dtype=dtype)
        engine = cls(loaded, tokenizer, options=options, source=model, model_hash=weights_hash(model))
        fit_to_cpu(loaded)
        return engine

    async def sample(self, prompt_ids: Sequence[int], n: int, params: SamplingParams) -> list[Sample]:
        """Generate `n` samples of one prompt as one request."""
        _check_params(n, params)
        if params.distinct and n > self.options.max_sequences:
            raise UsageError(
                f"{n} samples without replacement are written at once, and max_sequences is "
                f"{self.options.max_sequences}; ask for fewer, or open the engine with more"
            )
        prompt = self._checked(prompt_ids)
        room = self.max_context - len(prompt)
        if room < 1:
            raise EngineError(
                f"the prompt has {len(prompt)} tokens and leaves no room in a context of {self.max_context}; "
                "shorten it, or end the path earlier (fewer or shorter steps)"
            )
        limit = min(params.max_tokens, room)
        return await self._ask(SampleRequest(prompt=prompt, n=n, params=params, limit=limit))

    async def logprobs(self, prompt_ids: Sequence[int], completion_ids: Sequence[int]) -> list[float]:
        """Log-probability of every token of a completion after the prompt, at temperature 1."""
        if not completion_ids:
            return []
        request = ScoreRequest(prompt=self._checked(prompt_ids), completion=self._checked(completion_ids))
        if request.size > self.max_context:
            raise EngineError(
                f"prompt and completion have {request.size} tokens, more than the context of "
                f"{self.max_context}; score a shorter text"
            )
        return await self._ask(request)

    async def close(self) -> None:
        """End the thread once its pass is over; open requests fail with `EngineError`."""
        await asyncio.to_thread(self._worker.close)

    async def _ask(self, request: Request) -> Any:
        """Wait for a reply; let the request go if the caller is cancelled."""
        future = self._worker.submit(request)
        try:
            return await future
        except asyncio.CancelledError:
            self._worker.cancel(request)
            raise

    def _checked(self, token_ids: Sequence[int]) -> tuple[int, ...]:
        return self.tokenizer.checked(token_ids, self._vocabulary)


def open_engine(model: str, settings: dict[str, Any]) -> TransformersEngine:
    """A `transformers` model in this process; `settings` of `TransformersOptions`."""
    return TransformersEngine.open(model, **asdict(build(TransformersOptions, settings, what="engine")))


def default_threads() -> int:
    """One fewer than the processors that this process may use, at least one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores - 1)


def _check_params(n: int, params: SamplingParams) -> None:
    """Raise `UsageError` for parameters outside their ranges."""
    problems = {
        f"n must be at least 1, got {n}": n < 1,
        f"max_tokens must be at least 1, got {params.max_tokens}": params.max_tokens < 1,
        f"temperature must be at least 0, got {params.temperature}": not params.temperature >= 0,
        f"top_p must be in (0, 1], got {params.top_p}": not 0 < params.top_p <= 1,
        f"top_k must be at least 0 (0 is off), got {params.top_k}": params.top_k < 0,
        "a stop string must not be empty": "" in params.stop,
        "samples without replacement need a temperature above 0": params.distinct and not params.temperature,
    }
    for problem, found in problems.items():
        if found:
            raise UsageError(problem)
