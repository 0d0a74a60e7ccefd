"""Layouts: how a question and its steps become token ids, piece by piece.

Contract: a template gives the ids of the head (everything before the first step), of each step, and of the
tail. A step's ids depend on its number and text, and on whether it is the last one only where `sees_last`;
so when a step is appended, nothing before it is encoded again and no token boundary moves. Joined, the pieces
are the ids that the published code gets from the whole text; the golden tests hold that.

A step's text is encoded as plain text: control tokens spelled in it stay text. Tags are appended as ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from prm.conventions.base import TagPolicy
from prm.conventions.tokens import Tokens
from tasks.errors import UsageError


@dataclass(frozen=True, slots=True)
class Piece:
    """The ids of a step, and the offset among them at which its score is read."""

    ids: tuple[int, ...]
    read: int


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a template works with: the tokenizer, the convention's tag and the ids of its tokens by text."""

    tokens: Tokens
    tag: TagPolicy
    ids: Mapping[str, int]

    def tagged(self, ids: list[int]) -> Piece:
        """A step's ids with the tag behind them, read at its first token; without a tag, at the last id."""
        token = self.tag.token
        if token is None:
            return Piece(tuple(ids), len(ids) - 1)
        return Piece((*ids, *[self.ids[token.text]] * self.tag.count), len(ids))


class Template(Protocol):
    """A layout; see the module. Implementations are frozen dataclasses."""

    @property
    def sees_last(self) -> bool:
        """Whether a step's ids depend on its being the last."""
        ...

    def head(self, context: Context, question: str) -> tuple[int, ...]:
        """Ids before the first step."""
        ...

    def step(self, context: Context, number: int, step: str, *, last: bool) -> Piece:
        """Ids of step `number` (from 0)."""
        ...

    def tail(self, context: Context) -> tuple[int, ...]:
        """Ids behind the last step; nothing that is read depends on them."""
        ...


@dataclass(frozen=True, kw_only=True)
class Plain:
    """Text without chat: `opening` with `{question}`, then each step through `first` or `later`.

    `special` asks for the tokenizer's own begin-of-text; `begin` spells one out (the tokenizer's bos token)
    for families that write it themselves. `{n}` is the number of the step, from 1. `alone` encodes each step
    by itself, as the family's code does, instead of as the go-on of the text before it. `lines` appends the
    tag to every line of a step; its score is read at the last one.
    """

    opening: str
    first: str = "{step}"
    later: str = "{step}"
    special: bool = True
    begin: bool = False
    alone: bool = False
    lines: bool = False

    @property
    def sees_last(self) -> bool:
        """No: a step's ids are its own."""
        return False

    def head(self, context: Context, question: str) -> tuple[int, ...]:
        """Ids before the first step."""
        tokens = context.tokens
        text = self.opening.replace("{question}", question)
        if not self.begin:
            return tuple(tokens.text(text, special=self.special))
        token = tokens.tokenizer.bos_token
        if token is None:
            raise UsageError(
                "this tokenizer has no begin-of-text token, which the convention's layout starts with; use "
                "the tokenizer that the checkpoint was published with"
            )
        return (*tokens.control(token), *tokens.text(text))

    def step(self, context: Context, number: int, step: str, *, last: bool) -> Piece:
        """Ids of step `number` (from 0)."""
        del last
        form = self.later if number else self.first
        text = form.replace("{n}", str(number + 1)).replace("{step}", step)
        encode = context.tokens.text if self.alone else context.tokens.after
        if not self.lines:
            return context.tagged(encode(text))
        ids: list[int] = []
        *inner, end = text.split("\n")
        for line in inner:
            ids.extend(context.tagged(encode(line) if line else []).ids)
        piece = context.tagged(encode(end) if end else [])
        return Piece((*ids, *piece.ids), len(ids) + piece.read)

    def tail(self, context: Context) -> tuple[int, ...]:
        """Nothing."""
        del context
        return ()


@dataclass(frozen=True, kw_only=True)
class AssistantChat:
    """One conversation: the question is the user's message, the steps are the assistant's.

    `system` is the system message, None for what the chat template does without one. Steps stand behind one
    another with `joined_by` between them, which belongs to the step in front of it.
    """

    system: str | None = None
    joined_by: str = ""

    @property
    def sees_last(self) -> bool:
        """Where the last step has nothing behind it."""
        return bool(self.joined_by)

    def head(self, context: Context, question: str) -> tuple[int, ...]:
        """Ids before the first step."""
        frames = self._frames(context)
        tokens = context.tokens
        return (
            *tokens.control("".join((*([frames[0], self.system] if self.system else []), frames[-3]))),
            *tokens.text(question.strip()),
            *tokens.control(frames[-2]),
        )

    def step(self, context: Context, number: int, step: str, *, last: bool) -> Piece:
        """Ids of step `number` (from 0)."""
        del number
        return context.tagged(context.tokens.text(step if last else step + self.joined_by))

    def tail(self, context: Context) -> tuple[int, ...]:
        """Ids behind the last step."""
        return tuple(context.tokens.control(self._frames(context)[-1]))

    def _frames(self, context: Context) -> list[str]:
        roles = [*(["system"] if self.system else []), "user", "assistant"]
        return context.tokens.chat_frames(roles)


@dataclass(frozen=True, kw_only=True)
class TurnChat:
    """A turn a step: the user's messages are the steps (the first with the question), the answers are signs.

    The score of a step is read at the last token before its sign. The signs of earlier steps are always
    `sign`, whatever the model thinks of them, so that one pass reads all steps.
    """

    sign: str = "+"
    question_by: str = " "

    @property
    def sees_last(self) -> bool:
        """No: a step's ids are its own."""
        return False

    def head(self, context: Context, question: str) -> tuple[int, ...]:
        """Ids before the first step, the question among them."""
        frames = self._frames(context)
        tokens = context.tokens
        return (*tokens.control(frames[0]), *tokens.text(question.strip()))

    def step(self, context: Context, number: int, step: str, *, last: bool) -> Piece:
        """Ids of step `number` (from 0): the sign of the one before it, the turn, and the answer's header."""
        del last
        frames, tokens = self._frames(context), context.tokens
        if number:
            before = [context.ids[self.sign], *tokens.control(frames[2])]
            text, header = step, frames[3]
        else:
            before, text, header = [], self.question_by + step, frames[1]
        ids = (*before, *tokens.text(text), *tokens.control(header))
        return Piece(ids, len(ids) - 1)

    def tail(self, context: Context) -> tuple[int, ...]:
        """The last sign and the end of its turn."""
        return (context.ids[self.sign], *context.tokens.control(self._frames(context)[4]))

    def _frames(self, context: Context) -> list[str]:
        return context.tokens.chat_frames(("user", "assistant") * 2)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """The layout of a model that writes about steps: messages for its chat template, and its answer's frame.

    `system` and `user` are the messages, with `{question}`, `{step}` and `{solution}` (all steps so far, each
    through `numbered`, a line each). With `later`, every further step is a user's message of its own behind
    the answers so far; without, each prefix is a conversation by itself. The answer starts with `opening`
    and is written until one of `stop`, which is cut off; then `close` and `verdict` are put behind it, and
    what the model would write next is the verdict; `after` ends the answer that later steps see. `{n}` is
    the number of the step, from 1.

    `prm.scoring.generative` asks the model; there are no ids of steps, and `head`, `step` and `tail` refuse.
    """

    system: str | None
    user: str
    later: str = ""
    numbered: str = "{step}"
    opening: str = ""
    stop: tuple[str, ...]
    close: str = ""
    verdict: str
    after: str = ""

    @property
    def sees_last(self) -> bool:
        """No: there are no ids."""
        return False

    def head(self, context: Context, question: str) -> tuple[int, ...]:
        """Refused."""
        raise _judged(context, question)

    def step(self, context: Context, number: int, step: str, *, last: bool) -> Piece:
        """Refused."""
        raise _judged(context, step, number, last)

    def tail(self, context: Context) -> tuple[int, ...]:
        """Refused."""
        raise _judged(context)


def _judged(*_: object) -> UsageError:
    return UsageError(
        "a generative judge writes text about steps and has no ids of them; open it with "
        "prm.registry.open_scorer, which asks it for verdicts"
    )
