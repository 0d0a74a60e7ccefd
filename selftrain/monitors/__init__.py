"""Monitors of self-training: what an iteration shows besides accuracy, as plain figures.

`iteration_monitors` gathers them; each module is one idea and its functions are pure. `choose_configuration`
is B-STaR's choice of temperature and threshold. What the figures mean: `docs/selftrain-monitors.md`.
"""

from selftrain.monitors.balance import (
    TEMPERATURES,
    THRESHOLDS,
    Configuration,
    balance,
    balance_score,
    choose_configuration,
    wanted_samples,
)
from selftrain.monitors.depth import value_by_depth
from selftrain.monitors.drift import drift, shape
from selftrain.monitors.exploration import diversity, exploration
from selftrain.monitors.iteration import MonitorSettings, iteration_monitors
from selftrain.monitors.logprobs import chosen_logprobs
from selftrain.monitors.samples import Query, RewardRule, Sample, reward, samples_of
from selftrain.monitors.subsets import pass_at_k_s, reward_at_k_s

__all__ = [
    "TEMPERATURES",
    "THRESHOLDS",
    "Configuration",
    "MonitorSettings",
    "Query",
    "RewardRule",
    "Sample",
    "balance",
    "balance_score",
    "choose_configuration",
    "chosen_logprobs",
    "diversity",
    "drift",
    "exploration",
    "iteration_monitors",
    "pass_at_k_s",
    "reward",
    "reward_at_k_s",
    "samples_of",
    "shape",
    "value_by_depth",
    "wanted_samples",
]
