"""`steps`: the convention of the models that this toolkit trains.

Layout: ``{question}`` and a line break, then the steps as the policy wrote them, each ending with a line
break; the score is read at the last token of each step, one value for each member, through a sigmoid. It is
the layout of the policies' plain format, so the ids of a policy with the same tokenizer are passed as they
are and nothing is encoded twice (`step_ids`).

A step without a line break gets one, and an end-of-text token at a step's end is taken off, so that a step
scores the same as text and as ids, whether or not the solution ended with it. The last token of a step that
ends with a line break is that line break or a token that ends with it.

Not published anywhere: the threshold is for the user to choose on held-out data.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from prm.aggregates import Aggregate
from prm.conventions.base import (
    Activation,
    Convention,
    LinearValue,
    ReadAt,
    StepSplitter,
    TagPolicy,
    Threshold,
)
from prm.conventions.bound import Bound
from prm.conventions.templates import Context, Piece, Plain
from tasks.errors import UsageError

BREAK = "\n"


@dataclass(frozen=True, kw_only=True)
class Lines(Plain):
    """`Plain` with steps kept as they are, but for a line break that ends each of them."""

    def step(self, context: Context, number: int, step: str, *, last: bool) -> Piece:
        """Ids of step `number` (from 0), read at the last of them."""
        del number, last
        return context.tagged(context.tokens.after(step if step.endswith(BREAK) else step + BREAK))


@dataclass(frozen=True, kw_only=True)
class LineSplitter(StepSplitter):
    """Lines; a step's white space is part of it."""

    def clean(self, step: str) -> str:
        """The step as it is."""
        return step


def step_ids(ids: Sequence[int], *, ends: Collection[int], line_break: int, closed: bool) -> tuple[int, ...]:
    """A policy's ids of a step as `steps` reads them: without end-of-text ids, with a line break at the end.

    `closed` says whether the text of the remaining ids ends with a line break already.
    """
    kept = list(ids)
    while kept and kept[-1] in ends:
        kept.pop()
    return tuple(kept) if closed and kept else (*kept, line_break)


STEPS = Convention(
    name="steps",
    template=Lines(opening="{question}" + BREAK),
    splitter=LineSplitter(separator=BREAK),
    tag=TagPolicy(read=ReadAt.LAST_TOKEN),
    readout=LinearValue(),
    activation=Activation.SIGMOID,
    aggregate=Aggregate.LAST,
    threshold=Threshold(value=None, source="choose one on held-out data"),
)


def closed_ids(
    bound: Bound, prompt_ids: Sequence[int], steps_ids: Sequence[Sequence[int]]
) -> list[tuple[int, ...]]:
    """A policy's steps as `steps` reads them (`step_ids`); `UsageError` for another convention, or none."""
    if bound.convention.name != STEPS.name:
        raise UsageError(
            f"score_ids is for models of the convention {STEPS.name!r}, this one follows "
            f"{bound.convention.name!r}; use score with texts"
        )
    if not steps_ids or not prompt_ids:
        raise UsageError(
            f"score_ids needs a prompt and steps, got {len(prompt_ids)} ids and {len(steps_ids)} steps"
        )
    line_break = bound.tokens.after(BREAK)
    if len(line_break) != 1:
        raise UsageError(f"score_ids needs a line break of one token, this tokenizer makes {line_break}")
    ends = bound.tokens.special
    closed: list[tuple[int, ...]] = []
    for ids in steps_ids:
        kept = list(ids)
        while kept and kept[-1] in ends:
            kept.pop()
        whole = bool(kept) and bound.tokens.ends_line(kept[-1])
        closed.append(step_ids(ids, ends=ends, line_break=line_break[0], closed=whole))
    return closed
