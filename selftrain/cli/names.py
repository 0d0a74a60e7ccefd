"""What of this package can be named on the command line, for `search list`; see `treesearch.cli.listing`.

Contract: each function gives one entry a name, in the order of its table, with `name` and `summary`. No model
library is loaded, so that an objective of an installed package has a name alone.
"""

from __future__ import annotations

from typing import Any

_OBJECTIVES = {
    "sft": "Traces: likelihood of every token alike; traces graded wrong are not imitated.",
    "dpo": "Pairs: DPO against the base, or against stored log-probs.",
    "off-policy-dpo": "Pairs: DPO against the log-probs stored when the steps were written.",
    "implicit-ce": "Graded traces: cross-entropy of the summed log-ratio.",
    "direct-advantage": "Advantages of siblings: one log-ratio a step is fitted to each.",
    "spin": "Pairs of a true solution and the policy's own: self-play against the base.",
    "cream": "Pairs with a consistency: DPO in both directions, weighed by it.",
    "upo": "Pairs with an uncertainty: DPO and likelihood, weighed by it.",
    "nft": "Graded traces: right and wrong ones by a ratio a step (negative-aware fine-tuning).",
    "simpo": "Pairs: mean log-probs with a margin, without a reference.",
}


def objectives() -> list[dict[str, Any]]:
    """Objectives of `search selftrain train`."""
    from selftrain.training.config import objective_names

    return [{"name": name, "summary": _OBJECTIVES.get(name, "")} for name in objective_names()]


def builders() -> list[dict[str, Any]]:
    """Builders of `search selftrain build`, from searched trees to training data."""
    from selftrain.builders.table import builder_names, find_builder

    return [
        {"name": name, "summary": (find_builder(name).__doc__ or "").strip().split("\n")[0]}
        for name in builder_names()
    ]
