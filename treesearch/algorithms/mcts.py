"""Monte-Carlo tree search over steps: select, expand, evaluate, back up.

One simulation: descend from the root by a selection score to a node that wants children; ask the policy for
`width` steps and score them with the value source; take the best new child, optionally roll out greedily
from it for a few steps; back its return up. A finished path is visited once and closed. `ReST-MCTS*` is a
preset (`treesearch.algorithms.rest_mcts`).

- selection: `uct` (q + c sqrt(2 ln N_p / N)) or `puct` (AlphaZero), see `treesearch.algorithms.selection`;
- backup: `mean`, `max` or `weighted` (visit-weighted mean of the children), see `BackupRule`;
- evaluation: the value source (a reward model, roll-outs, the verifier);
- several simulations at once: pending visits count in selection (WU-UCT), see `treesearch.inorder`.

A node whose children are all closed is expanded again with fresh samples, up to `max_children`, so that a
budget is used; `widening` > 0 adds progressive widening: a node wants children while it has fewer than
width * N**widening (Coulom 2007).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from treesearch.algorithms.base import Algorithm, add_siblings, require, rolled
from treesearch.algorithms.expand import Children, expand, expansion_cost, propose_and_score
from treesearch.algorithms.selection import estimate, puct, uct, visits
from treesearch.answers import RuleName
from treesearch.budget import Cost, Usage
from treesearch.engines.base import FinishReason
from treesearch.events import (
    Added,
    Backed,
    BackupRule,
    Closed,
    Event,
    Expanded,
    Issued,
    Rolled,
    Scored,
    Step,
    StopReason,
    rounded,
)
from treesearch.inorder import Outcome, Work, run_in_order
from treesearch.policy import Policy
from treesearch.seeds import derive
from treesearch.tree import NO_PARENT, Node, Tree
from treesearch.values.base import Path, Value


@dataclass(frozen=True, kw_only=True)
class MCTS(Algorithm):
    """MCTS with the hyper-parameters of the literature.

    `simulations` None runs until the budget is spent. `c` is UCT's exploration constant, `c_init` and
    `c_base` PUCT's. `unvisited` is what UCT adds to an unvisited child's value: large values try every child
    first. `rollout_steps` greedy steps from the best new child, each the best of `rollout_width` samples,
    blend into its return with weight `alpha`: (1 - alpha) v + alpha max v_rollout.
    """

    name: ClassVar[str] = "mcts"
    default_value: ClassVar[str] = "rollout"

    simulations: int | None = None
    width: int = 4
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
    gate: float | None = None
    """Stop when a finished path has this value; None takes the value source's own, if it has one."""
    answer: RuleName = "vote"
    in_flight: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "backup", BackupRule(self.backup))
        for name in ("width", "max_depth", "max_children", "rollout_width"):
            require(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")
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
        gate = value.gate(policy) if self.gate is None else self.gate

        def plan(tree: Tree) -> Work | StopReason | None:
            if gate is not None and tree.best_finished >= gate:
                return StopReason.SOLVED
            if self.simulations is not None and visits(tree.root) >= self.simulations:
                return StopReason.COMPLETED
            if tree.root.closed:
                return StopReason.EXHAUSTED
            leaf = self.select(tree)
            return None if leaf is None else Work(leaf.id, self._cost(tree, policy, value, leaf))

        async def perform(tree: Tree, issued: Issued) -> Outcome:
            return await self._simulate(tree, policy, value, issued)

        return await run_in_order(tree, plan, perform, in_flight=self.in_flight)

    # -- select ---------------------------------------------------------------------------------------

    def select(self, tree: Tree) -> Node | None:
        """Descend to the node to visit next; None if every way down waits for a work in flight."""
        node = tree.root
        while True:
            if node.finished or self._wants_children(tree, node):
                return None if _busy(tree, node) else node
            best = self._best_child(tree, node)
            if best is None:
                return None
            node = best

    def _best_child(self, tree: Tree, node: Node) -> Node | None:
        """The open child of highest score; of equals the one of larger prior, then the older one."""
        total = visits(node)
        best, top = None, -math.inf
        for child in map(tree.nodes.__getitem__, node.children):
            if child.closed or _blocked(child):
                continue
            if self.selection == "uct":
                score = uct(child, total, c=self.c, unvisited=self.unvisited)
            else:
                score = puct(child, total, c_init=self.c_init, c_base=self.c_base, parent_q=node.q)
            if best is None or score > top or (score == top and child.prior > best.prior):
                best, top = child, score
        return best

    def _wants_children(self, tree: Tree, node: Node) -> bool:
        if node.expansions == 0:
            return True
        if not self._can_widen(node):
            return False
        if self.widening and len(node.children) < self.width * node.visits**self.widening:
            return True
        return all(tree.nodes[child].closed for child in node.children)

    def _can_widen(self, node: Node) -> bool:
        return len(node.children) < self.max_children and node.expansions < self.max_children

    # -- expand and evaluate --------------------------------------------------------------------------

    def _cost(self, tree: Tree, policy: Policy, value: Value, leaf: Node) -> Cost:
        if leaf.finished or leaf.depth >= self.max_depth:
            return Cost()
        path = tree.path(leaf.id)
        if not policy.room(path, whole=False):
            return Cost()
        cost = expansion_cost(policy, value, path, self.width)
        if not self.rollout_steps:
            return cost
        step = expansion_cost(policy, value, path, self.rollout_width)
        return Cost(
            tokens=cost.tokens + self.rollout_steps * step.tokens,
            calls=cost.calls + self.rollout_steps * step.calls,
            nodes=cost.nodes,
        )

    async def _simulate(self, tree: Tree, policy: Policy, value: Value, issued: Issued) -> Outcome:
        node = tree.nodes[issued.node]
        if issued.cost == Cost():
            return Outcome(Usage(), lambda tree: self._revisit(tree, node))
        made = await expand(tree, policy, value, issued, self.width)
        best = _best(made)
        rolls: list[Children] = []
        if self.rollout_steps and best is not None:
            path = (*tree.path(node.id), made.steps[best])
            rolls = await self._roll_out(
                tree, policy, value, path, made.rest, derive(tree.seed, node.id, "greedy")
            )
        usage = made.usage
        for roll in rolls:
            usage = usage + roll.usage
        return Outcome(usage, lambda tree: self._events(tree, node, made, rolls, value))

    async def _roll_out(
        self, tree: Tree, policy: Policy, value: Value, path: Path, grant: Cost, seed: int
    ) -> list[Children]:
        """Go on greedily from `path`: at each step the best of `rollout_width` samples."""
        rolls: list[Children] = []
        for index in range(self.rollout_steps):
            if path[-1].finish is FinishReason.END:
                break
            grant = Cost(tokens=grant.tokens, calls=grant.calls, nodes=self.rollout_width)
            made = await propose_and_score(
                tree, policy, value, path, self.rollout_width, grant, derive(seed, index)
            )
            best = _best(made)
            if best is None:
                break
            rolls.append(made)
            path, grant = (*path, made.steps[best]), made.rest
        return rolls

    # -- back up --------------------------------------------------------------------------------------

    def _revisit(self, tree: Tree, node: Node) -> list[Event]:
        """Visit a finished path, or one at its greatest depth: its value counts once, then it is closed."""
        return [Backed(node.id, rounded(estimate(node)), self.backup), *self._closings(tree, node)]

    def _events(
        self, tree: Tree, node: Node, made: Children, rolls: Sequence[Children], value: Value
    ) -> list[Event]:
        first = len(tree.nodes)
        added = add_siblings(tree, node.id, made.steps, made.scores, value)
        events: list[Event] = [Expanded(node.id), *added]
        children = [event for event in added if isinstance(event, Added)]
        if not children:
            events.append(Backed(node.id, rounded(estimate(node)), self.backup))
            return events + ([] if self._can_widen(node) else self._closings(tree, node))
        values = {event.node: event.value for event in added if isinstance(event, Scored)}
        ids = range(first, first + len(children))
        chosen = max(ids, key=lambda i: (values.get(i, -1.0), children[i - first].prior, -i))
        result = values.get(chosen, node.q)
        result, extra = self._blend(tree, chosen, result, rolls, value)
        events += [*extra, Backed(chosen, rounded(result), self.backup)]
        if children[chosen - first].step.finish is FinishReason.END:
            events.append(Closed(chosen))
        return events

    def _blend(
        self, tree: Tree, chosen: int, result: float, rolls: Sequence[Children], value: Value
    ) -> tuple[float, list[Event]]:
        """(1 - alpha) v + alpha max v_rollout, and the roll-out's solution if it came to an end."""
        events: list[Event] = []
        found: list[float] = []
        taken: list[Step] = []
        for made in rolls:
            best = _best(made) or 0
            step, score = made.steps[best], made.scores[best]
            taken.append(step)
            settled = value.settle(tree, score)
            found += [] if settled is None else [settled]
            events += rolled(chosen, score)
            if step.finish is FinishReason.END:
                text = "".join(part.text for part in taken)
                tokens = sum(len(part.token_ids) for part in taken)
                events.append(Rolled(chosen, text, tokens, step.answer, step.vote, settled))
        if not found:
            return result, events
        return (1 - self.alpha) * result + self.alpha * max(found), events

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


def _best(made: Children) -> int | None:
    """Index of the child of highest value, the first of equals; None without children."""
    if not made.steps:
        return None
    known = [-1.0 if score.value is None else score.value for score in made.scores]
    return max(range(len(known)), key=lambda index: (known[index], -index))


def _busy(tree: Tree, node: Node) -> bool:
    """Whether a work in flight is on exactly this node."""
    return bool(node.pending) and any(issued.node == node.id for issued in tree.in_flight.values())


def _blocked(child: Node) -> bool:
    """Whether a child leads nowhere until a work on it is settled."""
    return bool(child.pending) and (child.finished or not child.expansions)
