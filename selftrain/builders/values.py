"""What a step or a solution is worth to a builder: value rules by name.

Contract: `node_value` gives a number, larger is better, or None where the rule knows nothing of the node.

- `q`: the backed-up value, where the search visited the node;
- `value`: the value source's score (a reward model's, a judge's, the model's own confidence);
- `worth`: `q` where visited, else `value`;
- `outcome`: the share of right ones among the finished solutions and roll-outs at or below the node (needs
  the gold);
- `logprob`: mean log-prob a token of the path, as stored when it was written.

`evidence` says from how much the value comes: visits, outcomes, or 1 for a score.
"""

from __future__ import annotations

import math
from typing import Literal

from selftrain.data.searched import Searched

Rule = Literal["q", "value", "worth", "outcome", "logprob"]


def node_value(searched: Searched, node: int, rule: Rule) -> float | None:
    """The value of a node under a rule; see the module."""
    if rule == "q":
        return searched.q[node] if searched.visits[node] else None
    if rule == "value":
        return searched.values[node]
    if rule == "worth":
        return searched.worth(node)
    if rule == "outcome":
        return searched.right[node] / searched.outcomes[node] if searched.outcomes[node] else None
    return _mean_logprob(searched, node)


def evidence(searched: Searched, node: int, rule: Rule) -> int:
    """How many visits or outcomes the value of a node comes from."""
    if rule == "outcome":
        return searched.outcomes[node]
    if rule == "q" or (rule == "worth" and searched.visits[node]):
        return searched.visits[node]
    return 1


def _mean_logprob(searched: Searched, node: int) -> float | None:
    stored = searched.tree.logprobs
    path = searched.tree.path(node)[1:]
    found = [stored[one] if stored else None for one in path]
    tokens = sum(len(searched.tree.segments[one]) for one in path)
    if not tokens or any(one is None for one in found):
        return None
    return math.fsum(value for one in found if one is not None for value in one) / tokens
