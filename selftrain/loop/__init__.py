"""The self-training loop: search, grade, build data, train, evaluate, decide, and again.

    from selftrain.loop import read_config, run

    status = run(read_config([Path("recipe.yaml")]), Path("selftraining/first"))

Contract: a run is a folder of iterations of stages with a manifest each (`manifest`); it resumes after a kill
at any point with the same hashes (`context`), never trains on held-out problems (`stages.decontaminate`), and
takes a new model over only where a paired test says so (`gate`). Names are resolved on first use, so that
importing the package loads no model library.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selftrain.loop.config import LoopConfig, from_json, read_config
    from selftrain.loop.gate import Action, Decision, Measured, decide
    from selftrain.loop.overview import RunStatus, status
    from selftrain.loop.parts import Parts
    from selftrain.loop.session import aresume, arun, resume, run
    from selftrain.loop.watch import Watch

_HOMES = {
    "Action": "gate",
    "Decision": "gate",
    "LoopConfig": "config",
    "Measured": "gate",
    "Parts": "parts",
    "RunStatus": "overview",
    "Watch": "watch",
    "aresume": "session",
    "arun": "session",
    "decide": "gate",
    "from_json": "config",
    "read_config": "config",
    "resume": "session",
    "run": "session",
    "status": "overview",
}

__all__ = [
    "Action",
    "Decision",
    "LoopConfig",
    "Measured",
    "Parts",
    "RunStatus",
    "Watch",
    "aresume",
    "arun",
    "decide",
    "from_json",
    "read_config",
    "resume",
    "run",
    "status",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
