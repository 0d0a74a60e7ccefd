"""Requests and replies of the OpenAI completion and chat-completion protocol, as pure functions.

Contract: `request_body` makes the JSON of a request in a server's dialect; `read_reply` turns the bytes of a
reply into `Choice`s in the order of their indexes, and its bill. A reply that cannot be true is broken and
raises `Transient`, so that it is asked for again: no JSON, other than `n` choices, an index twice, more
tokens than were asked for, a log-probability that is no number or above 0, a usage that differs from the
tokens shown. What a broken reply cost is read from its tokens where all choices are there, else from its
usage, if need be out of the torn text.

The finish reason is decided by the server's own fields (`Dialect.stop_field`); a request to a server that
does not tell must not hold stop strings, and then "stop" can only mean the end of the text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from treesearch.engines.base import FinishReason, SamplingParams
from treesearch.engines.http_retry import Rejected
from treesearch.engines.openai_bill import (
    MISSHAPEN,
    Bill,
    broken,
    parse_json,
    read_bill,
    salvaged,
    shown_tokens,
)
from treesearch.engines.openai_dialect import Dialect

COMPLETIONS, CHAT = "/completions", "/chat/completions"
_ROUNDING = 1e-4
"""A log-probability this far above 0 is a rounding error of the server's arithmetic."""
_MOST_BYTES = 1_000
"""More text to a token than this is a wrong bill."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request for samples: `prompt` holds its fields (`prompt`, or `messages` and what goes with them).

    `with_ids`: the reply shows token ids. `tells_stop`: it may hold stop strings.
    """

    model: str
    prompt: Mapping[str, Any]
    n: int
    params: SamplingParams
    seed: int
    with_ids: bool = False
    stream: bool = False

    @property
    def chat(self) -> bool:
        """Whether this is a chat completion."""
        return "messages" in self.prompt

    @property
    def path(self) -> str:
        """The endpoint, below the server's address."""
        return CHAT if self.chat else COMPLETIONS


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One completion as the server gave it.

    `token_ids` and `tokens` (each token's bytes) are None where the reply does not show them; `logprobs` is
    empty where there are none, else as long as the tokens. `chunks` counts those of a stream that held text.
    """

    text: str
    token_ids: tuple[int, ...] | None
    tokens: tuple[bytes, ...] | None
    logprobs: tuple[float, ...]
    finish: FinishReason
    chunks: int = 0

    @property
    def shown(self) -> int | None:
        """How many tokens the reply shows."""
        if self.token_ids is not None:
            return len(self.token_ids)
        return None if self.tokens is None else len(self.tokens)


def request_body(dialect: Dialect, asked: Asked) -> dict[str, Any]:
    """The JSON of a request."""
    params = asked.params
    body: dict[str, Any] = {
        "model": asked.model,
        **asked.prompt,
        dialect.max_tokens if asked.chat else "max_tokens": params.max_tokens,
        "temperature": params.temperature,
        "top_p": params.top_p,
        **dialect.sampling,
    }
    if dialect.top_k_off is not None:
        body["top_k"] = params.top_k or dialect.top_k_off
    if dialect.seed_bits:
        body["seed"] = asked.seed % 2**dialect.seed_bits
    if dialect.logprobs is not None:
        body["logprobs"] = True if asked.chat else dialect.logprobs
    if asked.n > 1:
        body["n"] = asked.n
    if asked.with_ids:
        body["return_token_ids"] = True
    if asked.stream:
        return body | {"stream": True, "stream_options": {"include_usage": True}}
    if params.stop:
        body["stop"] = list(params.stop)
    if params.stop_token_ids:
        body["stop_token_ids"] = list(params.stop_token_ids)
    return body


def read_reply(reply: bytes, dialect: Dialect, asked: Asked) -> tuple[list[Choice], Bill]:
    """Choices by index, and the bill; `Transient` for a broken reply, `Rejected` for a refusal."""
    try:
        content = parse_json(reply)
        found = content["choices"]
        bill = read_bill(content)
        indexes = [int(raw["index"]) for raw in found]
        shown = shown_tokens(found) if len(found) == asked.n else None
    except MISSHAPEN as error:
        raise broken(f"not a reply ({type(error).__name__}: {error})", salvaged(reply)) from error
    cost = bill if shown is None else replace(bill, completion_tokens=shown)
    if sorted(indexes) != list(range(asked.n)):
        raise broken(f"choices {indexes} for n = {asked.n}", cost)
    by_index = [found[indexes.index(index)] for index in range(asked.n)]
    try:
        choices = [read_choice(raw, dialect, asked) for raw in by_index]
    except MISSHAPEN as error:
        raise broken(f"bad choice ({type(error).__name__}: {error})", cost) from error
    check_bill(choices, bill, cost, most=asked.n * asked.params.max_tokens)
    return choices, bill


def read_choice(raw: Mapping[str, Any], dialect: Dialect, asked: Asked) -> Choice:
    """One entry of `choices`; `ValueError`, `KeyError` or `TypeError` where it is broken."""
    text = raw["message"].get("content") or "" if asked.chat else raw["text"]
    if not isinstance(text, str):
        raise TypeError(f"a text of type {type(text).__name__}")
    ids = raw.get("token_ids")
    if asked.with_ids and ids is None:
        raise Rejected(
            "the server returns no token ids; use a newer one, or prompts of text: engine.tokenizer=none"
        )
    tokens, logprobs = read_logprobs(raw.get("logprobs"))
    choice = Choice(
        text=text,
        token_ids=None if ids is None or not asked.with_ids else tuple([_count(token) for token in ids]),
        tokens=tokens,
        logprobs=logprobs,
        finish=read_finish(raw.get("finish_reason"), raw.get(dialect.stop_field), asked.params),
    )
    shown = choice.shown
    if shown is not None and shown > asked.params.max_tokens:
        raise ValueError(f"{shown} tokens where at most {asked.params.max_tokens} were asked for")
    if choice.token_ids is not None and (not shown or len(logprobs) not in (0, shown)):
        raise ValueError(f"{shown} token ids with {len(logprobs)} log-probabilities")
    return choice


def _count(value: Any) -> int:
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r} in place of a token id")
    return value


def read_logprobs(raw: Any) -> tuple[tuple[bytes, ...] | None, tuple[float, ...]]:
    """Tokens and log-probabilities, of completions (`tokens`, `token_logprobs`) or chats (`content`)."""
    if not raw:
        return None, ()
    if raw.get("content") is not None:
        entries: Sequence[Any] = raw["content"]
        tokens = [_token_bytes(entry["token"], entry.get("bytes")) for entry in entries]
        values = [entry["logprob"] for entry in entries]
    elif raw.get("token_logprobs") is not None:
        tokens = [_token_bytes(token, None) for token in raw["tokens"]]
        values = raw["token_logprobs"]
    else:
        return None, ()
    if len(tokens) != len(values):
        raise ValueError(f"{len(tokens)} tokens with {len(values)} log-probabilities")
    return tuple(tokens), tuple([read_logprob(value) for value in values])


def read_logprob(value: Any) -> float:
    """A log-probability; `ValueError` unless it is a finite number of at most 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} in place of a log-probability")
    if value > _ROUNDING:
        raise ValueError(f"a log-probability of {value}")
    return min(0.0, float(value))


def _token_bytes(token: str, raw: Sequence[int] | None) -> bytes:
    """The bytes of a token: given as such, or written ``bytes:\\xe2\\x80`` where they are no text."""
    if raw is not None:
        return bytes(raw)
    if token.startswith("bytes:\\x"):
        return bytes.fromhex(token.removeprefix("bytes:").replace("\\x", ""))
    return token.encode()


def read_finish(reason: Any, stopped_by: Any, params: SamplingParams) -> FinishReason:
    """Why a choice ended. A token that stopped it and was not asked for is one that ends a text."""
    if reason == "length":
        return FinishReason.LENGTH
    if reason in ("stop", "eos_token", "stop_sequence"):
        if reason == "stop_sequence" or isinstance(stopped_by, str):
            return FinishReason.STOP
        return FinishReason.STOP if stopped_by in params.stop_token_ids else FinishReason.END
    if reason in (None, "abort", "error"):
        raise ValueError(f"the finish reason {reason!r}")
    raise Rejected(f"the server ended the reply with the finish reason {reason!r}")


def check_bill(choices: Sequence[Choice], bill: Bill, cost: Bill, *, most: int) -> None:
    """Raise `Transient` where the usage does not fit what the reply shows or passes `most` tokens.

    An end-of-text token may be billed without being shown.
    """
    billed, shown = bill.completion_tokens, [choice.shown for choice in choices]
    if billed is None:
        return
    if billed > most:
        raise broken(f"a usage of {billed} tokens where at most {most} were asked for", cost)
    known = [count for count in shown if count is not None]
    if len(known) == len(shown):
        ends = sum(choice.finish is FinishReason.END and choice.token_ids is None for choice in choices)
        if billed not in (sum(known), sum(known) + ends):
            raise broken(f"a usage of {billed} tokens where {sum(known)} are shown", cost)
    elif sum(len(choice.text.encode()) for choice in choices) > _MOST_BYTES * billed:
        raise broken(f"a usage of {billed} tokens for far more text", bill)


def billed_tokens(choices: Sequence[Choice], bill: Bill) -> list[int | None]:
    """How many tokens each choice took; None where only a guess is left. The bill has been checked."""
    if len(choices) == 1 and bill.completion_tokens is not None:
        return [bill.completion_tokens]
    shown = [choice.shown for choice in choices]
    total = sum(count or 0 for count in shown)
    hidden = bill.completion_tokens is not None and bill.completion_tokens > total
    return [
        (choice.chunks or None) if count is None else count + (hidden and choice.finish is FinishReason.END)
        for choice, count in zip(choices, shown, strict=True)
    ]
