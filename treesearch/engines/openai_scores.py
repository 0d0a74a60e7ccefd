"""Log-probabilities of a given text from a completion server.

Two ways: `ids_body` asks for the log-probabilities of a prompt of token ids (vLLM's ``prompt_logprobs``),
`echo_body` for a text to be echoed with those of its tokens (the first OpenAI protocol; vLLM). Servers that
write at least one token bill it. A token that reaches over the end of one piece of a text counts to the piece
in which it ends. Broken replies raise `Transient`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from treesearch.engines.http_retry import Rejected
from treesearch.engines.openai_api import read_logprob
from treesearch.engines.openai_bill import MISSHAPEN, Bill, broken, parse_json, read_bill, salvaged


def ids_body(model: str, ids: Sequence[int]) -> dict[str, Any]:
    """A request for the log-probabilities of `ids`."""
    return {
        "model": model,
        "prompt": list(ids),
        "max_tokens": 1,
        "temperature": 0.0,
        "prompt_logprobs": 0,
    }


def echo_body(model: str, text: str, logprobs: int) -> dict[str, Any]:
    """A request for `text` itself with the log-probabilities of its tokens, asked for with `logprobs`."""
    body = {"model": model, "prompt": text, "max_tokens": 0, "temperature": 0.0}
    return body | {"echo": True, "logprobs": logprobs}


def read_ids(reply: bytes, ids: Sequence[int]) -> tuple[list[float], Bill]:
    """One log-probability for each of `ids`; that of the first, which follows nothing, is 0."""
    try:
        content = parse_json(reply)
        bill = read_bill(content)
        rows = content["choices"][0]["prompt_logprobs"]
        if len(rows) != len(ids):
            raise ValueError(f"{len(rows)} log-probabilities for {len(ids)} tokens")
        found = [
            read_logprob(row[str(token)]["logprob"]) for token, row in zip(ids[1:], rows[1:], strict=True)
        ]
    except MISSHAPEN as error:
        raise broken(
            f"no prompt log-probabilities ({type(error).__name__}: {error})", salvaged(reply)
        ) from error
    return [0.0, *found], bill


def read_echo(reply: bytes, texts: Sequence[str]) -> tuple[list[float], Bill]:
    """The sum over its tokens for each text but the first, of an echo of all `texts` joined."""
    try:
        content = parse_json(reply)
        bill = read_bill(content)
        raw = content["choices"][0].get("logprobs")
        if not raw:
            raise Rejected("the server echoes no log-probabilities, so that it cannot score a given text")
        tokens, values = raw["tokens"], raw["token_logprobs"]
        shown, whole = "".join(tokens), "".join(texts)
        at = shown.find(whole)
        if at < 0:
            raise Rejected("the server's echo does not spell the text; it cannot be scored in pieces")
        ends = list(accumulate(len(text) for text in texts))
        sums = [0.0] * len(texts)
        for value, end in zip(values, accumulate(len(token) for token in tokens), strict=True):
            piece = next((i for i, last in enumerate(ends) if end - at <= last), None)
            if piece:
                sums[piece] += read_logprob(value)
    except MISSHAPEN as error:
        raise broken(
            f"no echo with log-probabilities ({type(error).__name__}: {error})", salvaged(reply)
        ) from error
    return sums[1:], bill
