"""Training records: one tree of token ids a problem, and what is to be learned from its nodes.

Contract: a `TrainingTree` holds ids exactly as the policy wrote them and lists of records naming its nodes:

- `Trace`: a whole path to imitate (or, with a grade, to weigh by NFT); steps of it may be left untrained;
- `Pair`: two nodes that part below one node, the better one first, with both values and visits;
- `Advantages`: all trained children of one state with advantages that sum to zero;
- `Target`: a value or label for one step, with the counts it came from.

Texts that are no path of a searched tree (a wrong step followed by its correction, a critique between two
attempts, texts of two models) are trees all the same: chains below one prompt. So the packed trainer, the
unpacked one and every export read one format. One line of JSON a tree (`selftrain.data.files`).

It holds no tensors and no rule of what makes a good record: that is `selftrain.builders`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from selftrain.packing.tree import TokenTree
from tasks.errors import UsageError
from treesearch.tree import ROOT


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """The path from the prompt down to `node`. Steps in `untrained` are read but not learned.

    `weight` >= 0. `right` is the grade of its answer where there is one. `kind` names the builder.
    """

    node: int
    weight: float = 1.0
    right: bool | None = None
    untrained: tuple[int, ...] = ()
    kind: str = "sft"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """`chosen` over `rejected`: the chains below `above`, a common ancestor, down to each of them.

    For siblings `above` is their parent and each chain is one step; for solutions it is where they part, or
    the prompt. `q_chosen` and `q_rejected` are the values they were picked by, visits those of the search.
    `weight`, `offset` and `smoothing` go to the loss (`selftrain.losses.preference`).
    """

    above: int
    chosen: int
    rejected: int
    q_chosen: float | None = None
    q_rejected: float | None = None
    visits_chosen: int = 0
    visits_rejected: int = 0
    weight: float = 1.0
    offset: float = 0.0
    smoothing: float = 0.0
    kind: str = "dpo"


@dataclass(frozen=True, slots=True, kw_only=True)
class Advantages:
    """Advantages of children of `state`, in their order; they sum to zero."""

    state: int
    nodes: tuple[int, ...]
    advantages: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.nodes) != len(self.advantages):
            raise UsageError(f"{len(self.nodes)} nodes but {len(self.advantages)} advantages")
        scale = max((abs(one) for one in self.advantages), default=0.0)
        if abs(sum(self.advantages)) > 1e-6 * max(1.0, scale):
            raise UsageError(f"advantages of one state sum to zero, not to {sum(self.advantages)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What step `node` is worth: `value` in [0, 1], from `right` of `completions` outcomes."""

    node: int
    value: float
    completions: int = 0
    right: int = 0
    kind: str = "value"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingTree:
    """One problem's tree and the records on it; `texts` are those of the nodes, the prompt's first."""

    problem: str
    tree: TokenTree
    texts: tuple[str, ...]
    traces: tuple[Trace, ...] = ()
    pairs: tuple[Pair, ...] = ()
    advantages: tuple[Advantages, ...] = ()
    targets: tuple[Target, ...] = ()
    meta: dict[str, Any] = field(default_factory=dict[str, Any])
    """What a user may want to know: model, task, iteration. Not read by training."""

    def __post_init__(self) -> None:
        if len(self.texts) != len(self.tree):
            raise UsageError(f"{len(self.tree)} nodes but {len(self.texts)} texts")
        for trace in self.traces:
            self._check_path(trace.node, trace.untrained, "trace")
        for pair in self.pairs:
            self._check_path(pair.chosen, (pair.above,), "pair")
            self._check_path(pair.rejected, (pair.above,), "pair")
        for found in self.advantages:
            if any(self._parent(node) != found.state for node in found.nodes):
                raise UsageError(f"advantages of state {found.state} name nodes that are not its children")
        for target in self.targets:
            self._parent(target.node)

    def learned(self, trace: Trace) -> list[int]:
        """The steps of `trace` that are learned, from the top: its path but for the `untrained`."""
        return [node for node in self.tree.path(trace.node)[1:] if node not in trace.untrained]

    def _parent(self, node: int) -> int:
        if not ROOT < node < len(self.tree):
            raise UsageError(f"the tree of {self.problem} has steps 1 to {len(self.tree) - 1}, not {node}")
        return self.tree.parents[node]

    def _check_path(self, node: int, above: tuple[int, ...], what: str) -> None:
        self._parent(node)
        path = self.tree.path(node)
        for one in above:
            if one not in path:
                raise UsageError(f"{what}: node {one} is not on the path to node {node} of {self.problem}")
