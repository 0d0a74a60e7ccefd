"""Monte-Carlo tree search over steps: select, expand, evaluate, back up.

One simulation: descend from the root by a selection score to a node that wants children; ask the policy for
`width` steps and score them with the value source; take the best new child, optionally roll out greedily
from it for a few steps; back its return up. A finished path is visited once and closed. `ReST-MCTS*` is a
preset (`treesearch.algorithms.rest_mcts`).

- selection: `uct` (q + c sqrt(2 ln N_p / N)) or `puct` (AlphaZero), see `treesearch.algorithms.selection`;
- backup: `mean`, `max` or `weighted` (visit-weighted mean of the children), see `BackupRule`;
- evaluation: the value source (a reward model, roll-outs, the verifier);
- several simulations at once: pending visits count in selection (WU-UCT), see `treesearch.inorder`.

A node whose children are all closed is expanded again with fresh samples, up to `max_children` or, below
the root, until they bring nothing new, so that a budget is used; `widening` > 0 adds progressive widening: a
node wants children while it has fewer than width * N**widening (Coulom 2007).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from treesearch.algorithms.base import Stepwise, add_siblings, require
from treesearch.algorithms.expand import Children, expand, expansion_cost
from treesearch.algorithms.greedy_rollout import best_of, reached, roll_out
from treesearch.algorithms.selection import estimate, puct, puct_scale, uct, visits
from treesearch.answers import RuleName
from treesearch.budget import Cost
from treesearch.engines.base import FinishReason
from treesearch.events import (
    Added,
    Backed,
    BackupRule,
    Closed,
    Event,
    Expanded,
    Issued,
    Scored,
    Step,
    StopReason,
    rounded,
)
from treesearch.inorder import Outcome, Work, run_in_order
from treesearch.policy import Policy
from treesearch.seeds import derive
from treesearch.tree import NO_PARENT, Node, Tree
from treesearch.values.base import Value


@dataclass(frozen=True, kw_only=True)
class MCTS(Stepwise):
    """MCTS with the hyper-parameters of the literature.

    `simulations` None runs until the budget is spent. `c` is UCT's exploration constant, `c_init` and
    `c_base` PUCT's. `unvisited` is what UCT adds to an unvisited child's value: large values try every child
    first. `root_width` steps are asked for at the root (None: `width`): nothing below makes up for a first
    step that was not tried (AlphaLLM's root has 40 children). `rollout_steps` greedy steps from the best new
    child, each the best of `rollout_width` samples, blend into its return with weight `alpha`:
    (1 - alpha) v + alpha max v_rollout.
    """

    name: ClassVar[str] = "mcts"
    default_value: ClassVar[str] = "rollout"
    ended_by: ClassVar[str] = "simulations"

    simulations: int | None = None
    width: int = 4
    root_width: int | None = None
    selection: Literal["uct", "puct"] = "puct"
    c: float = 1.0
    c_init: float = 1.25
    c_base: float = 19652.0
    unvisited: float = 1e6
    backup: BackupRule = BackupRule.MEAN
    max_depth: int = 40
    max_children: int = 16
    widening: float = 0.0
    rollout_steps: int = 0
    rollout_width: int = 1
    alpha: float = 0.5
    answer: RuleName = "vote"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "backup", BackupRule(self.backup))
        for name in ("width", "max_depth", "max_children", "rollout_width"):
            require(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")
        wide = self.root_width is None or 1 <= self.root_width <= self.max_children
        require("root_width", self.root_width, wide, f"from 1 to max_children ({self.max_children})")
        require(
            "simulations", self.simulations, self.simulations is None or self.simulations >= 1, "at least 1"
        )
        require("selection", self.selection, self.selection in ("uct", "puct"), "uct or puct")
        for name in ("c", "c_init", "widening", "rollout_steps"):
            require(name, getattr(self, name), getattr(self, name) >= 0, "at least 0")
        require("c_base", self.c_base, self.c_base > 0, "above 0")
        require("alpha", self.alpha, 0 <= self.alpha <= 1, "in [0, 1]")

    async def __call__(self, tree: Tree, policy: Policy, value: Value) -> StopReason:
        """Simulate until `simulations`, the gate or the budget ends it."""
        self.require_end(tree.meter.budget)

        def plan(tree: Tree) -> Work | list[Event] | StopReason | None:
            if self.solved(tree, policy, value):
                return StopReason.SOLVED
            if self.simulations is not None and visits(tree.root) >= self.simulations:
                return StopReason.COMPLETED
            if tree.root.closed:
                return StopReason.EXHAUSTED
            leaf = self.select(tree)
            if leaf is None:
                return None
            cost = self._cost(tree, policy, value, leaf)
            return Work(leaf.id, cost) if cost.calls else self._revisit(tree, leaf)

        async def perform(tree: Tree, issued: Issued) -> Outcome:
            return await self._simulate(tree, policy, value, issued)

        return await run_in_order(tree, plan, perform, in_flight=self.in_flight)

    # -- select ---------------------------------------------------------------------------------------

    def select(self, tree: Tree) -> Node | None:
        """Descend to the node to visit next; None if every way down waits for a work in flight."""
        node = tree.root
        waiting: set[int] = set()
        while True:
            best: Node | None
            if node.finished or self._wants_children(tree, node):
                if not _busy(tree, node):
                    return node
                best = None
            else:
                best = self._best_child(tree, node, waiting)
            if best is None:
                if node.parent == NO_PARENT:
                    return None
                waiting.add(node.id)  # the next best way down from the parent
                best = tree.nodes[node.parent]
            node = best

    def _best_child(self, tree: Tree, node: Node, waiting: set[int]) -> Node | None:
        """The open child of highest score, but for those `waiting`; of equals the one of larger prior, then
        the older one."""
        total, by_uct, q = visits(node), self.selection == "uct", node.q
        scale = puct_scale(total, c_init=self.c_init, c_base=self.c_base)
        best, top = None, -math.inf
        for index in node.children:
            child = tree.nodes[index]
            if child.closed or (child.pending and _blocked(child)) or index in waiting:
                continue
            score = uct(child, total, c=self.c, unvisited=self.unvisited) if by_uct else puct(child, scale, q)
            if best is None or score > top or (score == top and child.prior > best.prior):
                best, top = child, score
        return best

    def _wants_children(self, tree: Tree, node: Node) -> bool:
        if node.expansions == 0:
            return True
        if not self._can_widen(node):
            return False
        if self.widening and len(node.children) < self._width(node) * node.visits**self.widening:
            return True
        return all(tree.nodes[child].closed for child in node.children)

    def _can_widen(self, node: Node) -> bool:
        return len(node.children) < self.max_children and node.expansions < self.max_children

    # -- expand and evaluate --------------------------------------------------------------------------

    def _width(self, node: Node) -> int:
        return (self.root_width or self.width) if node.parent == NO_PARENT else self.width

    def _cost(self, tree: Tree, policy: Policy, value: Value, leaf: Node) -> Cost:
        if leaf.finished or leaf.depth >= self.max_depth:
            return Cost()
        path = tree.path(leaf.id)
        if not policy.room(path, whole=False):
            return Cost()
        cost = expansion_cost(policy, value, path, self._width(leaf))
        if not self.rollout_steps:
            return cost
        step = expansion_cost(policy, value, path, self.rollout_width)
        return Cost(
            tokens=cost.tokens + self.rollout_steps * step.tokens,
            calls=cost.calls + self.rollout_steps * step.calls,
            nodes=cost.nodes,
            least=cost.least,
        )

    async def _simulate(self, tree: Tree, policy: Policy, value: Value, issued: Issued) -> Outcome:
        node = tree.nodes[issued.node]
        made = await expand(tree, policy, value, issued, self._width(node))
        best = best_of(made)
        rolls: list[Children] = []
        if self.rollout_steps and best is not None:
            rolls = await roll_out(
                tree,
                policy,
                value,
                (*tree.path(node.id), made.steps[best]),
                steps=self.rollout_steps,
                width=self.rollout_width,
                grant=made.rest,
                seed=derive(tree.seed, node.id, "greedy"),
            )
        usage = made.usage
        for roll in rolls:
            usage = usage + roll.usage
        return Outcome(usage, lambda tree: self._events(tree, node, made, rolls, value))

    # -- back up --------------------------------------------------------------------------------------

    def _revisit(self, tree: Tree, node: Node) -> list[Event]:
        """Visit a finished path, or one at its greatest depth: its value counts once, then it is closed."""
        return [Backed(node.id, rounded(estimate(node)), self.backup), *self._closings(tree, node)]

    def _events(
        self, tree: Tree, node: Node, made: Children, rolls: Sequence[Children], value: Value
    ) -> list[Event]:
        first = len(tree.nodes)
        added = add_siblings(tree, node.id, made.steps, made.scores, value)
        new = dict(enumerate((event for event in added if isinstance(event, Added)), first))
        values = {event.node: event.value for event in added if isinstance(event, Scored)}
        events: list[Event] = [Expanded(node.id), *added]
        chosen = max(new, key=lambda i: (values.get(i, -1.0), new[i].prior, -i), default=node.id)
        blend: float | None = None
        if rolls:
            holder = _holder(tree, node, new, made.steps[best_of(made) or 0])
            highest, solutions = reached(tree, holder, rolls, value)
            events += solutions
            if holder in new:  # a repeat of an older child keeps the solutions found, not the return
                chosen, blend = holder, highest
        result = values.get(chosen, node.q) if chosen in new else estimate(node)
        if blend is not None:
            result = (1 - self.alpha) * result + self.alpha * blend
        events.append(Backed(chosen, rounded(result), self.backup))
        done = chosen in new and new[chosen].step.finish is FinishReason.END
        if done:
            events.append(Closed(chosen))
        return events + self._closings_after(tree, node, added=len(new), still_open=len(new) - done)

    def _closings_after(self, tree: Tree, node: Node, *, added: int, still_open: int) -> list[Event]:
        """What an expansion of `node` closes: nothing, unless it was the last one and no child is open.

        One that brought nothing new is the last one, but for the root's.
        """
        children = len(node.children) + added
        more = children < self.max_children and node.expansions + 1 < self.max_children
        widens = more and (added or node.parent == NO_PARENT)
        if widens or still_open or any(not tree.nodes[child].closed for child in node.children):
            return []
        return self._closings(tree, node)

    def _closings(self, tree: Tree, node: Node) -> list[Event]:
        """Close `node`, and every ancestor that has nothing open left and may not be widened."""
        events: list[Event] = [Closed(node.id)]
        closed = {node.id}
        while node.parent != NO_PARENT:
            node = tree.nodes[node.parent]
            if self._can_widen(node):
                break
            if not all(child in closed or tree.nodes[child].closed for child in node.children):
                break
            events.append(Closed(node.id))
            closed.add(node.id)
        return events


def _holder(tree: Tree, node: Node, new: Mapping[int, Added], step: Step) -> int:
    """The child of `node`, a new or an older one, that is `step`."""
    old = {child.id: child.step for child in tree.children(node.id)}
    steps = old | {child: event.step for child, event in new.items()}
    same = (i for i, s in steps.items() if s is not None and (s.text, s.finish) == (step.text, step.finish))
    return next(same)


def _busy(tree: Tree, node: Node) -> bool:
    """Whether a work in flight is on exactly this node."""
    return bool(node.pending) and any(issued.node == node.id for issued in tree.in_flight.values())


def _blocked(child: Node) -> bool:
    """Whether a child with a work in flight leads nowhere until that is settled."""
    return child.finished or not child.expansions
