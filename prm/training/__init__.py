"""Training of process-reward and Q-value models: rows, losses, trainer, export.

`train` is the way in; `search prm train` is the same from the command line. Names are resolved on first use,
so that importing the package loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prm.training.config import TrainConfig
    from prm.training.folder import Outcome
    from prm.training.loop import Progress
    from prm.training.rows import PairRow, StepRow, read_pairs, read_rows
    from prm.training.session import train

_HOMES = {
    "Outcome": "folder",
    "PairRow": "rows",
    "Progress": "loop",
    "StepRow": "rows",
    "TrainConfig": "config",
    "read_pairs": "rows",
    "read_rows": "rows",
    "train": "session",
}

__all__ = ["Outcome", "PairRow", "Progress", "StepRow", "TrainConfig", "read_pairs", "read_rows", "train"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
