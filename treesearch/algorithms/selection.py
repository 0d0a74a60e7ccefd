"""Selection scores of MCTS: pure functions of a node's and its parent's statistics.

Visits count works in flight as well (N + O, "watch the unobserved", WU-UCT, arXiv 1810.11755), so that
several simulations at once go to different leaves while q is that of finished returns alone.
"""

from __future__ import annotations

import math

from treesearch.tree import Node


def visits(node: Node) -> int:
    """Finished and pending visits, N + O."""
    return node.visits + node.pending


def uct(child: Node, parent_visits: int, *, c: float, unvisited: float) -> float:
    """``q + c * sqrt(2 * ln(N_parent) / N_child)`` (UCB1, Kocsis and Szepesvari 2006, with c = 1).

    A child without a visit, pending ones included, gets its value (0 without one) plus `unvisited`.
    A child whose visits are all pending stands at its value in place of q.
    """
    count = child.visits + child.pending
    if count == 0:
        return (child.value or 0.0) + unvisited
    return estimate(child) + c * math.sqrt(2.0 * math.log(max(1, parent_visits)) / count)


def puct_scale(parent_visits: int, *, c_init: float, c_base: float) -> float:
    """``sqrt(N_parent) * (c_init + ln((N_parent + c_base + 1) / c_base))``: PUCT's bonus, the child aside."""
    return math.sqrt(parent_visits) * (c_init + math.log((parent_visits + c_base + 1.0) / c_base))


def puct(child: Node, scale: float, parent_q: float) -> float:
    """``q + P * scale / (1 + N_child)``, `scale` being the parent's `puct_scale`.

    AlphaZero's rule (Silver et al. 2018; mctx `muzero_action_selection`). A child without a finished visit
    stands at its value, or at the parent's q where it was not scored.
    """
    q = child.q if child.visits else (parent_q if child.value is None else child.value)
    return q + child.prior * scale / (1 + child.visits + child.pending)


def estimate(child: Node) -> float:
    """q where a return has been backed up, else the value source's score, else 0."""
    return child.q if child.visits else (child.value or 0.0)
