"""A tokenizer for servers that take and give text only: an id is the bytes of a piece of text.

Contract: stateless, so that ids written to a journal mean the same for ever. The id of a piece is the
integer of the bytes ``01 piece``; that of a chat message is the integer of ``02 JSON``, and decodes to no
text; `END_ID` stands for the end of a text. Ids of a completion are made by `pieces_of`, one for each token
that the server billed, so that counting ids counts tokens. `encode` makes one id of a whole text: how many
tokens a prompt has, only the server knows.

With `chat`, a conversation becomes one id a message, a plain text the user's message, and the pieces behind
them the assistant's answer so far (`conversation`). Without, there is no chat template, and `text_of` is the
prompt.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise

END_ID = 0
_PIECE, _MESSAGE = b"\x01", b"\x02"


class TextTokenizer:
    """`Tokenizer` over pieces of text; see the module."""

    eos_token_id: int | None = END_ID

    def __init__(self, *, chat: bool = False) -> None:
        self._chat = chat

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """One id; with `special` and chat, the id of a user's message."""
        if not text:
            return []
        if special and self._chat:
            return [_message_id({"role": "user", "content": text})]
        return [piece_id(text.encode())]

    def decode(self, token_ids: Sequence[int]) -> str:
        """The pieces' text, messages and the end left out. Bytes that are no UTF-8 become U+FFFD."""
        parts = [_bytes(token) for token in token_ids]
        return b"".join(part[1:] for part in parts if part[:1] == _PIECE).decode(errors="replace")

    def chat(self, messages: Sequence[dict[str, str]]) -> list[int] | None:
        """One id a message, the pieces of an assistant's last message as such; None without `chat`."""
        if not self._chat:
            return None
        turns, tail = list(messages), list[int]()
        if turns and turns[-1]["role"] == "assistant":
            tail = self.encode(turns.pop()["content"])
        return [_message_id(turn) for turn in turns] + tail

    def conversation(self, token_ids: Sequence[int]) -> tuple[list[dict[str, str]], str]:
        """The messages among the ids, and the text of the answer so far."""
        parts = [_bytes(token) for token in token_ids]
        messages = [json.loads(part[1:]) for part in parts if part[:1] == _MESSAGE]
        return messages, self.decode(token_ids)


def piece_id(piece: bytes) -> int:
    """The id of a piece of text."""
    return int.from_bytes(_PIECE + piece, "big")


def pieces_of(text: str, tokens: Sequence[bytes] | None, count: int, *, ended: bool) -> list[int]:
    """Ids of a completion, one for each of its `count` billed tokens.

    Where the server showed its `tokens` and they spell `text`, they are the pieces; else the text is cut into
    pieces of equal length. What `tokens` hold beyond the text (an end-of-text token, the rest of a token
    behind a stop string) is left out. `ended`: the text's end is the last id, if the server billed it.
    """
    whole = text.encode()
    pieces = _spelled(whole, tokens, count)
    if pieces is None:
        hidden = ended and count > (1 if text else 0)
        return [piece_id(piece) for piece in _even(text, count - hidden)] + [END_ID] * hidden
    ids = [piece_id(piece) for piece in pieces]
    if ended and not pieces[-1]:
        ids[-1] = END_ID
    elif ended and count > len(pieces):
        ids.append(END_ID)
    return ids


def _spelled(whole: bytes, tokens: Sequence[bytes] | None, count: int) -> list[bytes] | None:
    """`tokens` cut to spell `whole`, or None where they do not or are not as many as were billed."""
    if not tokens or count not in (len(tokens), len(tokens) + 1):
        return None
    before = b"".join(tokens[:-1])
    if not whole.startswith(before) or not (before + tokens[-1]).startswith(whole):
        return None
    return [*tokens[:-1], whole[len(before) :]]


def _even(text: str, count: int) -> list[bytes]:
    """`text` in `count` pieces of equal length, cut between characters; short ones come first."""
    if not count:
        return [text.encode()] if text else []
    cuts = [len(text) * index // count for index in range(count + 1)]
    return [text[start:end].encode() for start, end in pairwise(cuts)]


def _message_id(message: dict[str, str]) -> int:
    return int.from_bytes(_MESSAGE + json.dumps(message, ensure_ascii=False).encode(), "big")


def _bytes(token: int) -> bytes:
    return token.to_bytes((token.bit_length() + 7) // 8, "big")
