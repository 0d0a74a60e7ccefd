"""PURE: a token classifier at a separator behind each step, plain text, no chat template.

Layout: the question, then the steps, each followed by the separator, all encoded one by one as TRL's former
PRM trainer did: a line break (id 198) for PURE-PRM-7B, a blank line (271) for Qwen2.5-Math-7B-PRM800K by the
same authors. The score is read at the separator: the probability of class 1 less that of class 0, in [-1, 1].

Provenance: CJReinforce/PURE (`experience_maker.py`, evaluation README); Cheng et al., Stop Summation (arXiv
2504.15275), min-form credit assignment.

Traps: the threshold is 0, not 0.5; jinachris/Qwen2.5-Math-7B-PRM800K has the base name of Qwen's own model,
with another layout and head, so a folder of that name is told by its architecture; no begin-of-text token;
encoded as one text, a full stop and a blank line would become one token and no separator would be found.
"""

from __future__ import annotations

from prm.aggregates import Aggregate
from prm.conventions.base import (
    Activation,
    Classes,
    Convention,
    ReadAt,
    StepSplitter,
    TagPolicy,
    Threshold,
    Token,
)
from prm.conventions.templates import Plain


def _pure(name: str, separator: Token, checkpoint: str) -> Convention:
    """One of the two models, which differ in the separator."""
    return Convention(
        name=name,
        template=Plain(opening="{question}", special=False, alone=True),
        splitter=StepSplitter(separator="\n\n"),
        tag=TagPolicy(read=ReadAt.TAG, token=separator),
        readout=Classes(count=2, positive=(1,), layers=("score",)),
        activation=Activation.MARGIN,
        aggregate=Aggregate.MIN,
        threshold=Threshold(value=0.0, source="PURE (arXiv 2504.15275): the likelier class"),
        checkpoints=(checkpoint,),
    )


PURE = _pure("pure", Token(text="\n", id=198), "jinachris/PURE-PRM-7B")
PURE_PRM800K = _pure("pure-prm800k", Token(text="\n\n", id=271), "jinachris/Qwen2.5-Math-7B-PRM800K")
