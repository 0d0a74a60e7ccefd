"""Math-Shepherd: a causal model that says "+" or "-" at a tag behind each step.

Layout: the question, a blank, then lines ``Step k: ... ки``; the score is read at the tag "ки" itself (id
12902), as the softmax over "+" (648) and "-" (387).

Provenance: the model card of peiyi9979/math-shepherd-mistral-7b-prm; method: Wang et al., Math-Shepherd
(arXiv 2312.08935), aggregate section 3.4 (min). Deviation: none in the ids; the tag is appended as an id.

Traps that this avoids: a system prompt in front and the tag at blank lines (search-and-learn), which is not
the layout of the training data; scoring hidden states in place of logits (vLLM issue 16545); a tag that a
step's own text holds, which would shift all later scores.
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

MATH_SHEPHERD = Convention(
    name="math-shepherd",
    template=Plain(opening="{question}", first=" Step {n}: {step}", later="\nStep {n}: {step}"),
    splitter=StepSplitter(separator="\n", numbered=True),
    tag=TagPolicy(read=ReadAt.TAG, token=Token(text="ки", id=12902)),
    readout=TwoTokens(positive=Token(text="+", id=648), negative=Token(text="-", id=387)),
    activation=Activation.SOFTMAX,
    aggregate=Aggregate.MIN,
    threshold=Threshold(value=0.5, source="ProcessBench (arXiv 2412.06559): '+' the likelier of the two"),
    checkpoints=("peiyi9979/math-shepherd-mistral-7b-prm",),
)
