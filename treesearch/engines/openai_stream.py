"""Streamed replies, for servers that do not tell a stop string from the end of a text.

Such a server gets no stop strings. It streams, and `read_stream` stops reading once a stop string is
complete: leaving the stream closes the connection, and the server stops writing. A stream that ends by
itself says "stop" for the end of the text and "length" for a full budget, so the finish reason is exact.

The token that completes the stop string stays whole. What the server wrote behind it before it noticed is
lost, and it sends no bill for a stream that was left: the tokens read are counted, from the log-probs where
there are some, else one a chunk.

Only requests for one sample are streamed.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from treesearch.engines.base import FinishReason
from treesearch.engines.http_retry import Transient
from treesearch.engines.openai_api import Asked, Choice, check_bill, read_finish, read_logprobs
from treesearch.engines.openai_bill import MISSHAPEN, Bill, broken, parse_json, read_bill

_DONE = b"[DONE]"


async def events(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """The data of each server-sent event; comments and other fields are left out.

    Lines end with a line feed only: JSON may hold any other line separator.
    """
    rest = b""
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].strip()


@dataclass(kw_only=True)
class _Reply:
    """What was read so far of one streamed sample."""

    asked: Asked
    tokens: list[bytes] = field(default_factory=list[bytes])
    logprobs: list[float] = field(default_factory=list[float])
    chunks: int = 0
    text: str = ""
    finish: FinishReason | None = None
    bill: Bill = field(default_factory=Bill)

    def cost(self) -> Bill:
        """What the stream cost as far as it shows."""
        written = self.bill.completion_tokens
        return Bill(
            prompt_tokens=self.bill.prompt_tokens,
            completion_tokens=(len(self.tokens) or self.chunks) if written is None else written,
        )

    def take(self, content: Mapping[str, Any]) -> bool:
        """Add a chunk; returns whether a stop string is complete."""
        if content.get("usage"):
            self.bill = read_bill(content)
        for raw in content.get("choices") or ():
            if self._add(raw):
                return True
            if raw.get("finish_reason") is not None:
                self.finish = read_finish(raw["finish_reason"], None, self.asked.params)
        return False

    def _add(self, raw: Mapping[str, Any]) -> bool:
        delta = raw.get("delta") or {} if self.asked.chat else raw
        piece = delta.get("content" if self.asked.chat else "text") or ""
        if not isinstance(piece, str):
            raise TypeError(f"a text of type {type(piece).__name__}")
        tokens, logprobs = read_logprobs(raw.get("logprobs"))
        if not tokens:
            self.chunks += bool(piece)
            return self._add_text(piece)
        shown = b"".join(tokens) == piece.encode()
        for token, logprob in zip(tokens, logprobs, strict=True):
            self.tokens.append(token)
            self.logprobs.append(logprob)
            if shown and self._add_text(token.decode(errors="ignore")):
                return True
        return not shown and self._add_text(piece)

    def _add_text(self, piece: str) -> bool:
        """Append to the text; returns whether that completed a stop string."""
        stops = self.asked.params.stop
        reach = max((len(stop) for stop in stops), default=1) - 1
        before = max(0, len(self.text) - reach)
        self.text += piece
        if any(stop in self.text[before:] for stop in stops):
            self.finish = FinishReason.STOP
            return True
        return False

    def choice(self) -> Choice:
        """The sample; `Transient` where the stream broke off or its bill cannot be true."""
        if self.finish is None:
            raise broken("the stream broke off", self.cost())
        most = self.asked.params.max_tokens
        if max(len(self.tokens), self.chunks) > most:
            raise broken(f"more than the {most} tokens that were asked for", self.cost())
        choice = Choice(
            text=self.text,
            token_ids=None,
            tokens=tuple(self.tokens) or None,
            logprobs=tuple(self.logprobs),
            finish=self.finish,
            chunks=self.chunks,
        )
        check_bill([choice], self.bill, self.cost(), most=most)
        return choice


async def read_stream(chunks: AsyncIterator[bytes], asked: Asked) -> tuple[Choice, Bill]:
    """The one sample of a stream, up to its first stop string; the bill is empty for a stream left there."""
    reply = _Reply(asked=asked)
    try:
        async with aclosing(events(chunks)) as stream:
            async for data in stream:
                if data == _DONE:
                    break
                if reply.take(parse_json(data)):
                    reply.bill = Bill()
                    break
    except MISSHAPEN as error:
        raise broken(f"bad chunk ({type(error).__name__}: {error})", reply.cost()) from error
    except Transient as failure:  # the connection broke
        failure.generated_tokens = reply.cost().completion_tokens
        raise
    return reply.choice(), reply.bill
