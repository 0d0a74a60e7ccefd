"""Training of the policy on packed trees: objectives, trainer, export.

`train` is the way in; `search selftrain train` is the same from the command line. Names are resolved on first
use, so that importing the package loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prm.training.folder import Outcome
    from prm.training.loop import Progress
    from selftrain.training.config import TrainConfig
    from selftrain.training.objectives import Objective
    from selftrain.training.reads import PairSums, StepSums, TraceSums
    from selftrain.training.session import train

_HOMES = {
    "Objective": "selftrain.training.objectives",
    "Outcome": "prm.training.folder",
    "PairSums": "selftrain.training.reads",
    "Progress": "prm.training.loop",
    "StepSums": "selftrain.training.reads",
    "TraceSums": "selftrain.training.reads",
    "TrainConfig": "selftrain.training.config",
    "train": "selftrain.training.session",
}

__all__ = [
    "Objective",
    "Outcome",
    "PairSums",
    "Progress",
    "StepSums",
    "TraceSums",
    "TrainConfig",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
