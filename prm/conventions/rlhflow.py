"""RLHFlow's two models: a chat in which the user's turns are steps and the assistant answers "+" or "-".

Layout: the first turn is the question, a blank and step 1, every later turn a step; the score is read at the
last token before the answer, as the softmax over "+" (10) and "-" (12). The Mistral data splits at lines, the
Deepseek data at blank lines.

Provenance: math-rm of RLHFlow/RLHF-Reward-Modeling (Xiong et al., An Implementation of Generative PRM, 2024);
aggregate mean, as in its best-of-n script. One pass reads all steps: answers before a step are always "+".

Traps: the sign is predicted one position before it stands; earlier answers stay "+" also where a step was
judged bad, so one bad step does not change the layout of the next; ProcessBench's script joins question and
step 1 with a blank line and PRMBench takes "+" out of the softmax over the whole vocabulary, both not the
layout and read-out of the training code.
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
from prm.conventions.templates import TurnChat


def _rlhflow(name: str, separator: str, checkpoint: str) -> Convention:
    """One of the two models, which differ in how their data was split."""
    return Convention(
        name=name,
        template=TurnChat(sign="+"),
        splitter=StepSplitter(separator=separator),
        tag=TagPolicy(read=ReadAt.BEFORE_SIGN),
        readout=TwoTokens(positive=Token(text="+", id=10), negative=Token(text="-", id=12)),
        activation=Activation.SOFTMAX,
        aggregate=Aggregate.MEAN,
        threshold=Threshold(value=0.5, source="ProcessBench (arXiv 2412.06559): the likelier sign"),
        checkpoints=(checkpoint,),
    )


RLHFLOW_MISTRAL = _rlhflow("rlhflow-mistral", "\n", "RLHFlow/Llama3.1-8B-PRM-Mistral-Data")
RLHFLOW_DEEPSEEK = _rlhflow("rlhflow-deepseek", "\n\n", "RLHFlow/Llama3.1-8B-PRM-Deepseek-Data")
