"""Several attempts in one text: wrong ones, words that start again, and at last a right one.

Contract: of each problem with a right solution a chain is made: wrong solutions one after the other, at most
`attempts`, each followed by the words of `again`, in which ``{question}`` stands for the problem's question.
A right solution is a trace from the prompt (kind `sft`) and after each `again` (kind `revisions`), so that a
text with k wrong attempts is learned for every k up to the chain's length. The wrong ones are the best by
`value`, best first: with log-probs the model's own favourites, so that what it would write next without
looking stands there already. The right ones are drawn by `seed` and the problem's id, in turn before one is
used again. With `differ` first-step no two attempts of a chain begin with the same step, and none with one
that begins a right solution too: else a model learns that it may repeat itself.

A trace learns what it adds to the one before: its words, its right solution, and of the wrong attempt what
`train_wrong` says: nothing, its last step, the same and all of those behind the first attempt (`later`), or
all of it; but never a last step that claims falsely, which has the same text behind its last equals sign as a
right solution of the problem. So words that start again are learned as often as ends of right solutions (one
less often): learned by all traces that share them, they would be what a model writes always. A wrong end
teaches to end in what is true where it is not what was asked for: a model that has seen right ends
alone claims them falsely, and then sees nothing to mend.

With `chains` above 1 a problem has that many: the first as above, the others with wrong attempts and right
solutions in an order of their own, as long as they differ.

With `pairs` the first step of a right solution behind wrong attempts is preferred to the first step of each
of them, written again (kind `repeat`): imitation says what to write, not that what stands there is not to be
copied.

A solution that has the words in it is several attempts already: its last one counts as the solution, those
before it are wrong ones (but where they read as a right solution does). So the trees of a model that was
trained on this are material like any others.

Source: revision models (Snell et al., arXiv 2408.03314, section 6 and appendix H): up to four wrong answers
in context, then a right one, no loss on the wrong ones (`train_wrong` none); RISE (arXiv 2407.18219).
Deviations: wrong attempts are the likeliest, where Snell et al. take the last one nearest to the right answer
by edit distance; a right one is learned after every prefix of the chain; `differ`, `train_wrong` and `pairs`
are our own.
"""

from __future__ import annotations

import random
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import ClassVar, Literal

from selftrain.builders.base import Tally, require, require_cap
from selftrain.builders.chains import Composer, ComposingBuilder
from selftrain.builders.solutions import graded, solutions
from selftrain.builders.values import Rule
from selftrain.data.record import Pair, Trace, TrainingTree
from selftrain.data.searched import Searched
from treesearch.seeds import derive

Attempt = tuple[int, ...]
"""Nodes of one attempt, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Link:
    """A right solution whose first step `first` is written at `above`, behind the attempts `tried`."""

    trace: Trace
    above: int
    first: int
    tried: Sequence[Attempt]


@dataclass(frozen=True, kw_only=True)
class Revisions(ComposingBuilder):
    """Wrong attempts, each followed by words that start again, then a right one (arXiv 2408.03314)."""

    name: ClassVar[str] = "revisions"

    attempts: int = 4
    chains: int = 1
    max_traces: int | None = None
    value: Rule = "logprob"
    again: str = "{question}"
    differ: Literal["text", "first-step"] = "first-step"
    train_wrong: Literal["none", "last", "later", "all"] = "later"
    pairs: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_cap("max_traces", self.max_traces)
        require("attempts", self.attempts, self.attempts >= 1, "at least 1")
        require("chains", self.chains, self.chains >= 1, "at least 1")
        require("again", self.again, bool(self.again.strip()), "some words")

    def build(self, searched: Searched, tally: Tally) -> TrainingTree | None:
        """See the module."""
        if not graded(searched, tally):
            return None
        words = self.again.replace("{question}", searched.problem.question)
        right, wrong = self._attempts(searched, words)
        if not right:
            tally.drop("no_right")
            return None
        order = random.Random(derive(self.seed, searched.problem.id))
        order.shuffle(right)
        if self.differ == "first-step":
            known = {searched.texts[one[0]] for one in right}
            firsts: dict[str, Attempt] = {}
            for one in wrong:
                firsts.setdefault(searched.texts[one[0]], one)
            wrong = [one for text, one in firsts.items() if text not in known]
        if not wrong:
            tally.drop("no_wrong")
        chains = dict.fromkeys([tuple(wrong[: self.attempts])])
        for _ in range(1, self.chains):
            chains[tuple(order.sample(wrong, min(self.attempts, len(wrong))))] = None
        composer = self.composer(searched)
        turns = cycle(right)
        claims = {_claim(searched, one) for one in right}
        false = {one for one in wrong if _claim(searched, one) in claims}
        learned = [link for chain in chains for link in self._chain(composer, words, chain, turns, false)]
        kept = learned[: self.max_traces]
        tally.drop("cap", len(learned) - len(kept))
        repeats = [
            Pair(above=link.above, chosen=link.first, rejected=again, kind="repeat")
            for link in kept
            for again in (composer.step(link.above, attempt[0]) for attempt in link.tried if self.pairs)
            if composer.text(again) != composer.text(link.first)
        ]
        return composer.tree([link.trace for link in kept], builder=self.name, pairs=repeats)

    def _chain(
        self,
        composer: Composer,
        words: str,
        chain: Sequence[Attempt],
        turns: Iterator[Attempt],
        false: Container[Attempt],
    ) -> Iterator[_Link]:
        """A right solution from the prompt and after each attempt; those in `false` claim falsely."""
        at, before = 0, list[int]()
        for number in range(len(chain) + 1):
            walked, skipped = list[int](), list(before)
            if number:
                walked = composer.steps(at, chain[number - 1])
                at = composer.say(walked[-1], words)
                skipped += walked[: self._unlearned(number, len(walked))]
                skipped += walked[-1:] if chain[number - 1] in false else ()
            solution = composer.steps(at, next(turns), last=True)
            trace = Trace(
                node=solution[-1],
                right=True,
                untrained=tuple(dict.fromkeys(skipped)),
                kind=self.name if number else "sft",
            )
            yield _Link(trace=trace, above=at, first=solution[0], tried=chain[:number])
            before += (*walked, at) if number else ()

    def _unlearned(self, number: int, steps: int) -> int:
        """How many of the steps of wrong attempt `number` (from 1) are read only, from the first on."""
        if self.train_wrong == "none":
            return steps
        whole = self.train_wrong == "all" or (self.train_wrong == "later" and number > 1)
        return 0 if whole else steps - 1

    def _attempts(self, searched: Searched, words: str) -> tuple[list[Attempt], list[Attempt]]:
        """Right and wrong attempts of all solutions, each text once."""
        right: dict[str, Attempt] = {}
        wrong: dict[str, Attempt] = {}
        for one in solutions(searched, self.value):
            *before, last = self._split(searched, one.path, words)
            for attempt in before:
                wrong.setdefault(_text(searched, attempt), attempt)
            if one.right is not None and last:
                (right if one.right else wrong).setdefault(_text(searched, last), last)
        return list(right.values()), [each for text, each in wrong.items() if text and text not in right]

    @staticmethod
    def _split(searched: Searched, path: Attempt, words: str) -> list[Attempt]:
        """The attempts of a solution: what stands between steps that together are the words."""
        found: list[Attempt] = []
        start = at = 0
        while at < len(path):
            stop, said = at, ""
            while stop < len(path) and len(said) < len(words):
                said = (said + searched.texts[path[stop]]).lstrip()
                stop += 1
            if said.strip() == words.strip():
                found.append(path[start:at])
                start = at = stop
            else:
                at += 1
        return [*found, path[start:]]


def _claim(searched: Searched, attempt: Attempt) -> str:
    """What an attempt ends in: the text behind its last equals sign."""
    return _text(searched, attempt).rpartition("=")[2].strip()


def _text(searched: Searched, attempt: Attempt) -> str:
    return "".join(searched.texts[node] for node in attempt).strip()
