"""llemma-7b-prm (ScalableMath): the mean of all logits at the blank line behind each step.

Layout: ``# Question``, the question, ``# Solution``, then the steps, each followed by a blank line, which
this tokenizer writes as two newline bytes (id 13 each). The score is the mean over the logits of the whole
vocabulary, through a sigmoid, read at the first of the two.

Provenance: the model card of ScalableMath/llemma-7b-prm-prm800k-level-1to3-hf and the code that uses it; Sun
et al., Easy-to-Hard Generalization (arXiv 2403.09472); aggregate product.

Traps: a mean of logits is no class and no token, so it is a read-out of its own (the mean row of lm_head);
the blank lines around "# Solution" are no steps; the position is that of the first newline byte, not the
second; the checkpoint's tokenizer is that of EleutherAI/llemma_7b. Deviation: the published code also counts
blank lines inside of a step.
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
    VocabularyMean,
)
from prm.conventions.templates import Plain

LLEMMA = Convention(
    name="llemma-prm",
    template=Plain(opening="# Question\n\n{question}\n\n# Solution\n\n"),
    splitter=StepSplitter(separator="\n\n"),
    tag=TagPolicy(read=ReadAt.TAG, token=Token(text="<0x0A>", id=13, piece=True), count=2),
    readout=VocabularyMean(),
    activation=Activation.SIGMOID,
    aggregate=Aggregate.PRODUCT,
    threshold=Threshold(value=None, source="none published: choose one on held-out data"),
    checkpoints=("ScalableMath/llemma-7b-prm-prm800k-level-1to3-hf",),
)
