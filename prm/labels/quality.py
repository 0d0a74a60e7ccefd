"""ReST-MCTS* quality values: how far a step brings a solution, and whether it is on a right way.

Contract: pure functions. `step_quality` is the paper's update, with v_0 = 0:
w_k = (1 - v_{k-1}) / (m_k + 1) * (1 - 2 r_k) and v_k = max(v_{k-1} + w_k, 0), where m_k is the fewest further
steps from step k to a right answer and r_k is 0 for a right step, 1 for a wrong one. So v is in [0, 1], k /
K on an all-right chain of K steps, 1 at a right end, and lower after a wrong step than after a right sibling.

`tree_quality` takes a tree: a step is right where a right outcome is at or below it; m is the shortest way to
one. A step that leads to none takes m + 1 from the nearest ancestor that leads to one. A tree without a right
outcome gives no values (None): nothing is known about its steps.

`simple_quality` is the repository's other rule: depth / K for steps on a way to a right leaf of depth K, the
parent's depth less one, over K, but at least 0, for their siblings; None elsewhere.

Source: Zhang et al. 2024, arXiv 2406.03816, section 3.2, and the tree labels of THUDM/ReST-MCTS. Deviation: a
right outcome may also be a completion sampled from a node, `shortest` steps long, not only a leaf.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from prm.labels.steptree import ROOT, StepNode
from tasks.errors import UsageError


def step_quality(before: float, remaining: int, *, wrong: bool) -> float:
    """v_k from v_{k-1} = `before` in [0, 1] and m_k = `remaining` (at least 0)."""
    if not 0 <= before <= 1 or remaining < 0:
        raise UsageError(f"a value in [0, 1] and at least 0 remaining steps, got {before} and {remaining}")
    weight = (1 - before) / (remaining + 1) * (-1 if wrong else 1)
    return max(before + weight, 0.0)


def distances(parents: Sequence[int], ends: Sequence[int | None]) -> list[float]:
    """m of each node: fewest further steps to a right outcome, inf where there is none at or below it.

    `parents[i]` is smaller than i, -1 for node 0; `ends[i]` is the length of the shortest right outcome
    known at node i itself (0: it is a right leaf), None without one.
    """
    found = [math.inf if end is None else float(end) for end in ends]
    for node in range(len(parents) - 1, 0, -1):
        found[parents[node]] = min(found[parents[node]], found[node] + 1)
    return found


def quality_values(parents: Sequence[int], ends: Sequence[int | None]) -> list[float] | None:
    """v of each node, 0 at the root (node 0); None for a tree without a right outcome. See `distances`."""
    found = distances(parents, ends)
    if not found or math.isinf(found[ROOT]):
        return None
    values, borrowed = [0.0], [found[ROOT]]
    for node in range(1, len(parents)):
        wrong = math.isinf(found[node])
        borrowed.append(borrowed[parents[node]] if wrong else found[node])
        values.append(step_quality(values[parents[node]], int(borrowed[node]), wrong=wrong))
    return values


def tree_quality(nodes: Sequence[StepNode]) -> list[float] | None:
    """`quality_values` of a step tree, by the `shortest` of its records."""
    return quality_values([node.parent for node in nodes], _ends(nodes))


def simple_quality(nodes: Sequence[StepNode]) -> list[float | None] | None:
    """The simple rule, by the shortest way of each step; None for a tree without a right leaf."""
    ends = [0 if end == 0 else None for end in _ends(nodes)]
    found = distances([node.parent for node in nodes], ends)
    if math.isinf(found[ROOT]):
        return None
    values: list[float | None] = [0.0]
    for number, node in enumerate(nodes[1:], 1):
        depth = len(node.path)
        if not math.isinf(found[number]):
            values.append(depth / (depth + found[number]))
        elif not math.isinf(found[node.parent]):
            values.append(max((depth - 2) / (depth - 1 + found[node.parent]), 0.0))
        else:
            values.append(None)
    return values


def _ends(nodes: Sequence[StepNode]) -> list[int | None]:
    return [None if node.record is None else node.record.shortest for node in nodes]
