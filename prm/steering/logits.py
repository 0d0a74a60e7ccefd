"""How a value changes the distribution of the next token.

    logit(a) += beta * ( V(x, y_<t, a) - mean over the candidates of V )     for the top-k tokens a

The other tokens stay as they are (``keep``) or are taken out (``drop``). Contract: `steer` is a pure
function of logits, candidates and their values, which hold beta already. Values that are all equal, and beta
= 0, change no number at all under ``keep``. In float64 up to the sum, because the differences are small.

Source: Value Augmented Sampling (arXiv 2405.06639), section 4; k 20 and beta 3 in its code. With exact
values and all tokens as candidates it is the optimal policy under a KL penalty, pi(a) exp(beta V(a))
(Transfer Q*, arXiv 2405.20495, equation 6, with beta = 1 / alpha).
"""

from __future__ import annotations

import torch

from prm.steering.options import Others


def steer(
    logits: torch.Tensor, candidates: torch.Tensor, values: torch.Tensor, *, others: Others = "keep"
) -> torch.Tensor:
    """Float32 logits [rows, vocabulary], `values` [rows, k] added to `candidates` [rows, k]; see above."""
    gaps = values.double() - values[:, :1].double()
    gaps = gaps - gaps.mean(dim=-1, keepdim=True)
    plain = logits.float()
    steered = (plain.gather(-1, candidates).double() + gaps).float()
    base = plain if others == "keep" else torch.full_like(plain, -torch.inf)
    return base.scatter(-1, candidates, steered)
