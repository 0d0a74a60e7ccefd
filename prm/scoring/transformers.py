"""Step scores from a `transformers` model in this process, with the work of earlier steps kept.

Contract: that of `prm.scoring.base`. One thread owns the model; requests of all trees that wait at the same
time share its batches (`worker`, `batch`). When a path extends one that was scored before, only its new
tokens are run, behind the kept keys and values; siblings that arrive together share what they have in common.
`StepScores.tokens` are the tokens that really went through the model for the request. Keys and values are
kept up to `cache_mb`, the ones used longest ago go first. Incremental scores equal those of a full pass up to
the arithmetic: 1e-5 in float32.

`score` renders text by the convention. `score_ids` takes the ids of a policy with the same tokenizer, for
models of the convention `steps`. What stands behind the last step is never run: nothing that is read depends
on it. Only decoders whose layers attend to everything before them are run.

It does not shard a model over devices, quantise or page its memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from prm.conventions.bound import Bound
from prm.conventions.steps import closed_ids
from prm.scoring.base import StepScores, TooLongError
from prm.scoring.options import ScoringOptions
from prm.scoring.reading import Reading
from tasks.errors import MissingPrerequisiteError, UsageError
from treesearch.engines.base import EngineError

try:
    import torch

    from prm.heads.linear import Head
    from prm.scoring.backbone import Backbone, context_within
    from prm.scoring.batch import TreeBatch
    from prm.scoring.segments import Ids, SegmentStore
    from prm.scoring.worker import BatchWorker
    from treesearch.engines.transformers import default_threads
except ModuleNotFoundError as error:
    raise MissingPrerequisiteError(
        f"scoring with transformers needs torch and transformers ({error}); "
        "run: pip install 'treesearch-toolkit[local]'"
    ) from error

_BATCH = 16
"""Tokens of waiting requests that one batch takes in, per token of a forward pass."""


class TransformersScorer:
    """`StepScorer` over a backbone and a head; opened by `prm.registry.open_scorer`.

    A model handed in must be in evaluation mode and be left alone while the scorer is open. `usage_tokens`
    counts what the model has run since then.
    """

    name = "transformers"

    def __init__(
        self, model: Any, head: Head, bound: Bound, reading: Reading, *, options: ScoringOptions | None = None
    ) -> None:
        options = options or ScoringOptions()
        backbone = Backbone(model)
        if head.hidden != model.config.hidden_size:
            raise UsageError(
                f"the head takes hidden states of {head.hidden}, the model has {model.config.hidden_size}; "
                "head and model are not of one checkpoint"
            )
        self.bound, self.reading, self.options = bound, reading, options
        self.max_context = context_within(model.config, options.max_context)
        self.device = str(backbone.device)
        self.dtype = str(backbone.dtype).removeprefix("torch.")
        self.usage_tokens = 0
        self.store = SegmentStore(limit_bytes=options.cache_mb * 1_000_000)
        self._vocabulary = backbone.vocabulary
        self._batch = TreeBatch(
            backbone, head.to(backbone.device), self.store, batch_tokens=options.batch_tokens
        )
        self._threads = (options.threads or default_threads()) if backbone.device.type == "cpu" else 0
        self._worker: BatchWorker[tuple[Ids, ...], tuple[list[tuple[float, ...]], int]] = BatchWorker(
            self._run, limit=_BATCH * options.batch_tokens, start=self._begin
        )

    async def score(self, question: str, steps: Sequence[str]) -> StepScores:
        """Score each step of a solution; `UsageError` for no steps, `EngineError` where the model fails."""
        return await self._score(self.bound.render(question, steps).segments)

    async def score_ids(self, prompt_ids: Sequence[int], steps_ids: Sequence[Sequence[int]]) -> StepScores:
        """Score steps given as the ids of a policy with the same tokenizer, behind its prompt's ids.

        For models of the convention `steps`, else `UsageError`. End-of-text ids at a step's end are left out
        and a missing line break is added, as `score` does with text.
        """
        return await self._score((tuple(prompt_ids), *closed_ids(self.bound, prompt_ids, steps_ids)))

    def sizes(self, question: str, steps: Sequence[str]) -> tuple[int, ...]:
        """Tokens of the head and of each step, as `score` reads them."""
        return tuple(map(len, self.bound.render(question, steps).segments))

    async def close(self) -> None:
        """End the thread once its batch is done; open requests fail with `EngineError`."""
        await asyncio.to_thread(self._worker.close)
        self.store.clear()

    async def _score(self, segments: tuple[Ids, ...]) -> StepScores:
        size = sum(map(len, segments))
        if size > self.max_context:
            raise TooLongError(
                f"question and steps have {size} tokens, more than the context of {self.max_context}; "
                "score a shorter solution, or use a model with more context"
            )
        bad = [token for ids in segments for token in ids if not 0 <= token < self._vocabulary]
        if bad:
            raise EngineError(
                f"token id {bad[0]} is outside the model's vocabulary of {self._vocabulary}; "
                "encode with the tokenizer of this model"
            )
        numbers, tokens = await self._worker.ask(segments, size)
        members = [self.reading.members(each) for each in numbers]
        scores = tuple(self.reading.score(each) for each in members)
        several = len(members[0]) > 1
        return StepScores(scores, tokens, tuple(members) if several else ())

    def _begin(self) -> None:
        if self._threads:
            torch.set_num_threads(self._threads)

    def _run(self, paths: Sequence[tuple[Ids, ...]]) -> list[tuple[list[tuple[float, ...]], int]]:
        with torch.inference_mode():
            replies = self._batch.run(paths)
        self.usage_tokens += sum(tokens for _, tokens in replies)
        return replies
