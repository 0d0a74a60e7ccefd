"""Several models as one scorer: an ensemble whose members differ in the backbone too.

    score of a step = combine(score by model 1, ..., score by model K)      (`prm.scoring.reading`)

Contract: that of `prm.scoring.base`. Every model reads every solution, side by side, and scores it as it
would alone (its own heads combined, its own calibration applied); `combine` makes one score of the K.
`StepScores.tokens` are those of all models, `members[i]` the K scores of step i. `readers` is how many models
read, `sizes` what one of them reads, `max_context` the smallest. The models must read a text alike: one
convention, one vocabulary.

It does not share what the models have in common: K models take K times the memory and time.

Source: Coste et al. (arXiv 2310.02743), section 3.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from prm.scoring.base import StepScores
from prm.scoring.reading import Combine, Reading
from tasks.errors import UsageError
from treesearch.together import together


class MembersScorer:
    """`StepScorer` over models that are scorers themselves, which it closes; see the module."""

    name = "members"

    def __init__(self, models: Sequence[Any], *, combine: Combine = "mean", uncertainty: float = 0.5) -> None:
        if not models:
            raise UsageError("an ensemble needs models, got none")
        first = models[0].bound
        vocabulary = first.tokens.tokenizer.get_vocab()
        for number, model in enumerate(models[1:], start=2):
            if model.bound.convention.name != first.convention.name:
                raise UsageError(
                    f"model 1 of an ensemble follows the convention {first.convention.name!r}, model "
                    f"{number} {model.bound.convention.name!r}; they must read a text alike"
                )
            if model.bound.tokens.tokenizer.get_vocab() != vocabulary:
                raise UsageError(
                    f"models 1 and {number} of an ensemble have different tokenizers; they must read a text "
                    "alike"
                )
        self.bound = first
        self.reading = Reading(convention=first.convention, combine=combine, uncertainty=uncertainty)
        self.readers = sum(int(getattr(model, "readers", 1)) for model in models)
        self.max_context: int = min(model.max_context for model in models)
        self._models = tuple(models)

    async def score(self, question: str, steps: Sequence[str]) -> StepScores:
        """Score each step of a solution; `UsageError` for no steps, `EngineError` where a model fails."""
        return await self._joined([model.score(question, steps) for model in self._models])

    async def score_ids(self, prompt_ids: Sequence[int], steps_ids: Sequence[Sequence[int]]) -> StepScores:
        """Score steps given as a policy's ids, as `TransformersScorer.score_ids` does."""
        return await self._joined([model.score_ids(prompt_ids, steps_ids) for model in self._models])

    def sizes(self, question: str, steps: Sequence[str]) -> tuple[int, ...]:
        """Tokens of the head and of each step, as each of the `readers` reads them."""
        return self._models[0].sizes(question, steps)

    async def close(self) -> None:
        """Free the models, also where freeing another one fails."""
        await _close(self._models)

    async def _joined(self, requests: Sequence[Coroutine[Any, Any, StepScores]]) -> StepScores:
        found = await together(requests)
        members = tuple(zip(*(each.scores for each in found), strict=True))
        scores = tuple(self.reading.score(each) for each in members)
        return StepScores(scores, sum(each.tokens for each in found), members)


def open_members(
    openers: Sequence[Callable[[], Any]], *, combine: Combine = "mean", uncertainty: float = 0.5
) -> MembersScorer:
    """The models that `openers` open, as one; where one fails to open, those before it are closed again."""
    models: list[Any] = []
    try:
        for opener in openers:
            models.append(opener())
        return MembersScorer(models, combine=combine, uncertainty=uncertainty)
    except BaseException:
        with ThreadPoolExecutor(1) as pool:  # the caller's thread may have a running loop
            pool.submit(asyncio.run, _close(models)).result()
        raise


async def _close(models: Sequence[Any]) -> None:
    failures: list[Exception] = []
    for model in models:
        try:
            await model.close()
        except Exception as error:  # noqa: BLE001 - the others have to be closed all the same
            failures.append(error)
    if failures:
        raise failures[0]
