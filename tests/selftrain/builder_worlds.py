"""Searched trees for the tests of builders: written by hand from a few words, or random.

A token is a character: its id is its code plus `SHIFT`, end-of-text is `END` and has no text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from hypothesis import strategies as st

from selftrain.builders import open_builder
from selftrain.builders.base import Builder
from selftrain.data.record import Pair, TrainingTree
from selftrain.data.searched import Searched
from selftrain.packing import TokenTree
from tasks.base import Problem

END = 1
SHIFT = 10
PROMPT = "Q\n"


def encode(text: str) -> list[int]:
    return [ord(letter) + SHIFT for letter in text]


def decode(ids: Sequence[int]) -> str:
    return "".join(chr(token - SHIFT) for token in ids if token != END)


@dataclass(frozen=True, kw_only=True)
class Step:
    """A step below `parent`. `correct` None: not finished. `rolls`: right ones of how many roll-outs."""

    parent: int = 0
    text: str
    correct: bool | None = None
    value: float | None = None
    q: float = 0.0
    visits: int = 0
    rolls: tuple[int, int] = (0, 0)


def searched(*steps: Step, problem: str = "p", graded: bool = True, stored: bool = True) -> Searched:
    """The tree of `steps`, numbered from 1; with `graded` false nobody knew the gold."""
    count = len(steps) + 1
    ended = [False, *(one.correct is not None for one in steps)]
    segments = [
        encode(PROMPT),
        *(encode(one.text) + [END] * (one.correct is not None) for one in steps),
    ]
    outcomes, right = [0] * count, [0] * count
    for node, one in enumerate(steps, 1):
        right[node] += one.rolls[0] + (one.correct is True)
        outcomes[node] += one.rolls[1] + (one.correct is not None)
    for node in range(count - 1, 0, -1):
        outcomes[steps[node - 1].parent] += outcomes[node]
        right[steps[node - 1].parent] += right[node]
    return Searched(
        problem=Problem(id=problem, question="Q", gold="1" if graded else None),
        tree=TokenTree(
            segments=tuple(map(tuple, segments)),
            parents=(-1, *(one.parent for one in steps)),
            logprobs=(None, *(tuple(-0.1 * (1 + token % 7) for token in ids) for ids in segments[1:]))
            if stored
            else (),
        ),
        texts=(PROMPT, *(one.text for one in steps)),
        finished=tuple(ended),
        correct=(None, *(one.correct if graded else None for one in steps)),
        answers=(None, *("1" if one.correct else None for one in steps)),
        outcomes=tuple(outcomes) if graded else (0,) * count,
        right=tuple(right) if graded else (0,) * count,
        values=(None, *(one.value for one in steps)),
        q=(0.0, *(one.q for one in steps)),
        visits=(sum(one.visits for one in steps if not one.parent), *(one.visits for one in steps)),
    )


def samples(*ends: tuple[str, bool, float | None], problem: str = "p") -> Searched:
    """Solutions of one step: text, grade, value."""
    steps = [Step(text=text, correct=right, value=value) for text, right, value in ends]
    return searched(*steps, problem=problem)


_VALUES = st.one_of(
    st.none(), st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.floats(0, 1).map(lambda x: round(x, 6))
)


@st.composite
def trees(draw: st.DrawFn, problem: str = "p", max_steps: int = 14, graded: bool | None = None) -> Searched:
    """A random tree: equal siblings, unfinished leaves, unscored and unvisited steps and all."""
    count = draw(st.integers(1, max_steps))
    steps: list[Step] = []
    whole = {0: ""}
    open_nodes = [0]
    for node in range(1, count + 1):
        parent = draw(st.sampled_from(open_nodes))
        ends = draw(st.booleans())
        text = draw(st.text("abc", min_size=1, max_size=3)) + ("" if ends else "\n")
        whole[node] = whole[parent] + text
        total = draw(st.integers(0, 3))
        visits = draw(st.integers(0, 4))
        steps.append(
            Step(
                parent=parent,
                text=text,
                # A grade is a function of the text.
                correct=whole[node].count("a") % 2 == 0 if ends else None,
                value=draw(_VALUES),
                visits=visits,
                q=draw(st.floats(0, 1).map(lambda x: round(x, 6))) if visits else 0.0,
                rolls=(0, 0) if ends else (draw(st.integers(0, total)), total),
            )
        )
        if not ends:
            open_nodes.append(node)
    known = draw(st.sampled_from([True, True, True, False])) if graded is None else graded
    return searched(*steps, problem=problem, graded=known, stored=draw(st.booleans()))


def forests(graded: bool | None = None) -> st.SearchStrategy[list[Searched]]:
    """Trees of up to four problems, some of them with two trees."""
    names = st.lists(st.sampled_from(["p", "q", "r", "s"]), min_size=1, max_size=5)
    return names.flatmap(
        lambda found: st.tuples(*(trees(name, max_steps=8, graded=graded) for name in found)).map(list)
    )


class Letters:
    """A tokenizer of characters."""

    eos_token_id = END

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        return encode(text)

    def decode(self, token_ids: Sequence[int]) -> str:
        return decode(token_ids)

    def chat(self, messages: Sequence[dict[str, str]]) -> list[int] | None:
        return None


def doubt(problem: str, chosen: str, rejected: str) -> float:
    """An uncertainty in [0, log 2) that depends on the texts alone."""
    return (len(chosen) * 7 + len(rejected) * 3) % 11 / 16


INPUTS: Mapping[str, object] = {
    "encode": encode,
    "demonstrations": dict.fromkeys("pqrs", "ab"),
    "uncertainty": doubt,
    "earlier": [samples(("old", False, 0.2), ("older", True, 0.1), problem=name) for name in "pqrs"],
}
"""What builders may need, for the problems of `forests`."""


def opened(name: str, **settings: object) -> Builder:
    """A builder with the inputs of these worlds."""
    from selftrain.builders import builder_inputs

    needed = {key: INPUTS[key] for key in builder_inputs(name, optional=False)}
    return open_builder(name, needed | settings)


def chain_text(tree: TrainingTree, node: int) -> str:
    """Text of the path to a node, without the prompt."""
    return "".join(tree.texts[one] for one in tree.tree.path(node)[1:])


def chain_ids(tree: TrainingTree, node: int) -> tuple[int, ...]:
    """Ids of the path to a node, without the prompt."""
    return tuple(token for one in tree.tree.path(node)[1:] for token in tree.tree.segments[one])


def pair_texts(tree: TrainingTree, pair: Pair) -> tuple[str, str]:
    """Whole texts of both sides."""
    return chain_text(tree, pair.chosen), chain_text(tree, pair.rejected)


def trace_texts(found: Sequence[TrainingTree], kind: str | None = None) -> list[str]:
    """Texts of all traces, in order."""
    return [
        chain_text(tree, trace.node)
        for tree in found
        for trace in tree.traces
        if kind is None or trace.kind == kind
    ]


def shuffled(one: Searched, order: Sequence[int]) -> Searched:
    """The same tree with siblings added in another order; `order` ranks the nodes."""
    new: list[int] = [0]
    waiting = sorted((n for n in range(1, len(one.tree)) if one.tree.parents[n] == 0), key=lambda n: order[n])
    while waiting:
        node = waiting.pop(0)
        new.append(node)
        below = [n for n in range(1, len(one.tree)) if one.tree.parents[n] == node]
        waiting = sorted([*waiting, *below], key=lambda n: order[n])
    place = {old: number for number, old in enumerate(new)}

    def moved(values: Sequence[object]) -> tuple[object, ...]:
        return tuple(values[old] for old in new)

    tree = TokenTree(
        segments=moved(one.tree.segments),
        parents=tuple(-1 if old == 0 else place[one.tree.parents[old]] for old in new),
        logprobs=moved(one.tree.logprobs) if one.tree.logprobs else (),
    )
    names = ("texts", "finished", "correct", "answers", "outcomes", "right", "values", "q", "visits")
    return replace(one, tree=tree, **{name: moved(getattr(one, name)) for name in names})
