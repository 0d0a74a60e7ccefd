"""The objectives: which records each learns from, against which reference, and its loss.

Contract: `OBJECTIVES` is the one table; installed packages add rows through entry points of the group
`config.GROUP`, and `find_objective` knows both. A loss reads exactly the objective's kind of record, as
`reads` gives it, and divides by a total that the caller passes (`mixture`).

What the records' fields become:

- pairs (`dpo`, `off-policy-dpo`, `spin`, `cream`, `upo`, `simpo`): log-probs are summed along the chains
  below `above`. `weight`, `offset` and `smoothing` are the loss's own; for `cream` the consistency is
  ``C = 1 - smoothing``, for `upo` the uncertainty ``B = 2 log 2 * smoothing``. `spin` and `simpo` take
  weights only;
- traces (`sft`, `implicit-ce`, `nft`): the steps of the path that are not `untrained`. `sft` weighs every
  token alike. `nft` has one ratio a step and divides by tokens; its rate q is that of the tree's traces;
- advantages (`direct-advantage`): one log-ratio a step.

Formulas and sources: `selftrain.losses`. Deviations: NFT's ratios are of steps and not of tokens; where
policy and reference agree the gradient is the same. UPO's likelihood is the mean over each chosen side's
tokens, so that its weight does not depend on length.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from importlib.metadata import entry_points
from typing import Any, Literal

from torch import Tensor

from selftrain import losses
from selftrain.training.config import GROUP, TrainConfig, objective_names
from selftrain.training.reads import PairSums, StepSums, TraceSums
from tasks.errors import UsageError, unknown_name

Records = Literal["traces", "pairs", "advantages"]


@dataclass(frozen=True, kw_only=True)
class Objective:
    """One row of the table.

    `loss` takes what the reader of its records gives, the config and the divisor, which counts tokens or
    records. `references` are those that it can take, its own first. `beta` is the published scale, None where
    the loss has none. `most_smoothing` bounds a pair's smoothing. `made_by` are builders of such records.
    `own` are the settings that the objective uses and some others do not.
    """

    records: Records
    loss: Callable[[Any, TrainConfig, float], Tensor]
    made_by: tuple[str, ...]
    divides_by: Literal["records", "tokens"] = "records"
    references: tuple[str, ...] = ("none",)
    beta: float | None = None
    most_smoothing: float = 0.5
    own: frozenset[str] = frozenset()


def find_objective(name: str) -> Objective:
    """The row of a name; `UsageError` names the nearest, or an entry point that is no row."""
    if name in OBJECTIVES:
        return OBJECTIVES[name]
    for entry in entry_points(group=GROUP):
        if entry.name == name:
            own = entry.load()
            if not isinstance(own, Objective):
                raise UsageError(f"objective {name!r}: {entry.value} is no selftrain.training.Objective")
            return own
    raise unknown_name("objective", name, objective_names())


def objective_of(config: TrainConfig) -> Objective:
    """The row of a config; `UsageError` for a setting or reference that the objective cannot use."""
    found = find_objective(config.objective)
    others = frozenset[str]().union(*(row.own for row in OBJECTIVES.values())) - found.own
    for field in fields(TrainConfig):
        if field.name in others and getattr(config, field.name) != field.default:
            users = ", ".join(name for name, row in OBJECTIVES.items() if field.name in row.own)
            raise UsageError(f"objective {config.objective!r} has no use for {field.name}; it is for {users}")
    if config.reference not in ("auto", *found.references):
        raise UsageError(
            f"objective {config.objective!r} takes reference {' or '.join(found.references)}, not "
            f"{config.reference!r}"
        )
    if config.sft_on == "traces" and not sft_weight_of(config):
        raise UsageError("sft_on says what is added to the loss; set its sft_weight too, for example 1")
    if config.unscored == "drop" and reference_of(config) != "stored":
        raise UsageError("unscored is about stored log-probs, and none are read here; leave it out")
    return found


def reference_of(config: TrainConfig) -> str:
    """Where the reference's log-probs come from: `stored`, `base` or `none`."""
    return find_objective(config.objective).references[0] if config.reference == "auto" else config.reference


def beta_of(config: TrainConfig) -> float:
    """The scale of log-ratios: the config's, or the published one (1 for losses without one)."""
    return (find_objective(config.objective).beta or 1.0) if config.beta is None else config.beta


def sft_weight_of(config: TrainConfig) -> float:
    """The weight of the likelihood that is added to a pair loss."""
    default = 1.0 if config.objective == "upo" else 0.0
    return default if config.sft_weight is None else config.sft_weight


def _sft(traces: TraceSums, config: TrainConfig, total: float) -> Tensor:  # noqa: ARG001
    return losses.sft(traces.log_probs, traces.weights, total=total)


def _implicit_ce(traces: TraceSums, config: TrainConfig, total: float) -> Tensor:
    ratios = traces.log_probs - traces.references
    return losses.implicit_ce(ratios, traces.right, traces.weights, beta=beta_of(config), total=total)


def _nft(traces: TraceSums, config: TrainConfig, total: float) -> Tensor:
    rates = traces.rates[traces.owner]
    return losses.nft(
        traces.step_log_probs - traces.step_references,
        traces.right[traces.owner],
        rates,
        traces.weights[traces.owner],
        omega=losses.nft_omega(rates, by_deviation=config.nft_by_deviation),
        epsilon=config.nft_epsilon,
        total=total,
    )


def _dpo(pairs: PairSums, config: TrainConfig, total: float) -> Tensor:
    return losses.dpo(
        *pairs.ratios,
        pairs.weights,
        kind=config.kind,
        beta=beta_of(config),
        offset=pairs.offsets,
        smoothing=pairs.smoothing,
        total=total,
    )


def _off_policy_dpo(pairs: PairSums, config: TrainConfig, total: float) -> Tensor:
    return losses.off_policy_dpo(
        pairs.chosen,
        pairs.rejected,
        pairs.chosen_reference,
        pairs.rejected_reference,
        pairs.weights,
        kind=config.kind,
        beta=beta_of(config),
        offset=pairs.offsets,
        smoothing=pairs.smoothing,
        total=total,
    )


def _spin(pairs: PairSums, config: TrainConfig, total: float) -> Tensor:
    return losses.spin(*pairs.ratios, pairs.weights, beta=beta_of(config), total=total)


def _cream(pairs: PairSums, config: TrainConfig, total: float) -> Tensor:
    consistency = 1 - pairs.smoothing
    return losses.cream(*pairs.ratios, consistency, pairs.weights, beta=beta_of(config), total=total)


def _upo(pairs: PairSums, config: TrainConfig, total: float) -> Tensor:
    return losses.upo(
        *pairs.ratios,
        pairs.chosen / pairs.chosen_tokens,
        2 * math.log(2) * pairs.smoothing,
        pairs.weights,
        beta=beta_of(config),
        nll_weight=sft_weight_of(config),
        total=total,
    )


def _simpo(pairs: PairSums, config: TrainConfig, total: float) -> Tensor:
    return losses.simpo(
        pairs.chosen,
        pairs.rejected,
        pairs.chosen_tokens,
        pairs.rejected_tokens,
        pairs.weights,
        beta=beta_of(config),
        gamma=1.0 if config.gamma is None else config.gamma,
        total=total,
    )


def _direct_advantage(steps: StepSums, config: TrainConfig, total: float) -> Tensor:
    ratios = steps.log_probs - steps.references
    return losses.direct_advantage(ratios, steps.advantages, beta=beta_of(config), total=total)


_TERMS = frozenset({"beta", "weight_power", "sft_weight", "sft_on"})
_DPO = _TERMS | {"kind", "offset_scale", "smoothing_scale"}
_PAIR_BUILDERS = ("step-q", "tree-plv", "agent-q", "outcome-dpo", "self-rewarding", "crew-dpo", "revisions")
_BASE_FIRST = ("base", "stored")

OBJECTIVES: dict[str, Objective] = {
    "sft": Objective(
        records="traces",
        loss=_sft,
        made_by=("sft", "rest-mcts", "rft", "rest-em", "self-correction", "journey", "revisions"),
        divides_by="tokens",
        own=frozenset({"weight_power"}),
    ),
    "dpo": Objective(
        records="pairs", loss=_dpo, made_by=_PAIR_BUILDERS, references=_BASE_FIRST, beta=0.1, own=_DPO
    ),
    "off-policy-dpo": Objective(
        records="pairs",
        loss=_off_policy_dpo,
        made_by=_PAIR_BUILDERS,
        references=("stored",),
        beta=0.1,
        own=_DPO,
    ),
    "implicit-ce": Objective(
        records="traces",
        loss=_implicit_ce,
        made_by=("nft", "pf-ppo"),
        references=_BASE_FIRST,
        beta=0.05,
        own=frozenset({"beta", "weight_power"}),
    ),
    "direct-advantage": Objective(
        records="advantages",
        loss=_direct_advantage,
        made_by=("advantages",),
        references=_BASE_FIRST,
        beta=0.01,
        own=frozenset({"beta"}),
    ),
    "spin": Objective(
        records="pairs", loss=_spin, made_by=("spin",), references=_BASE_FIRST, beta=0.1, own=_TERMS
    ),
    "cream": Objective(
        records="pairs",
        loss=_cream,
        made_by=("cream",),
        references=_BASE_FIRST,
        beta=0.1,
        most_smoothing=1.0,
        own=_TERMS | {"smoothing_scale"},
    ),
    "upo": Objective(
        records="pairs",
        loss=_upo,
        made_by=("upo",),
        references=_BASE_FIRST,
        beta=0.1,
        own=_TERMS - {"sft_on"} | {"smoothing_scale"},
    ),
    "nft": Objective(
        records="traces",
        loss=_nft,
        made_by=("nft",),
        divides_by="tokens",
        references=("stored", "base"),
        own=frozenset({"weight_power", "nft_by_deviation", "nft_epsilon"}),
    ),
    "simpo": Objective(
        records="pairs", loss=_simpo, made_by=_PAIR_BUILDERS, beta=2.0, own=_TERMS | {"gamma"}
    ),
}
"""Every objective of this package by name."""
