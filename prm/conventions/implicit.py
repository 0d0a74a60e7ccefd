"""EurusPRM and ImplicitPRM: a language model whose log-ratio to its reference is a process reward.

Layout: a chat, the steps joined by blank lines as the assistant's text. The score of step t is
``q_t = beta * sum_{i <= t} log pi(y_i) - log pi_ref(y_i)``, summed over the tokens from the first step on;
its share in it is ``q_t - q_{t-1}`` (`LogRatio.cumulative` false).

Provenance: Yuan et al., Free Process Rewards without Process Labels (arXiv 2412.01981), equation 3; the
EurusPRM model card, which scores with 0.001 in place of the training's beta 0.05 and takes the minimum.

Traps: the reference model is part of the scorer (Qwen2.5-Math-7B-Instruct for EurusPRM, Llama-3.1-8B-Instruct
for ImplicitPRM); sums grow with length; a threshold tuned on the test set itself (ProcessBench's script tries
2000 of them) is none. Deviation: the card finds a step's last token by rendering the chat again for every
prefix, whose end-of-turn tokens make it off by a token or two; here a step's tokens are those of its text and
of the blank line behind it, and the end of the turn belongs to no step.
"""

from __future__ import annotations

from prm.aggregates import Aggregate
from prm.conventions.base import (
    Activation,
    Convention,
    LogRatio,
    ReadAt,
    StepSplitter,
    TagPolicy,
    Threshold,
)
from prm.conventions.templates import AssistantChat


def _implicit(name: str, *checkpoints: str) -> Convention:
    """The families differ in their models alone."""
    return Convention(
        name=name,
        template=AssistantChat(joined_by="\n\n"),
        splitter=StepSplitter(separator="\n\n"),
        tag=TagPolicy(read=ReadAt.WHOLE_STEP),
        readout=LogRatio(beta=0.001, cumulative=True),
        activation=Activation.IDENTITY,
        aggregate=Aggregate.MIN,
        threshold=Threshold(value=None, source="unbounded sums: choose one on held-out data"),
        checkpoints=checkpoints,
    )


EURUSPRM = _implicit("eurusprm", "PRIME-RL/EurusPRM-Stage1", "PRIME-RL/EurusPRM-Stage2")
IMPLICITPRM = _implicit("implicitprm")
