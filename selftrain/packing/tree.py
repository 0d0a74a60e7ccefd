"""A searched tree as token ids: the prompt, and below it one segment of ids a node.

Contract: node 0 is the prompt, every other node is a step below an earlier node, numbered as in
`treesearch.Tree`. A segment holds exactly what the policy generated, so joining the segments of a path
gives the text that the model read and wrote, token by token. The end-of-text token stands at the end of a
step if and only if the step ended the text (`Node.finished`): a step in the middle that ends with it
teaches a model to stop early (the complaint Step-DPO#25; TRL appends it to every chosen and rejected text).

It holds no tensors, tokenises nothing and knows of no model.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from tasks.errors import DataError, UsageError
from treesearch.tree import NO_PARENT, ROOT, Node, Tree

Ids = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenTree:
    """Prompt and steps in token ids.

    `segments[0]` is the prompt (at least one token), `segments[i]` the step of node i (may be empty: a step
    that found the context full). `parents[0]` is -1 and ``0 <= parents[i] < i``. `logprobs[i]` are the
    log-probs stored when step i was written, one a token, or None where nothing or not all was stored;
    without the field nothing was. `UsageError` if these do not fit together.
    """

    segments: tuple[Ids, ...]
    parents: tuple[int, ...]
    logprobs: tuple[tuple[float, ...] | None, ...] = ()

    def __post_init__(self) -> None:
        count = len(self.segments)
        if not count or not self.segments[ROOT]:
            raise UsageError("a token tree needs a prompt of at least one token: it predicts the first step")
        if len(self.parents) != count or self.parents[ROOT] != NO_PARENT:
            raise UsageError(f"{count} segments need {count} parents that begin with -1, got {self.parents}")
        for node in range(1, count):
            if not 0 <= self.parents[node] < node:
                raise UsageError(f"node {node} has parent {self.parents[node]}; parents come before children")
        if self.logprobs and len(self.logprobs) != count:
            raise UsageError(f"{count} segments but {len(self.logprobs)} entries of log-probs")
        for node, (ids, stored) in enumerate(zip(self.segments, self.logprobs, strict=False)):
            if stored is not None and len(stored) != len(ids):
                raise UsageError(f"node {node} has {len(ids)} tokens but {len(stored)} stored log-probs")

    def __len__(self) -> int:
        """Number of nodes, the prompt's included."""
        return len(self.segments)

    @property
    def tokens(self) -> int:
        """Tokens of all segments: the length of the tree packed into one row."""
        return sum(map(len, self.segments))

    def children(self) -> list[list[int]]:
        """Children of each node, in the order of adding."""
        found: list[list[int]] = [[] for _ in self.segments]
        for node in range(1, len(self)):
            found[self.parents[node]].append(node)
        return found

    def depth_first(self) -> list[int]:
        """All nodes, each before its children and each subtree in one stretch."""
        children, order, waiting = self.children(), list[int](), [ROOT]
        while waiting:
            node = waiting.pop()
            order.append(node)
            waiting.extend(reversed(children[node]))
        return order

    def path(self, node: int) -> list[int]:
        """Nodes from the prompt to `node`, both included."""
        found: list[int] = []
        while node != NO_PARENT:
            found.append(node)
            node = self.parents[node]
        return found[::-1]

    def below(self, above: int, node: int) -> list[int]:
        """Nodes below `above` down to `node`; `UsageError` where `above` is not on the path to it."""
        path = self.path(node)
        if above not in path:
            raise UsageError(f"node {above} is not on the path to node {node}: {path}")
        return path[path.index(above) + 1 :]

    def starts(self) -> list[int]:
        """Depth in tokens of each node's first token: how many tokens of its path are before it."""
        found = [0] * len(self)
        for node in range(1, len(self)):
            parent = self.parents[node]
            found[node] = found[parent] + len(self.segments[parent])
        return found

    def with_ancestors(self, nodes: Iterable[int]) -> set[int]:
        """`nodes` and everything above them, the prompt always; `UsageError` for a node that is none."""
        found = {ROOT}
        for node in nodes:
            if not 0 <= node < len(self):
                raise UsageError(f"the tree has nodes 0 to {len(self) - 1}, not {node}")
            while node not in found:
                found.add(node)
                node = self.parents[node]
        return found


def token_tree(tree: Tree, prompt_ids: Sequence[int], *, end_ids: Collection[int]) -> TokenTree:
    """The token tree of a searched tree, with the log-probs stored at generation time.

    `prompt_ids` are those that the policy used (`Policy.prompt_ids(problem)`), `end_ids` the model's
    end-of-text tokens, the usual one first. A finished step whose ids lack one (servers that send none)
    gets the usual one, and its log-probs then count as not stored. `DataError` for an end-of-text token
    anywhere else.
    """
    ends = list(end_ids)
    if not ends:
        raise UsageError("end_ids is empty; name the model's end-of-text token")
    steps = [_step(node, ends) for node in tree.nodes]
    return TokenTree(
        segments=(tuple(prompt_ids), *(ids for ids, _ in steps[1:])),
        parents=tuple(node.parent for node in tree.nodes),
        logprobs=(None, *(stored for _, stored in steps[1:])),
    )


def _step(node: Node, ends: Sequence[int]) -> tuple[Ids, tuple[float, ...] | None]:
    if node.step is None:
        return (), None
    ids = node.step.token_ids
    stored = node.step.logprobs if len(node.step.logprobs) == len(ids) else None
    ended = bool(ids) and ids[-1] in ends
    early = set(ids[:-1]).intersection(ends)
    if early or (ended and not node.finished):
        raise DataError(f"node {node.id} holds an end-of-text token where the text did not end: ids {ids}")
    if node.finished and not ended:
        return (*ids, ends[0]), None
    return ids, stored
