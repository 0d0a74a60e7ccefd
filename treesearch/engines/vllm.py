"""The engine that runs a model with vLLM in this process: continuous batching, paged memory, several GPUs.

Contract: that of `treesearch.engines.base`. Prompts are token ids, n samples are one request, and vLLM keeps
the keys and values of what was asked before, so that a child of a finished sample needs no pass over its
prompt. Every engine argument of vLLM can be given (`vllm_args`). Several event loops may use one engine, also
at once (`vllm_client`).

As with the transformers engine, `Sample.text` is decoded as the go-on of a text, a token that completes a
stop string stays whole, `max_tokens` is cut to what the context has left, the generation config's
end-of-text ids are used and its sampling settings are not, an empty prompt becomes the begin-of-text token,
and tokens that `logprobs` scores count as prompt tokens. Sample i of a request with seed s has vLLM's seed
h(s) + i, with a hash h, so that neighbouring seeds share no sample. Deviations: greedy samples are all the
same, so one is written (and counted in `usage`) and given n times; vLLM raises a temperature between 0 and
0.01 to 0.01 and refuses one above 2; `logprobs` needs one token of the context for itself; the models that
run, and their numbers' precision, are vLLM's.

It does not talk to a vLLM server: that is the `openai` engine.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from types import SimpleNamespace
from typing import Any

from tasks.errors import UsageError
from treesearch.engines.base import EngineError, FinishReason, Sample, SamplingParams, refuse_distinct
from treesearch.engines.vllm_args import import_vllm, one_line
from treesearch.engines.vllm_client import VLLMClient, last_output
from treesearch.seeds import derive
from treesearch.settings import build

_SEEDS = 1 << 62
_FINISH = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH}


@dataclass(frozen=True, kw_only=True)
class VLLMOptions:
    """Settings of `VLLMEngine`.

    `args`: vLLM's own command-line arguments; they win over the other settings. `dtype`: auto (float32 on
    a CPU, else vLLM's choice, mostly bfloat16), float32, bfloat16, float16. `max_context`: most tokens of
    prompt and completion, 0 for the model's own. `certainty`: let requests ask for `Sample.certainty`, for
    which the log-probabilities of the whole vocabulary leave vLLM with every token.
    """

    args: str = ""
    dtype: str = "auto"
    max_context: int = 0
    certainty: bool = False

    def __post_init__(self) -> None:
        if self.max_context < 0:
            raise UsageError(f"max_context must be at least 0, got {self.max_context}")


class VLLMEngine:
    """`Engine` over vLLM; made by `open`.

    `model_hash` is that of `hf_load.weights_hash`, empty for another revision or load format; `dtype` is the
    type of the weights in use; `gives_certainty` is the setting `certainty`.
    """

    name = "vllm"

    def __init__(self, client: VLLMClient, *, model: str, options: VLLMOptions) -> None:
        from treesearch.engines.hf_tokenizer import HFTokenizer

        self._client = client
        self.model = model
        self.model_hash = client.model_hash
        self.options = options
        self.gives_certainty = options.certainty
        self.tokenizer = HFTokenizer(client.tokenizer)
        self.usage = client.usage
        self.max_context = client.max_context
        self.dtype = str(client.model_config.dtype).removeprefix("torch.")
        self._end_ids = _end_ids(client)

    @classmethod
    def open(
        cls,
        model: str,
        *,
        args: str = "",
        dtype: str = "auto",
        max_context: int = 0,
        certainty: bool = False,
    ) -> VLLMEngine:
        """Load a local folder or hub id; the settings are those of `VLLMOptions`. Blocks for a minute or so.

        Raises `UsageError` for a wrong folder, setting or argument, `MissingPrerequisiteError` where vLLM or
        the model is not there, `EngineError` where vLLM does not start.
        """
        options = VLLMOptions(args=args, dtype=dtype, max_context=max_context, certainty=certainty)
        defaults: dict[str, Any] = {"dtype": dtype, "runner": "generate"}
        if max_context:
            defaults["max_model_len"] = max_context
        if certainty:
            defaults["max_logprobs"] = -1
        if import_vllm("vllm.platforms").current_platform.is_cpu():
            # vLLM rewinds the generator of a seeded request whose prompt it cuts in two: a CPU's cannot.
            defaults["enable_chunked_prefill"] = False
            if dtype == "auto":  # as the transformers engine; bfloat16 is emulated where there are no units
                defaults["dtype"] = "float32"
        client = VLLMClient.open(model, args=args, defaults=defaults)
        return cls(client, model=model, options=options)

    async def sample(self, prompt_ids: Sequence[int], n: int, params: SamplingParams) -> list[Sample]:
        """Generate `n` samples of one prompt as one request."""
        if n < 1:
            raise UsageError(f"n must be at least 1, got {n}")
        refuse_distinct(self.name, params.distinct)
        prompt = self._client.check_ids(prompt_ids)
        room = self.max_context - len(prompt)
        if room < 1:
            raise EngineError(
                f"the prompt has {len(prompt)} tokens and leaves no room in a context of {self.max_context}; "
                "shorten it, or end the path earlier (fewer or shorter steps)"
            )
        distinct = n if params.temperature > 0 else 1
        asked = self._asked(distinct, params, limit=min(params.max_tokens, room))
        if params.certainty:
            samples = await self._certain(prompt, params, asked)
        else:
            samples = await self._client.request(prompt, asked, self._read)
        return samples * (n // distinct)

    async def logprobs(self, prompt_ids: Sequence[int], completion_ids: Sequence[int]) -> list[float]:
        """Log-probability of every token of a completion after the prompt, at temperature 1."""
        if not completion_ids:
            return []
        prompt = self._client.check_ids(prompt_ids)
        completion = self._client.check_ids(completion_ids)
        size = len(prompt) + len(completion)
        if size >= self.max_context:
            raise EngineError(
                f"prompt and completion have {size} tokens, and vLLM scores at most {self.max_context - 1} "
                f"in a context of {self.max_context}; score a shorter text"
            )
        asked = _params(max_tokens=1, temperature=0.0, prompt_logprobs=0, detokenize=False)

        async def read(outputs: AsyncIterator[Any]) -> list[float]:
            output = await last_output(outputs)
            if output.prompt_logprobs is None:
                raise EngineError("vLLM gave no log-probabilities; the request was aborted")
            entries = output.prompt_logprobs[len(prompt) :]
            return [min(0.0, entry[token].logprob) for entry, token in zip(entries, completion, strict=True)]

        return await self._client.request([*prompt, *completion], asked, read)

    async def close(self) -> None:
        """End vLLM's processes; open requests fail with `EngineError`."""
        await self._client.close()

    async def _read(self, outputs: AsyncIterator[Any]) -> list[Sample]:
        """The samples of a request, counted whether or not anybody still wants them."""
        completions = (await last_output(outputs)).outputs
        self.usage.generated_tokens += sum(len(completion.token_ids) for completion in completions)
        return [self._sample(completion) for completion in sorted(completions, key=lambda each: each.index)]

    def _sample(self, completion: Any) -> Sample:
        """The sample that vLLM's completion is."""
        token_ids = tuple(completion.token_ids)
        finish = _FINISH.get(completion.finish_reason)
        if finish is None or not token_ids:
            raise EngineError(f"vLLM ended a sample with {completion.finish_reason!r}")
        if token_ids[-1] in self._end_ids:
            finish = FinishReason.END
        entries = zip(completion.logprobs, token_ids, strict=True)
        return Sample(
            token_ids=token_ids,
            text=self.tokenizer.continuation(token_ids),
            logprobs=tuple(min(0.0, entry[token].logprob) for entry, token in entries),
            finish=finish,
        )

    async def _certain(self, prompt: list[int], params: SamplingParams, asked: Any) -> list[Sample]:
        """Samples with `certainty`."""
        from treesearch.engines.vllm_certainty import sample_with_certainty

        if not self.options.certainty:
            raise UsageError(
                "certainty was asked for, but the vllm engine gives it only if it was opened with "
                "certainty=true; add --set engine.certainty=true"
            )
        return await sample_with_certainty(
            self._client, prompt, asked, stop=params.stop, end_ids=self._end_ids, tokenizer=self.tokenizer
        )

    def _asked(self, n: int, params: SamplingParams, *, limit: int) -> Any:
        """vLLM's parameters of a request."""
        return _params(
            n=n,
            max_tokens=limit,
            temperature=params.temperature,
            top_p=params.top_p,
            top_k=params.top_k,
            seed=derive(params.seed, "vllm") % _SEEDS,
            stop=list(params.stop),
            stop_token_ids=sorted({*self._end_ids, *params.stop_token_ids}),
            include_stop_str_in_output=True,
            detokenize=bool(params.stop),  # for vLLM to find stop strings in; the text is decoded here
            logprobs=0,  # the sampled token's alone
        )


def open_engine(model: str, settings: dict[str, Any]) -> VLLMEngine:
    """A model with vLLM in this process; `settings` of `VLLMOptions`."""
    return VLLMEngine.open(model, **asdict(build(VLLMOptions, settings, what="engine")))


def _params(**settings: Any) -> Any:
    """vLLM's `SamplingParams`, of which only the end is reported; `UsageError` for values out of range."""
    module = import_vllm("vllm.sampling_params")
    try:
        return module.SamplingParams(output_kind=module.RequestOutputKind.FINAL_ONLY, **settings)
    except Exception as error:
        raise UsageError(f"sampling parameters: {one_line(error)}") from error


def _end_ids(client: VLLMClient) -> frozenset[int]:
    """Every token that ends a text, as for the transformers engine."""
    from treesearch.engines.hf_load import end_ids_of

    model = SimpleNamespace(
        generation_config=SimpleNamespace(**client.model_config.try_get_generation_config()),
        config=client.model_config.hf_text_config,
    )
    return frozenset(end_ids_of(model, client.tokenizer))
