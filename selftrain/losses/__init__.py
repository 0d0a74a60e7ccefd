"""Losses of self-training as pure functions of log-probs by edge; see the modules for formulas and sources.

Names: `direct_advantage` is DAPO of arXiv 2412.18279. The implicit process reward's cross-entropy is that of
`prm.training.losses`, where the same function trains process-reward models.
"""

from prm.training.losses.ratios import implicit_ce, implicit_reward
from prm.training.losses.reduction import reduce
from selftrain.losses.advantage import centred, direct_advantage, spread
from selftrain.losses.preference import Kind, bald, cream, dpo, off_policy_dpo, simpo, spin, upo
from selftrain.losses.rewards import clip, clip_and_delta, debiased, delta, reference_probability
from selftrain.losses.supervised import nft, nft_omega, sft

__all__ = [
    "Kind",
    "bald",
    "centred",
    "clip",
    "clip_and_delta",
    "cream",
    "debiased",
    "delta",
    "direct_advantage",
    "dpo",
    "implicit_ce",
    "implicit_reward",
    "nft",
    "nft_omega",
    "off_policy_dpo",
    "reduce",
    "reference_probability",
    "sft",
    "simpo",
    "spin",
    "spread",
    "upo",
]
