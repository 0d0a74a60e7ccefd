"""The value model of ReST-MCTS*: one linear layer over the vocabulary's logits at the last position.

Layout: ``Problem: `` and the question, ``Solution:``, then lines ``Step k: ...``, each with its line break.
The value of a partial solution is read at its last token: a linear layer over the logits, cut to [0, 1].

Provenance: THUDM/ReST-MCTS, `models/value_models.py` and `MCTS/task.py`; Zhang et al. (arXiv 2406.03816),
trained with a squared error. The layer over the logits and lm_head are one row together.

Traps: the published code pads on the right and reads the last position, which is a padding position unless
the tokenizer pads on the left; here the last token is read. Its weights are a plain state dict that is not
opened: `prm.scoring.state_dict.convert` writes a folder of it, the backbone as `save_pretrained` does and the
layer as "LN.weight" and "LN.bias" in a safetensors file beside it. Every prefix is a value of its own, so the
last step's is the solution's.
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
    VocabularyValue,
)
from prm.conventions.templates import Plain

REST_MCTS = Convention(
    name="rest-mcts",
    template=Plain(
        opening="Problem: {question}\nSolution:\n", first="Step {n}: {step}\n", later="Step {n}: {step}\n"
    ),
    splitter=StepSplitter(separator="\n", numbered=True),
    tag=TagPolicy(read=ReadAt.LAST_TOKEN),
    readout=VocabularyValue(layer="LN"),
    activation=Activation.CLAMP,
    aggregate=Aggregate.LAST,
    threshold=Threshold(value=0.9, source="ReST-MCTS* (arXiv 2406.03816): the gate of a finished solution"),
)
