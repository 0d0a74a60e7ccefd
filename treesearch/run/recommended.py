"""What a model's card recommends for a run, where its caller left the choice open."""

from __future__ import annotations

from dataclasses import replace

from treesearch.engines.address import IN_PROCESS
from treesearch.policies import recommended_value
from treesearch.registry import find
from treesearch.run.config import Resolved
from treesearch.settings import split_settings


def recommended(resolved: Resolved) -> Resolved:
    """The configuration with the value that the policy's card names, where none was asked for.

    Left alone where the algorithm's own default is not log-probability, `value.KEY` settings were given, or
    no model is loaded here. Raises `UsageError` for an unknown algorithm, `DataError` for a wrong card.
    """
    config = resolved.config
    if (
        config.value is not None
        or split_settings(config.settings)["value"]
        or config.engine not in IN_PROCESS
    ):
        return resolved
    default = find("algorithm", config.algorithm).default_value
    value = recommended_value(config.policy, config.task, default)
    if value is None:
        return resolved
    return replace(resolved, config=replace(config, value=value), origin={**resolved.origin, "value": "card"})
