"""Adapter from a Hugging Face tokenizer to the toolkit's `Tokenizer`.

Contract: ids of `encode` and `decode` are the tokenizer's own, without clean-up of spaces. `continuation`
decodes ids as the go-on of a text: a tokenizer of the SentencePiece family drops the space in front of a
text, which would lose a blank at every join of two steps, so the ids are decoded behind an anchor token
that is then cut off. For byte-level tokenizers it equals `decode`. `chat` renders the model's own template
as text and encodes it; white space at the end of the last message is kept even where a template trims it.

It does not load anything, and does not know of steps or stop strings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from treesearch.engines.base import EngineError


class HFTokenizer:
    """`Tokenizer` over a `transformers` tokenizer. `bos_token_id` is what an empty prompt becomes."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        anchor: list[int] = tokenizer.encode("a", add_special_tokens=False)[-1:]
        self._anchor = anchor
        self._anchor_text = self.decode(anchor)

    @property
    def wrapped(self) -> Any:
        """The `transformers` tokenizer."""
        return self._tokenizer

    @property
    def eos_token_id(self) -> int | None:
        """The end-of-text token."""
        return self._tokenizer.eos_token_id

    @property
    def bos_token_id(self) -> int | None:
        """The begin-of-text token, None where the tokenizer has none."""
        return self._tokenizer.bos_token_id

    def vocabulary(self) -> dict[str, int]:
        """Every token's id."""
        return dict(self._tokenizer.get_vocab())

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """Token ids of `text`; `special` adds what the model expects at the front of a text."""
        return list(self._tokenizer.encode(text, add_special_tokens=special))

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of the ids, special tokens left out."""
        return self._tokenizer.decode(
            list(token_ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )

    def continuation(self, token_ids: Sequence[int]) -> str:
        """Text that the ids add to a text before them, its leading space included."""
        text = self.decode([*self._anchor, *token_ids])
        if not text.startswith(self._anchor_text):
            return self.decode(token_ids)
        return text[len(self._anchor_text) :]

    def checked(self, token_ids: Sequence[int], vocabulary: int) -> tuple[int, ...]:
        """The ids as a model of that vocabulary takes them: one begin-of-text token where there are none.

        `EngineError` for an id that the model does not have.
        """
        ids = tuple(int(token) for token in token_ids)
        if not ids:
            start = self.eos_token_id if self.bos_token_id is None else self.bos_token_id
            if start is None:
                raise EngineError(
                    "the prompt is empty and the tokenizer has no token to begin with; give one"
                )
            return (start,)
        if min(ids) < 0 or max(ids) >= vocabulary:
            bad = min(ids) if min(ids) < 0 else max(ids)
            raise EngineError(
                f"token id {bad} is outside the model's vocabulary of {vocabulary}; encode with the "
                "tokenizer of this engine"
            )
        return ids

    def chat(self, messages: Sequence[dict[str, str]]) -> list[int] | None:
        """Token ids of a conversation whose last message the model goes on with; None without a template.

        Where the last message is the assistant's and not empty, it is left open; else the ids end with the
        assistant's header.
        """
        if not self._tokenizer.chat_template:
            return None
        turns = list(messages)
        if turns and turns[-1]["role"] == "assistant" and not turns[-1]["content"].strip():
            blank = turns.pop()["content"]
            return self.encode(self._render(turns, add_generation_prompt=True) + blank)
        if not turns or turns[-1]["role"] != "assistant":
            return self.encode(self._render(turns, add_generation_prompt=True))
        content = turns[-1]["content"]
        text = self._render(turns, continue_final_message=True).rstrip()
        return self.encode(text + content[len(content.rstrip()) :])

    def _render(self, messages: list[dict[str, str]], **how: bool) -> str:
        """The template's text of the conversation."""
        return self._tokenizer.apply_chat_template(messages, tokenize=False, **how)
