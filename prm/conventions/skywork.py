"""Skywork-o1-Open-PRM: one value at the line break behind every line.

Layout: the begin-of-text token, the question and a line break, then the lines of the response, each encoded
by itself and followed by the line break's id (198). The score is read there: a linear layer
(``v_head.summary``) and a sigmoid.

Provenance: SkyworkAI/skywork-o1-prm-inference (model card and `prm_model.py`); aggregate mean.

Traps: every line is a step to the model, empty ones too, so a step of several lines gets a line break behind
each and its score is that of its last line; lines are encoded one by one, so that a line break never merges
with what stands before it; the extra weight ``v_head.summary`` is lost by a plain load, here it is read by
name; the score is not a calibrated probability (ProcessBench chooses a threshold on its GSM8K part).
"""

from __future__ import annotations

from prm.aggregates import Aggregate
from prm.conventions.base import (
    Activation,
    Convention,
    LinearValue,
    ReadAt,
    StepSplitter,
    TagPolicy,
    Threshold,
    Token,
)
from prm.conventions.templates import Plain

SKYWORK = Convention(
    name="skywork-o1",
    template=Plain(opening="{question}\n", begin=True, alone=True, lines=True),
    splitter=StepSplitter(separator="\n", keep_empty=True),
    tag=TagPolicy(read=ReadAt.TAG, token=Token(text="\n", id=198)),
    readout=LinearValue(layer="v_head.summary"),
    activation=Activation.SIGMOID,
    aggregate=Aggregate.MEAN,
    threshold=Threshold(
        value=None, source="not calibrated: choose one on held-out data, as ProcessBench does"
    ),
    checkpoints=(
        "Skywork/Skywork-o1-Open-PRM-Qwen-2.5-1.5B",
        "Skywork/Skywork-o1-Open-PRM-Qwen-2.5-7B",
    ),
)
