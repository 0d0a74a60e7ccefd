"""What token values are trained on: TD(lambda) targets, and the estimates of Transfer Q*.

A value V_t belongs to the text that ends with token t, so the value of the last token of a finished text is
its own reward, and choosing among next tokens needs no model of what follows.

`td_lambda`, with reward r_t on writing token t (usually 0 but for the last)::

    G_T = r_T + gamma * bootstrap
    G_t = r_t + gamma * ( (1 - lambda) V_{t+1} + lambda G_{t+1} )

lambda = 1 is the Monte-Carlo return, lambda = 0 the one-step target.

`transfer_q`, from rewards of completions that a baseline policy wrote from a text::

    direct     (1/n) sum_i r_i                                      the baseline is aligned to r itself
    indirect   sum_i w_i r_i / sum_i w_i,  w_i = exp((r_i - b_i) / beta)    it is aligned to another reward b

Contract: pure functions of numbers. They run no model and train nothing.

Sources: Value Augmented Sampling (arXiv 2405.06639), section 4.1, lambda 0.95 and gamma 1; Transfer Q* (arXiv
2405.20495), sections 3.1 and 3.2. Deviation: the weights of the indirect estimate are normalised by their own
sum (self-normalised importance sampling), since the baseline's partition function is not known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tasks.errors import UsageError


def td_lambda(
    rewards: Sequence[float],
    values: Sequence[float],
    *,
    decay: float = 0.95,
    gamma: float = 1.0,
    bootstrap: float = 0.0,
) -> list[float]:
    """Target of every token of one text; `decay` is lambda. See the module.

    `values` are the model's own, one a token. `bootstrap` stands for what comes after a text that was cut.
    """
    if len(rewards) != len(values):
        raise UsageError(
            f"td_lambda needs one reward and one value a token, got {len(rewards)} and {len(values)}"
        )
    for name, number in (("decay", decay), ("gamma", gamma)):
        if not 0 <= number <= 1:
            raise UsageError(f"td_lambda: {name} must be in [0, 1], got {number}")
    targets: list[float] = []
    later = bootstrap
    for index in reversed(range(len(rewards))):
        target = rewards[index] + gamma * later
        targets.append(target)
        later = (1 - decay) * values[index] + decay * target
    return targets[::-1]


def transfer_q(
    rewards: Sequence[float], baseline: Sequence[float] | None = None, *, beta: float = 1.0
) -> float:
    """Value of a text by its completions' `rewards`; `baseline` are those that their policy is aligned to."""
    if not rewards:
        raise UsageError("transfer_q needs at least one completion, got none")
    if baseline is None:
        return sum(rewards) / len(rewards)
    if len(baseline) != len(rewards) or not beta > 0:
        raise UsageError(
            f"transfer_q needs as many baseline rewards as rewards ({len(rewards)}) and beta above 0, got "
            f"{len(baseline)} and {beta}"
        )
    powers = [(reward - own) / beta for reward, own in zip(rewards, baseline, strict=True)]
    weights = [math.exp(power - max(powers)) for power in powers]
    total = sum(weight * reward for weight, reward in zip(weights, rewards, strict=True))
    return total / sum(weights)
