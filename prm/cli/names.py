"""What of this package can be named on the command line, for `search list`; see `treesearch.cli.listing`.

Contract: each function gives one entry a name, in the order of its table, with `name`, `summary` and what
else the table says. No model library is loaded.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import Any


def conventions() -> list[dict[str, Any]]:
    """Conventions of published families: the `family` of a model, with what is usual for it."""
    from prm import conventions as package
    from prm.conventions.table import CONVENTIONS

    homes: dict[str, str] = {}
    for found in pkgutil.iter_modules(package.__path__):
        if found.name != "table":
            module = import_module(f"{package.__name__}.{found.name}")
            own = [each for each in vars(module).values() if isinstance(each, package.Convention)]
            homes |= {each.name: (module.__doc__ or "").split("\n")[0] for each in own}
    return [
        {
            "name": name,
            "summary": homes[name],
            "read_at": each.tag.read.value,
            "aggregate": each.aggregate.value,
            "threshold": each.threshold.value,
            "checkpoints": list(each.checkpoints),
        }
        for name, each in CONVENTIONS.items()
    ]


def benches() -> list[dict[str, Any]]:
    """Benches of `search prm eval`; `scores` is what an evaluation without a model takes, None for none."""
    from prm.evaluation.bench import BENCHES

    return [{"name": name, "summary": each.summary, "scores": each.files} for name, each in BENCHES.items()]


def heads() -> list[dict[str, Any]]:
    """Heads of `search prm train`: the rows that each learns from, and what is read."""
    from prm.training.heads import HEADS

    return [
        {"name": name, "summary": each.summary, "data": each.data, "reads": each.reads}
        for name, each in HEADS.items()
    ]


def label_methods() -> list[dict[str, Any]]:
    """Methods of `search prm label`."""
    from prm.labels.config import METHODS

    return [{"name": name, "summary": summary} for name, summary in METHODS.items()]


def label_rules() -> list[dict[str, Any]]:
    """Rules of `search prm label`, from outcomes to a label."""
    from prm.labels.derive import RULES, SUMMARIES

    return [{"name": name, "summary": SUMMARIES[name]} for name in RULES]
