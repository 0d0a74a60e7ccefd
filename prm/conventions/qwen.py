"""Qwen2.5-Math-PRM (7B, 72B) and Qwen2.5-Math-7B-PRM800K: two classes at a tag behind each step.

Layout: a chat with Qwen's boxed-answer system prompt; the assistant's text is the steps, each followed by
``<extra_0>`` (id 151651), without anything between. The score is read at the tag: a head of Linear, ReLU and
Linear, softmax over two classes, class 1.

Provenance: the model cards; Zhang et al., The Lessons of Developing Process Reward Models (arXiv 2501.07301),
which gives product and last for best-of-n and ProcessBench's threshold 0.5.

Traps: the published class is remote code that breaks with transformers 4.54.1 and later (vLLM issue 22398),
so the head is native here; the card drops zeros and then makes pairs, which loses a step where a probability
is exactly 0 in bfloat16, so the head calculates in float32 and positions are kept; search-and-learn sends no
attention mask for padded rows.
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
from prm.conventions.templates import AssistantChat

SYSTEM = "Please reason step by step, and put your final answer within \\boxed{}."


def _qwen(name: str, *checkpoints: str) -> Convention:
    """Both models share everything but the data that they were trained on."""
    return Convention(
        name=name,
        template=AssistantChat(system=SYSTEM),
        splitter=StepSplitter(separator="\n\n"),
        tag=TagPolicy(read=ReadAt.TAG, token=Token(text="<extra_0>", id=151651)),
        readout=Classes(count=2, positive=(1,), layers=("score.0", "score.2")),
        activation=Activation.SOFTMAX,
        aggregate=Aggregate.PRODUCT,
        threshold=Threshold(value=0.5, source="ProcessBench (arXiv 2412.06559)"),
        checkpoints=checkpoints,
    )


QWEN_PRM = _qwen("qwen2.5-math-prm", "Qwen/Qwen2.5-Math-PRM-7B", "Qwen/Qwen2.5-Math-PRM-72B")
QWEN_PRM800K = _qwen("qwen2.5-math-7b-prm800k", "Qwen/Qwen2.5-Math-7B-PRM800K")
