"""The engine `steered`: a `transformers` model whose next token is steered by a value, without training it.

    search solve --engine steered --policy FOLDER --set engine.value=PRM_FOLDER --set engine.beta=3

Contract: that of `treesearch.engines.base`; `prm.steering.logits` has the formula. Several values are
composed: ``engine.value=A;B`` with ``engine.weights=1;0.5`` is beta (V_A + 0.5 V_B). `Sample.logprobs`,
certainty and `logprobs` are those of the base model at temperature 1, not of the steered distribution:
priors stay the policy's own, and the value is not counted twice. Requests run one after another, the n
samples of one side by side, in one thread. `max_tokens` is cut to what the context has left. Prompts that
are empty become the begin-of-text token. What the value reads to choose a token counts as generated, beside
the token (`tokens_each` is what a written token takes), so that a budget holds for both.

It keeps no prefixes between requests and is slower than the plain engine, by the value's passes and the lack
of batching over requests. From Python any function of token sequences steers (`SteeredEngine(...,
value=function)`).

Sources: Value Augmented Sampling (arXiv 2405.06639); Transfer Q* (arXiv 2405.20495).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from prm.steering.options import SteeringOptions
from tasks.errors import MissingPrerequisiteError, UsageError
from treesearch.engines.base import EngineError, EngineUsage, Sample, SamplingParams, refuse_distinct
from treesearch.settings import build

try:
    import torch

    from prm.scoring.options import ScoringOptions
    from prm.steering.decode import Gone, SteeredDecoder, SteeredRequest
    from prm.steering.prm import PRMTokenValue
    from prm.steering.values import FunctionValue, Mixed, SequenceValue, TokenValue
    from treesearch.engines.hf_decoder import Decoder
    from treesearch.engines.hf_load import check_model, context_of, end_ids_of, load, weights_hash
    from treesearch.engines.hf_stops import StopTables
    from treesearch.engines.hf_tokenizer import HFTokenizer
    from treesearch.engines.transformers import default_threads
except ModuleNotFoundError as error:
    raise MissingPrerequisiteError(
        f"the steered engine needs torch and transformers ({error}); "
        "run: pip install 'treesearch-toolkit[local]'"
    ) from error

T = TypeVar("T")
_CLOSED = "the engine is closed; open a new one"


class SteeredEngine:
    """`Engine` over a loaded `transformers` model and a value; `open_engine` loads both.

    `value` is a `TokenValue`, or a function from token sequences, prompt included, to one number each. The
    models must be in evaluation mode and be left alone while the engine is open.
    """

    name = "steered"

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        value: TokenValue | SequenceValue,
        *,
        options: SteeringOptions | None = None,
        source: str = "",
        model_hash: str = "",
    ) -> None:
        self.options = options or SteeringOptions()
        check_model(model)
        steering = value if isinstance(value, TokenValue) else FunctionValue(value)
        self.model = source or str(model.config.name_or_path)
        self.model_hash = "+".join([each for each in (model_hash, steering.model_hash) if each])
        self.tokenizer = HFTokenizer(tokenizer)
        self.usage = EngineUsage()
        self.max_context = min(_contexts(model, steering, self.options.max_context))
        self._decoder = Decoder(model, max_rows=self.options.max_sequences)
        self._steered = SteeredDecoder(
            decoder=self._decoder,
            stops=StopTables(
                self.tokenizer, vocabulary=self._decoder.vocabulary, end_ids=end_ids_of(model, tokenizer)
            ),
            value=steering,
            beta=self.options.beta,
            top_k=self.options.top_k,
            others=self.options.others,
            max_rows=self.options.max_sequences,
            text=self.tokenizer.continuation,
            usage=self.usage,
        )
        self.tokens_each = self._steered.price
        self._open: set[SteeredRequest] = set()
        self._closed = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="steered-engine", initializer=self._begin)

    def _begin(self) -> None:
        """What the thread does first."""
        if self._decoder.device.type == "cpu":
            torch.set_num_threads(self.options.threads or default_threads())

    async def sample(self, prompt_ids: Sequence[int], n: int, params: SamplingParams) -> list[Sample]:
        """Generate `n` samples of one prompt as one request."""
        _check(n, params)
        refuse_distinct(self.name, params.distinct)
        prompt = self._checked(prompt_ids)
        room = self.max_context - len(prompt)
        if room < 1:
            raise EngineError(
                f"the prompt has {len(prompt)} tokens and leaves no room in a context of {self.max_context}; "
                "shorten it, or end the path earlier (fewer or shorter steps)"
            )
        limit = min(params.max_tokens, room)
        request = SteeredRequest(prompt=prompt, n=n, params=params, limit=limit)
        self._open.add(request)
        try:
            return await self._ask(lambda: self._steered.run(request))
        finally:
            request.cancelled = True
            self._open.discard(request)

    async def logprobs(self, prompt_ids: Sequence[int], completion_ids: Sequence[int]) -> list[float]:
        """Log-probability of every token of a completion under the base model, at temperature 1."""
        if not completion_ids:
            return []
        prompt, completion = self._checked(prompt_ids), self._checked(completion_ids)
        size = len(prompt) + len(completion)
        if size > self.max_context:
            raise EngineError(
                f"prompt and completion have {size} tokens, more than the context of {self.max_context}; "
                "score a shorter text"
            )

        def score() -> list[float]:
            self.usage.prompt_tokens += size
            (found,) = self._decoder.score([prompt], [completion])
            return [min(0.0, each) for each in found]

        return await self._ask(score)

    async def close(self) -> None:
        """End the thread after the token under way; open requests fail with `EngineError`."""
        self._closed = True
        for request in self._open:
            request.cancelled = True
        await asyncio.to_thread(self._thread.shutdown, wait=True, cancel_futures=True)

    async def _ask(self, work: Callable[[], T]) -> T:
        """Run `work` in the engine's thread; a failure of the model is an `EngineError`."""
        if self._closed:
            raise EngineError(_CLOSED)
        self.usage.requests += 1

        def guarded() -> T:
            with torch.inference_mode():
                return work()

        task = asyncio.current_task()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, guarded)
        except asyncio.CancelledError:
            if self._closed and not (task and task.cancelling()):
                raise EngineError("the engine was closed while the request was under way") from None
            raise
        except Gone:
            raise EngineError("the engine was closed while the request was under way") from None
        except (EngineError, UsageError):
            raise
        except Exception as cause:
            raise EngineError(
                f"the model failed ({cause!r}); if memory ran out, open the engine with a smaller "
                "max_sequences or max_context"
            ) from cause

    def _checked(self, token_ids: Sequence[int]) -> tuple[int, ...]:
        return self.tokenizer.checked(token_ids, self._decoder.vocabulary)


def open_engine(model: str, settings: dict[str, Any]) -> SteeredEngine:
    """A `transformers` model steered by process-reward models; `settings` of `SteeringOptions`."""
    options = build(SteeringOptions, settings, what="engine")
    if not options.folders:
        raise UsageError("the engine 'steered' needs a value: --set engine.value=FOLDER (or A;B for several)")
    scoring = ScoringOptions(device=options.device, dtype=options.dtype)
    values = [PRMTokenValue.open(folder, options=scoring) for folder in options.folders]
    loaded, tokenizer = load(model, device=options.device, dtype=options.dtype)
    for folder, value in zip(options.folders, values, strict=True):
        if value.tokenizer.get_vocab() != tokenizer.get_vocab():
            raise UsageError(
                f"the value model {folder!r} has another vocabulary than the policy {model!r}; steer with "
                "one trained on the policy's own tokenizer"
            )
    mixed = Mixed(list(zip(options.scales, values, strict=True)))
    return SteeredEngine(
        loaded, tokenizer, mixed, options=options, source=model, model_hash=weights_hash(model)
    )


def _contexts(model: Any, value: TokenValue, limit: int) -> list[int]:
    """What bounds the length of a text: the model, the option, and the value's models."""
    parts = [part for _, part in value.parts] if isinstance(value, Mixed) else [value]
    contexts = [part.max_context for part in parts if isinstance(part, PRMTokenValue)]
    return [context_of(model.config), *contexts, *([limit] if limit else [])]


def _check(n: int, params: SamplingParams) -> None:
    """Raise `UsageError` for parameters outside their ranges."""
    problems = {
        f"n must be at least 1, got {n}": n < 1,
        f"max_tokens must be at least 1, got {params.max_tokens}": params.max_tokens < 1,
        f"temperature must be at least 0, got {params.temperature}": not params.temperature >= 0,
        f"top_p must be in (0, 1], got {params.top_p}": not 0 < params.top_p <= 1,
        f"top_k must be at least 0 (0 is off), got {params.top_k}": params.top_k < 0,
        "a stop string must not be empty": "" in params.stop,
    }
    for problem, found in problems.items():
        if found:
            raise UsageError(problem)
