"""VersaPRM and Llama-PRM800K (UW-Madison): "+" or "-" at a tag of four line breaks.

Layout: the question, a blank and an empty line, then the steps, each followed by the token of a blank and
four line breaks (id 23535). The score is read at the tag, the softmax over "-" (12) and "+" (10), entry "+".

Provenance: the model cards; Zeng et al., VersaPRM (arXiv 2502.06737); aggregate min.

Traps: the two label tokens are those without a blank in front; the published script stops after the first
wrong step, here every step has its score; VersaPRM itself is a LoRA adapter (r = 16) on Llama-PRM800K, merged
in memory when it opens (`prm.scoring.adapters`); the label was trained on the tag, without a shift.
"""

from __future__ import annotations

from prm.aggregates import Aggregate
from prm.conventions.base import (
    Activation,
    Convention,
    ReadAt,
    StepSplitter,
    TagPolicy,
    Threshold,
    Token,
    TwoTokens,
)
from prm.conventions.templates import Plain

VERSAPRM = Convention(
    name="versaprm",
    template=Plain(opening="{question} \n\n"),
    splitter=StepSplitter(separator="\n\n"),
    tag=TagPolicy(read=ReadAt.TAG, token=Token(text=" \n\n\n\n", id=23535)),
    readout=TwoTokens(positive=Token(text="+", id=10), negative=Token(text="-", id=12)),
    activation=Activation.SOFTMAX,
    aggregate=Aggregate.MIN,
    threshold=Threshold(value=0.5, source="the model card: '+' the likelier of the two"),
    checkpoints=("UW-Madison-Lee-Lab/VersaPRM", "UW-Madison-Lee-Lab/Llama-PRM800K"),
)
