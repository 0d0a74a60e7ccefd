"""ReasonEval (7B, 34B): validity and redundancy of each step, from three classes.

Layout: ``Question:``, the question, ``Answer:`` and "Let's think step by step.", each on a line of its own,
then the steps, each encoded by itself, with nothing between. The scores are read at the last token of each
step: a linear head of three classes (negative, neutral, positive); validity is p(neutral) + p(positive),
redundancy p(neutral).

Provenance: GAIR-NLP/ReasonEval, `codes/examples.py`; Xia et al., Evaluating Mathematical Reasoning Beyond
Accuracy (arXiv 2404.05692). A solution's validity is the smallest, its redundancy the largest.

Traps: the published code puts a separator (the pad token) behind every step and takes it out again before
the model runs, so the model never sees one, and indices shift by one a step; two scores a step, hence two
conventions, of which only validity is a reward: a high redundancy is bad.
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
)
from prm.conventions.templates import Plain


def _reasoneval(name: str, positive: tuple[int, ...], aggregate: Aggregate, *checkpoints: str) -> Convention:
    """One of the two scores."""
    return Convention(
        name=name,
        template=Plain(
            opening="Question:\n{question}\nAnswer:\nLet's think step by step.\n", special=True, alone=True
        ),
        splitter=StepSplitter(separator="\n"),
        tag=TagPolicy(read=ReadAt.LAST_TOKEN),
        readout=Classes(count=3, positive=positive, layers=("score_head",)),
        activation=Activation.SOFTMAX,
        aggregate=aggregate,
        threshold=Threshold(
            value=None, source="tuned per data set in the paper: choose one on held-out data"
        ),
        checkpoints=checkpoints,
    )


REASONEVAL = _reasoneval("reasoneval", (1, 2), Aggregate.MIN, "GAIR/ReasonEval-7B", "GAIR/ReasonEval-34B")
REASONEVAL_REDUNDANCY = _reasoneval("reasoneval-redundancy", (1,), Aggregate.MAX)
