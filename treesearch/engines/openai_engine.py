"""Samples from an OpenAI-compatible server: prompts out, checked replies in, everything counted.

Contract: that of `treesearch.engines.base`, with the deviations that `treesearch.engines.openai` lists. With
a tokenizer, prompts are the very ids that the model wrote; else they are text, and an id is a piece of text
(`text_tokenizer`), one for each token that the server billed; a chat server gets the conversation and goes
on with the last message.

n samples are one request where the server has seeded `n` and shows each sample's tokens, else n requests at
once. Where the server does not tell a stop string from the end of the text, requests with stop strings are
streamed and cut (`openai_stream`).

It does not find out what the server is (`openai`), retry or limit (`http_client`), or judge replies
(`openai_api`).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from tasks.errors import UsageError
from treesearch.engines.base import (
    EngineError,
    EngineUsage,
    FinishReason,
    Sample,
    SamplingParams,
    Tokenizer,
    refuse_distinct,
)
from treesearch.engines.http_client import HttpClient, whole
from treesearch.engines.openai_api import COMPLETIONS, Asked, Choice, billed_tokens, read_reply, request_body
from treesearch.engines.openai_bill import Bill
from treesearch.engines.openai_dialect import Dialect
from treesearch.engines.openai_scores import echo_body, ids_body, read_echo, read_ids
from treesearch.engines.openai_stream import read_stream
from treesearch.engines.text_tokenizer import TextTokenizer, pieces_of
from treesearch.seeds import derive

T = TypeVar("T")
UNBOUNDED = 1_000_000
"""`max_context` where the server does not say how much it takes."""
_BYTES_A_TOKEN = 4


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """What was found out of a server when the engine opened (`treesearch.engines.openai`).

    `max_context` 0 is unknown. `tokenizer_folder`: where the tokenizer came from, if from a local folder.
    """

    name: str
    dialect: Dialect
    chat: bool = False
    max_context: int = 0
    tokenizer_folder: str = ""


class OpenAIEngine:
    """`Engine` over a server; made by `treesearch.engines.openai.open_engine`, or from its parts.

    `tokenizer` None is text. `tokenizer_folder` is its local folder, or empty.
    """

    name = "openai"
    gives_certainty = False

    def __init__(
        self, client: HttpClient, served: ServedModel, *, tokenizer: Tokenizer | None = None
    ) -> None:
        self._client, self._served = client, served
        self._text = None if tokenizer is not None else TextTokenizer(chat=served.chat)
        self.tokenizer: Tokenizer = tokenizer or TextTokenizer(chat=served.chat)
        self._continuation = getattr(self.tokenizer, "continuation", self.tokenizer.decode)
        self.usage: EngineUsage = client.usage
        self.model = served.name
        self.model_hash = f"served:{served.name}"
        self.max_context = served.max_context or UNBOUNDED
        self.tokenizer_folder = served.tokenizer_folder

    @property
    def dialect(self) -> Dialect:
        """What the server takes."""
        return self._served.dialect

    async def sample(self, prompt_ids: Sequence[int], n: int, params: SamplingParams) -> list[Sample]:
        """Generate `n` samples of one prompt: one request where the server can, else `n` of them."""
        self._check(n, params)
        prompt, params = self._prompt(prompt_ids), self._fitted(prompt_ids, params)
        asked = Asked(
            model=self.model,
            prompt=prompt,
            n=n,
            params=params,
            seed=derive(params.seed, "request"),
            with_ids=self._text is None,
            stream=bool(params.stop) and not self.dialect.tells_stop,
        )
        if n == 1 or self._together(asked):
            return await self._request(asked, prompt_ids)
        seeds = [derive(params.seed, "sample", index) for index in range(n)]
        found = await _all([self._request(replace(asked, n=1, seed=seed), prompt_ids) for seed in seeds])
        return [samples[0] for samples in found]

    async def logprobs(self, prompt_ids: Sequence[int], completion_ids: Sequence[int]) -> list[float]:
        """Log-probability of every token of a completion after the prompt, at temperature 1.

        `EngineError` where the server cannot score a given text. The server may bill one generated token.
        """
        if not completion_ids:
            return []
        if self.dialect.scores is None or self.dialect.logprobs is None or self._served.chat:
            raise EngineError(f"the server ({self.dialect.server}) cannot score a given text; use vLLM")
        if self._text is None and self.dialect.scores == "prompt_logprobs":
            scores, bill = await self._scored_ids(list(prompt_ids) or [self._first_id()], completion_ids)
        else:
            scores, bill = await self._scored_text(prompt_ids, completion_ids, self.dialect.logprobs)
        self.usage.prompt_tokens += bill.prompt_tokens or 0
        self.usage.generated_tokens += bill.completion_tokens or 0
        return scores

    async def _scored_ids(
        self, prompt_ids: Sequence[int], completion_ids: Sequence[int]
    ) -> tuple[list[float], Bill]:
        """Log-probabilities of a completion of ids. One token is generated besides, and needs its place."""
        ids = [*prompt_ids, *completion_ids]
        if len(ids) >= self.max_context:
            raise EngineError(
                f"prompt and completion have {len(ids)} tokens, more than a context of {self.max_context} "
                "takes; score a shorter text"
            )
        self.usage.requests += 1
        scores, bill = await self._client.ask(
            COMPLETIONS,
            ids_body(self.model, ids),
            lambda body: _read(body, lambda reply: read_ids(reply, ids)),
        )
        return scores[len(prompt_ids) :], bill

    async def _scored_text(
        self, prompt_ids: Sequence[int], completion_ids: Sequence[int], logprobs: int
    ) -> tuple[list[float], Bill]:
        """Log-probabilities of a completion of pieces of text."""
        texts = [self.tokenizer.decode(prompt_ids), *(self.tokenizer.decode([i]) for i in completion_ids)]
        self.usage.requests += 1
        return await self._client.ask(
            COMPLETIONS,
            echo_body(self.model, "".join(texts), logprobs),
            lambda body: _read(body, lambda reply: read_echo(reply, texts)),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    def _check(self, n: int, params: SamplingParams) -> None:
        """Raise `UsageError` for what no request or not this server can do."""
        refuse_distinct(self.name, params.distinct)
        if params.certainty:
            raise UsageError(
                "self-certainty needs the whole distribution, which servers do not give; use another value "
                "or answer rule, or an engine in process (transformers, vllm)"
            )
        if n < 1 or params.max_tokens < 1:
            raise UsageError(f"n and max_tokens must be at least 1, got {n} and {params.max_tokens}")
        if params.top_k and self.dialect.top_k_off is None:
            raise UsageError(f"the server ({self.dialect.server}) has no top_k; leave policy.top_k at 0")
        if params.stop_token_ids and self._text is not None:
            raise UsageError("stop_token_ids need a server that takes token ids, and its tokenizer")

    def _prompt(self, prompt_ids: Sequence[int]) -> dict[str, Any]:
        """The request's fields that hold the prompt."""
        if self._text is None:
            return {"prompt": list(prompt_ids) or [self._first_id()]}
        if not self._served.chat:
            return {"prompt": self._text.decode(prompt_ids)}
        messages, answer = self._text.conversation(prompt_ids)
        if not answer:
            return {"messages": messages}
        if self.dialect.continues is None:
            raise UsageError(
                f"the server ({self.dialect.server}) cannot go on with an unfinished answer; use an "
                "algorithm of whole solutions (self-consistency, best-of-n), or a server that can (vLLM)"
            )
        messages.append({"role": "assistant", "content": answer})
        return {"messages": messages, **self.dialect.continues}

    def _first_id(self) -> int:
        """What an empty prompt becomes."""
        start = getattr(self.tokenizer, "bos_token_id", None)
        start = self.tokenizer.eos_token_id if start is None else start
        if start is None:
            raise EngineError("the prompt is empty and the tokenizer has no token to begin with; give one")
        return start

    def _fitted(self, prompt_ids: Sequence[int], params: SamplingParams) -> SamplingParams:
        """`params` with `max_tokens` cut to what the context has left, where tokens can be counted."""
        if self._text is not None:
            return params
        room = self.max_context - len(prompt_ids)
        if room < 1:
            raise EngineError(
                f"the prompt has {len(prompt_ids)} tokens and leaves no room in a context of "
                f"{self.max_context}; shorten it, or end the path earlier (fewer or shorter steps)"
            )
        return replace(params, max_tokens=min(params.max_tokens, room))

    def _together(self, asked: Asked) -> bool:
        """Whether n samples fit one request: seeded each, and each one's tokens shown. (Servers refuse n for
        greedy sampling, and a stream can only be left whole.)
        """
        shown = asked.with_ids or self.dialect.logprobs is not None
        return self.dialect.n and shown and not asked.stream and asked.params.temperature > 0

    async def _request(self, asked: Asked, prompt_ids: Sequence[int]) -> list[Sample]:
        """One request's samples, counted."""
        self.usage.requests += 1
        path, body = asked.path, request_body(self.dialect, asked)
        if asked.stream:
            choice, bill = await self._client.ask(path, body, lambda chunks: read_stream(chunks, asked))
            choices = [choice]
        else:
            choices, bill = await self._client.ask(
                path,
                body,
                lambda chunks: _read(chunks, lambda reply: read_reply(reply, self.dialect, asked)),
                sequences=asked.n,
            )
        return self._counted(choices, bill, asked, prompt_ids)

    def _counted(
        self, choices: Sequence[Choice], bill: Bill, asked: Asked, prompt_ids: Sequence[int]
    ) -> list[Sample]:
        """The samples of a reply; what it cost goes into `usage`, its prompt into the first sample."""
        billed = billed_tokens(choices, bill)
        samples = [self._sample(choice, count) for choice, count in zip(choices, billed, strict=True)]
        prompt_tokens = bill.prompt_tokens
        if prompt_tokens is None:
            prompt_tokens = len(prompt_ids) if self._text is None else _estimate(json.dumps(asked.prompt))
        if bill.prompt_tokens is None or None in billed:
            self.usage.unmetered += 1
        self.usage.prompt_tokens += prompt_tokens
        self.usage.generated_tokens += sum(len(sample.token_ids) for sample in samples)
        first, *others = samples
        return [
            replace(first, prompt_tokens=prompt_tokens),
            *(replace(sample, prompt_tokens=0) for sample in others),
        ]

    def _sample(self, choice: Choice, billed: int | None) -> Sample:
        """A choice with its ids, log-probabilities and text."""
        logprobs = choice.logprobs
        if choice.token_ids is not None:
            ids, text = choice.token_ids, str(self._continuation(choice.token_ids))
        else:
            count = _estimate(choice.text) if billed is None else billed
            ended = choice.finish is FinishReason.END
            ids = tuple(pieces_of(choice.text, choice.tokens, count, ended=ended))
            text = self.tokenizer.decode(ids)
            if logprobs and len(ids) == len(logprobs) + 1:  # the end is billed and not shown
                logprobs = (*logprobs, 0.0)
        return Sample(token_ids=ids, text=text, logprobs=logprobs, finish=choice.finish)


def _estimate(text: str) -> int:
    """About how many tokens a text is."""
    return -(-len(text.encode()) // _BYTES_A_TOKEN)


async def _read(chunks: AsyncIterator[bytes], read: Callable[[bytes], T]) -> T:
    """A reader of answers that come in one piece."""
    return read(await whole(chunks))


async def _all(jobs: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of all jobs; the first failure cancels the others and is raised."""
    tasks = [asyncio.ensure_future(job) for job in jobs]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
