"""A tokenizer as conventions need it: text without control tokens, go-ons, single tokens, chat frames.

Contract: over any fast `transformers` tokenizer. `text` encodes what a person or a model wrote: a control
token spelled in it stays text, so that a step cannot forge a tag or end its turn. `control` encodes frames of
the family, where control tokens count. `message` is `text` for what stands in a chat: tokens that were added
to the vocabulary without being marked special stay text too, because families mark their turns with such ones
(DeepSeek's ``<｜User｜>``). `after` encodes a text as the go-on of another one: a tokenizer of the
SentencePiece family would put a space in front, so it is encoded behind a newline that is then cut off.
`chat_frames` are the texts of a chat template between the contents of its messages.

It does not know of steps. Rendering from several threads at once is safe: calls take turns, because such a
tokenizer keeps its settings between calls.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from tasks.errors import UsageError

_ANCHOR = "\n"


class Tokens:
    """See the module. `tokenizer` is a `transformers` tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self._lock = threading.Lock()
        self._frames: dict[tuple[tuple[str, ...], bool], list[str]] = {}
        self._ends_line: dict[int, bool] = {}
        self._added = _spelled(tokenizer.get_added_vocab())
        self.special: frozenset[int] = frozenset(map(int, tokenizer.all_special_ids))
        anchor = self.text(_ANCHOR)
        self._anchor = len(anchor)
        self._spaced = self.text("a") != self.text(_ANCHOR + "a")[self._anchor :]

    def text(self, text: str, *, special: bool = False) -> list[int]:
        """Ids of plain text; `special` puts in front what the tokenizer puts there."""
        return self._encode(text, special=special, split=True)

    def control(self, text: str) -> list[int]:
        """Ids of a frame, in which control tokens are themselves."""
        return self._encode(text, special=False, split=False)

    def message(self, text: str) -> list[int]:
        """Ids of what a person or a model wrote in a chat; see the module."""
        cuts = [found.start() + 1 for found in self._added.finditer(text)]  # no piece holds a whole token
        first, *rest = (text[start:end] for start, end in pairwise([0, *cuts, len(text)]))
        return [*self.text(first), *(token for piece in rest for token in self.after(piece))]

    def after(self, text: str) -> list[int]:
        """Ids of `text` as the go-on of another text."""
        return self.text(_ANCHOR + text)[self._anchor :] if self._spaced else self.text(text)

    def ends_line(self, token: int) -> bool:
        """Whether the text of a token ends with a line break."""
        if token not in self._ends_line:
            with self._lock:
                text: str = self.tokenizer.decode([token], clean_up_tokenization_spaces=False)
            self._ends_line[token] = text.endswith("\n")
        return self._ends_line[token]

    def single(self, text: str, *, piece: bool = False) -> int:
        """The one id of a token; `UsageError` where the tokenizer makes none or several of it."""
        if piece:
            found = self.tokenizer.convert_tokens_to_ids(text)
            ids = [] if found is None or found == self.tokenizer.unk_token_id else [int(found)]
        else:
            ids = self.control(text)
        if len(ids) != 1:
            raise UsageError(
                f"this tokenizer makes {len(ids)} tokens of {text!r} ({ids}), where the convention needs one;"
                " use the tokenizer that the checkpoint was published with"
            )
        return ids[0]

    def chat_frames(self, roles: Sequence[str], *, reply: bool = False) -> list[str]:
        """Texts of the chat template around the messages of these roles: one more than there are messages.

        With `reply` the last one ends with the header of the assistant's answer. Raises `UsageError` without
        a template, or for one that drops or changes a content.
        """
        key = (tuple(roles), reply)
        if key not in self._frames:
            self._frames[key] = self._find_frames(*key)
        return self._frames[key]

    def _find_frames(self, roles: tuple[str, ...], reply: bool) -> list[str]:
        if not self.tokenizer.chat_template:
            raise UsageError(
                "this tokenizer has no chat template, which the convention's layout needs; use the tokenizer "
                "that the checkpoint was published with"
            )
        marks = [f"Zq{number}qZ" for number in range(len(roles))]
        marked = [{"role": role, "content": mark} for role, mark in zip(roles, marks, strict=True)]
        whole: str = self.tokenizer.apply_chat_template(marked, tokenize=False, add_generation_prompt=reply)
        frames = re.split("|".join(map(re.escape, marks)), whole)
        if len(frames) != len(marks) + 1:
            raise UsageError(
                f"the tokenizer's chat template gives {len(frames) - 1} of {len(marks)} messages back; the "
                "convention's layout needs all of them"
            )
        return frames

    def _encode(self, text: str, *, special: bool, split: bool) -> list[int]:
        with self._lock:
            return list(self.tokenizer.encode(text, add_special_tokens=special, split_special_tokens=split))


def _spelled(tokens: Iterable[str]) -> re.Pattern[str]:
    """Finds every place where one of the tokens begins, also inside another; one character is a letter."""
    names = [re.escape(token) for token in tokens if len(token) > 1]
    return re.compile(f"(?={'|'.join(names)})" if names else r"(?!)")
