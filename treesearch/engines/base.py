"""The engine seam: token ids in, samples out, for any language-model back end.

Contract, the same for every engine (`tests/treesearch/test_engine_contract.py` holds it):

- `sample` asks for `n` independent samples of one prompt as one request; the reply has exactly `n`
  samples in a fixed order (with `SamplingParams.distinct`: at most `n` different ones). With the same
  prompt, parameters and seed, on the same engine, the reply is the same up to the arithmetic of the back
  end (a batch of another shape may round differently).
- `Sample.token_ids` is everything that was generated and is billed: the token that completed a stop
  string and the end-of-text token are in it. ``len(token_ids) <= params.max_tokens``.
- `Sample.text` is the decoded text of those ids, with the stop string where one ended the sample and
  without special tokens.
- Cancelling the awaiting task frees the request's place in the batch; what it generated until then is in
  `Engine.usage`.
- A request that fails raises `EngineError`; other requests go on.

It does not split steps, apply templates or count budgets: that is the policy's and the meter's work.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from tasks.errors import SearchError, UsageError


class EngineError(SearchError, RuntimeError):
    """A model back end failed; the problem that asked is reported, the run goes on."""


class FinishReason(enum.StrEnum):
    """Why a sample ended. Decides what is finished; the text never does."""

    END = "end"
    """The model wrote its end-of-text token: the solution is finished."""
    STOP = "stop"
    """A stop string or stop token was completed: the step is finished."""
    LENGTH = "length"
    """`max_tokens` were generated, or the model's context is full."""


@dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """How to sample. `temperature` 0 is greedy. `stop` strings end a sample once generated.

    `stop_token_ids` end a sample like stop strings. `top_p` in (0, 1]; `top_k` 0 is off. `seed` makes the
    request repeatable: sample i of the request uses a stream derived from (seed, i). `certainty` asks for
    `Sample.certainty`, which costs a pass over the vocabulary. `distinct` draws the samples without
    replacement: no two with the same ids, in the order of drawing, fewer than `n` where the distribution
    has fewer. It needs a temperature above 0 and an engine whose `gives_distinct` is true; others raise
    `UsageError`.
    """

    max_tokens: int = 256
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    seed: int = 0
    certainty: bool = False
    distinct: bool = False


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One completion.

    `logprobs[i]` is the natural log-probability of `token_ids[i]` under the model at temperature 1, before
    top-p and top-k (at most 0). `certainty[i]` is the mean over the vocabulary of KL(uniform || p_i), the
    distribution that produced `token_ids[i]`, in nats (at least 0); empty unless asked for
    (Kang et al. 2025, arXiv 2502.18581). A server without log-probabilities leaves `logprobs` empty.

    `prompt_tokens` are those that the back end billed for this sample, where its own count differs from the
    number of prompt ids (servers that take text); None where it does not. Those of a request with several
    samples are on the first. `generated_tokens`, on the first too, is what a request took in all, where that
    is not the sum over its samples (`distinct` writes tokens that end up in several or in none of them).
    """

    token_ids: tuple[int, ...]
    text: str
    logprobs: tuple[float, ...]
    finish: FinishReason
    certainty: tuple[float, ...] = ()
    prompt_tokens: int | None = None
    generated_tokens: int | None = None


@dataclass(kw_only=True)
class EngineUsage:
    """The engine's own count since it was opened, failed and cancelled requests included.

    The others are those of engines that ask a server. `retries`: attempts made again. `failed_prompt_tokens`
    and `failed_tokens`: what failed attempts cost as far as their replies show it; not part of the counts
    above. `unmetered`: attempts of which the server did not show the cost in full.
    """

    requests: int = 0
    prompt_tokens: int = 0
    generated_tokens: int = 0
    retries: int = 0
    failed_prompt_tokens: int = 0
    failed_tokens: int = 0
    unmetered: int = 0


def refuse_distinct(engine: str, asked: bool) -> None:
    """Raise `UsageError` where an engine that cannot is asked for samples without replacement."""
    if asked:
        raise UsageError(
            f"the engine {engine!r} cannot sample without replacement (policy.distinct); leave it off, or "
            "take the engine transformers"
        )


@runtime_checkable
class Tokenizer(Protocol):
    """What the toolkit needs of a tokenizer. `encode` adds no special tokens unless asked to."""

    @property
    def eos_token_id(self) -> int | None:
        """The end-of-text token."""
        ...

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """Token ids of `text`; `special` adds what the model expects at the front of a text."""
        ...

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of the ids, special tokens left out."""
        ...

    def chat(self, messages: Sequence[dict[str, str]]) -> list[int] | None:
        """Token ids of a conversation whose last message the model goes on with; None without a template.

        Where the last message is the user's, the ids end with the assistant's header.
        """
        ...


@runtime_checkable
class Engine(Protocol):
    """A language-model back end. See the module's contract."""

    name: str
    model: str
    tokenizer: Tokenizer
    usage: EngineUsage
    max_context: int
    """Most tokens of prompt and completion together."""

    async def sample(self, prompt_ids: Sequence[int], n: int, params: SamplingParams) -> list[Sample]:
        """Generate `n` samples of one prompt as one request."""
        ...

    async def logprobs(self, prompt_ids: Sequence[int], completion_ids: Sequence[int]) -> list[float]:
        """Log-probability of every token of a completion after the prompt, at temperature 1."""
        ...

    async def close(self) -> None:
        """Free the model; requests under way are cancelled."""
        ...


def tokens_each(engine: Engine) -> int:
    """Tokens of a budget that writing one token takes: 1, and what a value reads that steers it.

    An engine says so with an attribute of this name; without one it is 1.
    """
    return int(getattr(engine, "tokens_each", 1))
