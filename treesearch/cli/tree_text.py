"""A search tree as lines of text: one line a node, with its statistics, below its parent.

A line holds the node's id, the step's text, visits, q (what the backup rule made of the returns), value
(the value source's score), tokens and prior, then marks: `closed`, `finished` with its answer, and a star on
the path of the tree's answer. Of a node with many children the most visited are shown, in the order of
adding, those on the answer's path always.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from treesearch.cli.solution import AnswerPath, answer_path
from treesearch.cli.terminal import one_line

if TYPE_CHECKING:
    from treesearch.tree import Node, Tree

WIDEST = 8
LONGEST = 100


@dataclass(frozen=True, kw_only=True)
class Guides:
    """What is drawn in front of a node: below an open branch, at a branch, at the last one."""

    through: str
    branch: str
    last: str


UNICODE = Guides(through="│  ", branch="├─ ", last="└─ ")
ASCII = Guides(through="|  ", branch="|- ", last="`- ")


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line in parts, so that a terminal can colour them."""

    guide: str
    text: str
    numbers: str
    marks: str
    on_path: bool

    def __str__(self) -> str:
        parts = (self.text, self.numbers, self.marks)
        return self.guide + "  ".join(part for part in parts if part)


def answer_nodes(tree: Tree, answer: str | None) -> set[int]:
    """Ids of the nodes on the path of the answer, the root left out; empty without an answer."""
    return _above(tree, answer_path(tree, answer))


def _above(tree: Tree, found: AnswerPath | None) -> set[int]:
    return set() if found is None else {node.id for node in tree.lineage(found.node)} - {0}


def tree_lines(tree: Tree, answer: str | None, guides: Guides, *, everything: bool = False) -> Iterator[Line]:
    """The lines of `tree`, parents before children. `everything` lifts the caps on width and text."""
    found = answer_path(tree, answer)
    path = _above(tree, found)
    stack: list[tuple[Node | Line, str, bool]] = [(tree.root, "", True)]
    while stack:
        entry, indent, last = stack.pop()
        root = entry is tree.root
        guide = "" if root else indent + (guides.last if last else guides.branch)
        if isinstance(entry, Line):
            yield replace(entry, guide=guide)
            continue
        yield _line(tree, entry, guide, path, everything=everything)
        below = "" if root else indent + (" " * len(guides.through) if last else guides.through)
        places = _places(tree, entry, path, found, everything)
        stack.extend((each, below, place) for each, place in reversed(places))


def _places(
    tree: Tree, node: Node, path: set[int], tail: AnswerPath | None, everything: bool
) -> list[tuple[Node | Line, bool]]:
    """What to show below a node, each with whether it is the last: nodes, the roll-out that gave the answer,
    and what was left out."""
    children = tree.children(node.id)
    shown: list[Node | Line] = list(children)
    if not everything and len(children) > WIDEST:
        ranked = sorted(children, key=lambda child: (child.id not in path, -child.visits, child.id))
        kept = {child.id for child in ranked[:WIDEST]}
        shown = [child for child in children if child.id in kept]
        shown.append(_plain(f"... {len(children) - WIDEST} more (use --all)"))
    if tail is not None and tail.tail and tail.node == node.id:
        text = one_line(tail.tail.strip().replace("\n", " | "), 0 if everything else LONGEST)
        shown.append(_plain(f"roll-out: {text}", marks="*"))
    return [(each, index == len(shown) - 1) for index, each in enumerate(shown)]


def _plain(text: str, marks: str = "") -> Line:
    return Line(guide="", text=text, numbers="", marks=marks, on_path=bool(marks))


def _line(tree: Tree, node: Node, guide: str, path: set[int], *, everything: bool) -> Line:
    step = node.step
    text = tree.problem.question if step is None else step.text
    numbers = [f"visits {node.visits}", f"q {node.q:.3f}"]
    if node.value is not None:
        numbers.append(f"value {node.value:.3f}")
    if step is not None:
        numbers += [f"{len(step.token_ids)} tokens", f"prior {node.prior:.2f}"]
    rolls = sum(done.node == node.id for done in tree.completions)
    if rolls:
        numbers.append(f"{rolls} roll-out{'' if rolls == 1 else 's'}")
    return Line(
        guide=guide,
        text=f"{node.id}: {one_line(text, 0 if everything else LONGEST)}",
        numbers=f"[{', '.join(numbers)}]",
        marks=", ".join(_marks(node, path)),
        on_path=node.id in path,
    )


def _marks(node: Node, path: set[int]) -> list[str]:
    marks: list[str] = []
    if node.id in path:
        marks.append("*")
    if node.finished:
        answer = node.step.answer if node.step is not None else None
        marks.append("finished" if answer is None else f"finished: {one_line(answer, LONGEST)}")
    if node.closed:
        marks.append("closed")
    if node.pending:
        marks.append(f"{node.pending} in flight")
    return marks
