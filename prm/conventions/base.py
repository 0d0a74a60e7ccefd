"""What a scoring convention is: seven explicit fields that say how a published model must be asked.

Contract: a `Convention` is a constant: `template` (the layout of question and steps, see
`prm.conventions.templates`), `splitter` (how a whole solution is cut into steps), `tag` (which token the
score is read at), `readout` (which numbers of the model are read there), `activation` (how they become a
score), `aggregate` (the usual way from steps to a solution) and `threshold` (below which a step counts as
wrong, and where that number comes from). Nothing is implied by another field.

It holds no model and no tokenizer: `prm.conventions.bound.bind` derives the ids and renders.

Source: the fields are those in which published scoring code differs, and in whose silence most of its bugs
are; each family's module names its paper, checkpoint and traps.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from prm.aggregates import Aggregate

if TYPE_CHECKING:
    from prm.conventions.templates import Template


@dataclass(frozen=True, kw_only=True)
class Token:
    """A token of a family: its text and its id in the published tokenizer (None: the family fixes none).

    `text` must be one token by itself. `piece` means that it is the vocabulary's own spelling instead
    (``<0x0A>``, the newline byte of SentencePiece), which no text encodes to by itself.
    """

    text: str
    id: int | None = None
    piece: bool = False


class ReadAt(enum.StrEnum):
    """Where the score of a step is read."""

    TAG = "tag"
    """At the tag token behind the step itself, without a shift."""
    LAST_TOKEN = "last-token"
    """At the step's own last token."""
    BEFORE_SIGN = "before-sign"
    """At the position that predicts the sign: the last token before it."""
    WHOLE_STEP = "whole-step"
    """Over all tokens of the step: log-ratios are summed."""
    VERDICT = "verdict"
    """Where a verdict word would stand in a text that the model writes about the step."""


@dataclass(frozen=True, kw_only=True)
class TagPolicy:
    """What marks the end of a step. `token` is appended `count` times as ids, the score is read at `read`.

    With `count` above 1 the score is read at the first of them.
    """

    read: ReadAt
    token: Token | None = None
    count: int = 1


_NUMBER = re.compile(r"\s*(?:##\s*)?Step\s+\d+\s*[:.]\s*", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class StepSplitter:
    """How a whole solution is cut: at every `separator`. With `numbered`, "Step k:" in front is taken off.

    Parts without text are left out, unless `keep_empty` (families in which an empty line is a step too).
    """

    separator: str
    numbered: bool = False
    keep_empty: bool = False

    def split(self, solution: str) -> list[str]:
        """The steps of a solution, without separators; never empty (a blank solution is one empty step)."""
        parts = [self.clean(part) for part in solution.strip().split(self.separator)]
        steps = parts if self.keep_empty else [part for part in parts if part]
        return steps or [""]

    def clean(self, step: str) -> str:
        """One step without white space around it, and without its number where the family writes its own."""
        if self.numbered:
            step = _NUMBER.sub("", step, count=1) if _NUMBER.match(step) else step
        return step.strip()


@dataclass(frozen=True, kw_only=True)
class Classes:
    """A head of `count` classes on the last hidden state; the score is the probability of `positive`.

    `layers` are the names of its linear layers in the checkpoint, with a ReLU between two of them.
    """

    count: int = 2
    positive: tuple[int, ...] = (1,)
    layers: tuple[str, ...] = ("score",)


@dataclass(frozen=True, kw_only=True)
class TwoTokens:
    """The logits of two tokens; softmax over them is the sigmoid of their difference, one row of lm_head."""

    positive: Token
    negative: Token


@dataclass(frozen=True, kw_only=True)
class LinearValue:
    """A linear layer on the last hidden state, of one output or one for each member of an ensemble."""

    layer: str = "head"


@dataclass(frozen=True, kw_only=True)
class VocabularyMean:
    """The mean of all logits of the vocabulary: the mean row of lm_head."""


@dataclass(frozen=True, kw_only=True)
class VocabularyValue:
    """A linear layer over the logits of the vocabulary: its weights times lm_head are one row."""

    layer: str = "LN"


@dataclass(frozen=True, kw_only=True)
class LogRatio:
    """``beta`` times the summed log-ratio of a model to its reference over the tokens of steps.

    With `cumulative` the score of step t is q_t, the sum from the first step on, else its own share.
    """

    beta: float
    cumulative: bool = True


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The model writes about the step; the score is p(positive) / (p(positive) + p(negative))."""

    positive: str
    negative: str


ReadOut: TypeAlias = Classes | TwoTokens | LinearValue | VocabularyMean | VocabularyValue | LogRatio | Verdict


class Activation(enum.StrEnum):
    """How the numbers that are read become a score."""

    SOFTMAX = "softmax"
    """Summed probability of the positive classes."""
    MARGIN = "margin"
    """Probability of the positive classes less that of the others, in [-1, 1]."""
    SIGMOID = "sigmoid"
    TANH = "tanh"
    CLAMP = "clamp"
    """The number itself, cut to [0, 1]."""
    IDENTITY = "identity"


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """A step whose score is below `value` counts as wrong; `source` says who says so. None: nobody does."""

    value: float | None
    source: str


@dataclass(frozen=True, kw_only=True)
class Convention:
    """How a family of models scores steps; see the module. `checkpoints` are the hub ids that follow it."""

    name: str
    template: Template
    splitter: StepSplitter
    tag: TagPolicy
    readout: ReadOut
    activation: Activation
    aggregate: Aggregate
    threshold: Threshold
    checkpoints: tuple[str, ...] = ()

    @property
    def probabilities(self) -> bool:
        """Whether scores are in [0, 1]."""
        return self.activation in (Activation.SOFTMAX, Activation.SIGMOID, Activation.CLAMP)

    @property
    def tokens(self) -> tuple[Token, ...]:
        """Every token whose id is derived and checked when a tokenizer is bound."""
        found = [self.tag.token] if self.tag.token is not None else []
        if isinstance(self.readout, TwoTokens):
            found += [self.readout.positive, self.readout.negative]
        return tuple(found)
