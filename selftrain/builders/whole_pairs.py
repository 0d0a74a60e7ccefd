"""Pairs of whole solutions: right against wrong, or best against worst.

`OutcomePairs` is the baseline of every step-level method: right solutions over wrong ones, from the step
where they part. Each right solution, best first, meets a wrong one, then the next wrong one, and so on, so
that with `max_pairs` no solution is in many pairs while another is in none.

`SelfRewarding` needs no gold: of a problem's solutions the one of highest value over the one of lowest.
Source: Self-Rewarding language models (Yuan et al., arXiv 2401.10020, section 2.3), there with the model's
own judgment as the value; equal values give no pair.

`Confident`: all right over all wrong solutions, the `max_pairs` of the largest difference in confidence
first. Confidence is the mean probability of the tokens of the final answer: the search's own values where it
searched with `answer-confidence`, or found in the stored log-probs (`confidence` = stored), for which the
task and the tokenizer are inputs. Source: CRew-DPO (Du et al., arXiv 2510.13501). Solutions without a located
answer take part in nothing. The difference is signed: where the wrong one is more sure, it is negative.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from prm.values.spans import answer_span, decoder_of, token_span
from selftrain.builders.base import Tally, optional_input
from selftrain.builders.pairing import PairBuilder, whole
from selftrain.builders.solutions import Solution, best_first, distinct, graded, sides, solutions, valued
from selftrain.builders.values import Rule
from selftrain.data.record import TrainingTree
from selftrain.data.searched import Searched
from tasks.base import Task
from tasks.errors import UsageError
from treesearch.engines.base import Tokenizer


@dataclass(frozen=True, kw_only=True)
class OutcomePairs(PairBuilder):
    """Right over wrong solutions from where they part: outcome-level DPO, the baseline."""

    name: ClassVar[str] = "outcome-dpo"

    max_pairs: int | None = 4
    value: Rule = "worth"

    def build(self, searched: Searched, tally: Tally) -> TrainingTree | None:
        """See the module."""
        if not graded(searched, tally):
            return None
        both = sides(distinct(solutions(searched, self.value), tally), tally)
        if both is None:
            return None
        found = [whole(searched, right, wrong) for right, wrong in _in_turn(*both)]
        return self.tree(searched, pairs=self.pairs(searched, found, tally, ordered=True))


def _in_turn(right: Sequence[Solution], wrong: Sequence[Solution]) -> Iterator[tuple[Solution, Solution]]:
    for shift in range(len(wrong)):
        for number, one in enumerate(right):
            yield one, wrong[(number + shift) % len(wrong)]


@dataclass(frozen=True, kw_only=True)
class SelfRewarding(PairBuilder):
    """The solution of highest value over that of lowest, no gold needed (arXiv 2401.10020)."""

    name: ClassVar[str] = "self-rewarding"

    value: Rule = "value"

    def build(self, searched: Searched, tally: Tally) -> TrainingTree | None:
        """See the module."""
        if not searched.solutions:
            tally.drop("no_solution")
            return None
        found = distinct(valued(solutions(searched, self.value), tally), tally)
        if len(found) < 2:
            tally.drop("too_few")
            return None
        if found[0].value == found[-1].value:
            tally.drop("tie")
            return None
        return self.tree(searched, pairs=self.pairs(searched, [whole(searched, found[0], found[-1])], tally))


@dataclass(frozen=True, kw_only=True)
class Confident(PairBuilder):
    """Right over wrong solutions, by difference in the answer's confidence (CRew-DPO, arXiv 2510.13501)."""

    name: ClassVar[str] = "crew-dpo"

    max_pairs: int | None = 4
    confidence: Literal["value", "stored"] = "value"
    task: Task | None = field(
        default=None,
        repr=False,
        hash=False,
        metadata=optional_input("reads answers, for confidence = stored"),
    )
    tokenizer: Tokenizer | None = field(
        default=None, repr=False, hash=False, metadata=optional_input("the policy's, for confidence = stored")
    )

    def check_inputs(self) -> None:
        """Task and tokenizer go with `stored`."""
        super().check_inputs()
        if self.confidence == "stored" and (self.task is None or self.tokenizer is None):
            raise UsageError("builder 'crew-dpo' with confidence = stored needs task and tokenizer")

    def build(self, searched: Searched, tally: Tally) -> TrainingTree | None:
        """See the module."""
        if not graded(searched, tally):
            return None
        found = [self._measured(searched, one) for one in solutions(searched, "value")]
        known = [one for one in found if one.value is not None]
        missing = "no_value" if self.confidence == "value" else "no_logprobs"
        tally.drop(missing, len(found) - len(known))
        both = sides(distinct(sorted(known, key=best_first), tally), tally)
        if both is None:
            return None
        pairs = [whole(searched, right, wrong) for right in both[0] for wrong in both[1]]
        return self.tree(searched, pairs=self.pairs(searched, pairs, tally))

    def _measured(self, searched: Searched, one: Solution) -> Solution:
        task, tokenizer = self.task, self.tokenizer
        if self.confidence == "value" or task is None or tokenizer is None:
            return one
        return replace(one, value=answer_confidence(searched, one, task, tokenizer))


def answer_confidence(searched: Searched, one: Solution, task: Task, tokenizer: Tokenizer) -> float | None:
    """Mean probability in (0, 1] of the tokens of a solution's final answer, from the stored log-probs.

    None where the task reads no answer, the answer cannot be located, or a step it lies in has no log-probs
    or ids that do not decode to its text. The rule is that of the value `answer-confidence`.
    """
    found = task.extract(one.text)
    if found is None:
        return None
    span = (0, len(one.text)) if found.source == "steps" else answer_span(task, one.text, found.text)
    if span is None:
        return None
    chosen, at = list[float](), 0
    for node, text in zip(one.path, one.steps, strict=True):
        start, end = max(span[0] - at, 0), min(span[1] - at, len(text))
        at += len(text)
        if start >= end:
            continue
        ids = searched.tree.segments[node]
        stored = searched.tree.logprobs[node] if searched.tree.logprobs else None
        decode = decoder_of(tokenizer, ids, text)
        if decode is None or stored is None:
            return None
        chosen += [stored[index] for index in token_span(decode, ids, start, end)]
    return math.fsum(map(math.exp, chosen)) / len(chosen) if chosen else None
