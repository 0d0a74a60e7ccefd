"""ReST-MCTS*: MCTS guided by a process value, as a preset of `MCTS` (arXiv 2406.03816, and its code).

Selection ``V + c sqrt(2 ln N_p / N)`` with an unvisited child at its value + `unvisited`; `width` = 3 steps,
all scored; from the best new child a greedy roll-out of `rollout_steps` steps blends in with alpha = 0.5;
backup by the visit-weighted mean of the children; a path of value at least `gate` = 0.9 ends the search; the
answer is that of the highest value.

Deviations: the gate is applied to finished solutions (the authors also stop at an unfinished path and have a
summary written); no self-critic is asked before expanding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from treesearch.algorithms.mcts import MCTS
from treesearch.answers import RuleName
from treesearch.events import BackupRule


@dataclass(frozen=True, kw_only=True)
class RestMCTS(MCTS):
    """MCTS with ReST-MCTS*'s settings."""

    name: ClassVar[str] = "rest-mcts"
    default_value: ClassVar[str] = "rollout"

    width: int = 3
    selection: Literal["uct", "puct"] = "uct"
    c: float = 0.5
    unvisited: float = 0.9
    backup: BackupRule = BackupRule.WEIGHTED
    rollout_steps: int = 2
    rollout_width: int = 1
    alpha: float = 0.5
    gate: float | None = 0.9
    answer: RuleName = "best"
