"""Losses of process-reward and Q-value models as pure functions; see the modules for formulas and sources."""

from prm.training.losses.outcome import bradley_terry, outcome_bce
from prm.training.losses.ranking import pairwise_logistic, trajectory_ranking
from prm.training.losses.ratios import dpo, implicit_ce, implicit_reward
from prm.training.losses.reduction import reduce
from prm.training.losses.steps import ClassWeights, step_classification, value_bce, value_mse

__all__ = [
    "ClassWeights",
    "bradley_terry",
    "dpo",
    "implicit_ce",
    "implicit_reward",
    "outcome_bce",
    "pairwise_logistic",
    "reduce",
    "step_classification",
    "trajectory_ranking",
    "value_bce",
    "value_mse",
]
