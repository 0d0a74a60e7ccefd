"""Several attempts in one text: wrong ones, words that start again, and at last a right one.

Contract: of each problem with a right solution a chain is made: wrong solutions one after the other, at most
`attempts`, each followed by the words of `again` (`selftrain.builders.again`). The best right solution by
`value` is a trace from the prompt (kind `sft`), and right ones, drawn by `seed` and the problem's id, are
traces behind the attempts (kind `revisions`). With `differ` first-step no two attempts of a chain begin with
the same step, and none with one that begins a right solution too: else a model learns that it may repeat
itself. Two orders of a chain:

- `value`: the best first; with log-probs the model's own favourites, so that what it would write next without
  looking stands there already. A right solution follows every one of them, taken in turn.
- `text`: behind the first attempt in the order of their texts, and each right solution that begins
  differently behind those that come before it in that order: what to try next can be told from the attempt
  before.

A trace learns what it adds to the one before: its words, its right solution, and of the wrong attempt what
`train_wrong` says: nothing, its last step, the same and all of those behind the first attempt (`later`), or
all of it; but never a last step that claims falsely, which has the same text behind its last equals sign as a
right solution of the problem. So words that start again are learned as often as ends of right solutions (one
less often): learned by all traces that share them, they would be what a model writes always. A wrong end
teaches to end in what is true where it is not what was asked for: a model that has seen right ends alone
claims them falsely, and then sees nothing to mend.

With `chains` above 1 a problem has up to that many: the first as above, the others of wrong attempts in a
drawn order (with order `text` their first one is drawn), as long as they differ.

With `pairs` the first step of a right solution behind wrong attempts is preferred to the first step of each
of them, written again (kind `repeat`): imitation says what to write, not that what stands there is not to be
copied.

A solution that has the words in it is several attempts already: its last one counts as the solution, and
right ones that were found at once come first. Those before it are wrong ones, but for those that end as a
right solution does: they may have been right, and given up. So the trees of a model that was trained on this
are material like any others.

Source: revision models (Snell et al., arXiv 2408.03314, section 6 and appendix H): up to four wrong answers
in context, then a right one, no loss on the wrong ones (`train_wrong` none); RISE (arXiv 2407.18219).
Deviations: wrong attempts are the likeliest, where Snell et al. take the last one nearest to the right answer
by edit distance; a right one is learned after every prefix of the chain; all other settings are our own.
"""

from __future__ import annotations

import random
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import ClassVar, Literal

from selftrain.builders.again import Again
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
    order: Literal["value", "text"] = "value"
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
        words = Again(self.again, searched.problem.question)
        right, wrong, false = self._attempts(searched, words)
        if not right:
            tally.drop("no_right")
            return None
        order = random.Random(derive(self.seed, searched.problem.id))
        best = right[0]
        order.shuffle(right)
        if self.differ == "first-step":
            known = {searched.texts[one[0]] for one in right}
            firsts: dict[str, Attempt] = {}
            for one in wrong:
                firsts.setdefault(searched.texts[one[0]], one)
            wrong = [one for text, one in firsts.items() if text not in known]
        if not wrong:
            tally.drop("no_wrong")
        drawn = [order.sample(wrong, min(self.attempts, len(wrong))) for _ in range(1, self.chains)]
        chains = dict.fromkeys(self._ordered(searched, one) for one in [wrong[: self.attempts], *drawn])
        composer = self.composer(searched)
        turns = cycle(right)
        learned: list[_Link] = []
        for chain in chains:
            in_order = self.order == "text"
            follow = self._follow(searched, chain, right) if in_order else [[next(turns)] for _ in chain]
            learned += self._chain(composer, words, chain, [[best], *follow], false)
        kept = learned[: self.max_traces]
        tally.drop("cap", len(learned) - len(kept))
        repeats = [
            Pair(above=link.above, chosen=link.first, rejected=again, kind="repeat")
            for link in kept
            for again in (composer.step(link.above, attempt[0]) for attempt in link.tried if self.pairs)
            if composer.text(again) != composer.text(link.first)
        ]
        return composer.tree([link.trace for link in kept], builder=self.name, pairs=repeats)

    def _ordered(self, searched: Searched, chain: Sequence[Attempt]) -> tuple[Attempt, ...]:
        if self.order == "value":
            return tuple(chain)
        return (*chain[:1], *sorted(chain[1:], key=lambda one: _text(searched, one)))

    @staticmethod
    def _follow(
        searched: Searched, chain: Sequence[Attempt], right: Sequence[Attempt]
    ) -> list[list[Attempt]]:
        """Right solutions that begin differently, each behind the attempts that its text comes after."""
        follow: list[list[Attempt]] = [[] for _ in chain]
        firsts = {searched.texts[one[0]]: one for one in reversed(right)}
        for one in firsts.values() if chain else ():
            before = sum(_text(searched, attempt) < _text(searched, one) for attempt in chain[1:])
            follow[before].append(one)
        return follow

    def _chain(
        self,
        composer: Composer,
        words: Again,
        chain: Sequence[Attempt],
        follow: Sequence[Sequence[Attempt]],
        false: Container[Attempt],
    ) -> Iterator[_Link]:
        """The right solutions `follow[k]` behind the first k attempts; those in `false` claim falsely."""
        at, fresh = 0, list[int]()
        unlearned = list[int]()
        for number, solutions_here in enumerate(follow):
            if number:
                walked = composer.steps(at, chain[number - 1])
                at = composer.say(walked[-1], words.words(number + 1, composer.text(walked[0])))
                fresh += [*walked, at]
                unlearned += walked[: self._unlearned(number, len(walked))]
                unlearned += walked[-1:] if chain[number - 1] in false else ()
            for one in solutions_here:
                solution = composer.steps(at, one, last=True)
                trace = Trace(
                    node=solution[-1],
                    right=True,
                    untrained=tuple(dict.fromkeys(unlearned)),
                    kind=self.name if number else "sft",
                )
                yield _Link(trace=trace, above=at, first=solution[0], tried=chain[:number])
                unlearned += fresh
                fresh = []

    def _unlearned(self, number: int, steps: int) -> int:
        """How many of the steps of wrong attempt `number` (from 1) are read only, from the first on."""
        if self.train_wrong == "none":
            return steps
        whole = self.train_wrong == "all" or (self.train_wrong == "later" and number > 1)
        return 0 if whole else steps - 1

    def _attempts(
        self, searched: Searched, words: Again
    ) -> tuple[list[Attempt], list[Attempt], set[Attempt]]:
        """Right and wrong attempts of all solutions, each text once; and wrong ones that claim falsely."""
        found = [
            (one.right, [one.path[each.start : each.stop] for each in words.split(one.steps)])
            for one in solutions(searched, self.value)
        ]
        right: dict[str, Attempt] = {}
        for known, attempts in sorted(found, key=lambda each: len(each[1]) > 1):
            if known and attempts[-1]:
                right.setdefault(_text(searched, attempts[-1]), attempts[-1])
        claims = {_claim(searched, one) for one in right.values()}
        wrong: dict[str, Attempt] = {}
        false: set[Attempt] = set()
        for known, (*before, last) in found:
            for attempt in [one for one in before if _claim(searched, one) not in claims]:
                wrong.setdefault(_text(searched, attempt), attempt)
            if known is False:
                wrong.setdefault(_text(searched, last), last)
                false |= {last} if _claim(searched, last) in claims else set()
        return list(right.values()), [each for text, each in wrong.items() if text], false


def _claim(searched: Searched, attempt: Attempt) -> str:
    """What an attempt ends in: the text behind its last equals sign."""
    return _text(searched, attempt).rpartition("=")[2].strip()


def _text(searched: Searched, attempt: Attempt) -> str:
    return "".join(searched.texts[node] for node in attempt).strip()
