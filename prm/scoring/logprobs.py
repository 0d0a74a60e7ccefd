"""Summed log-probs of steps, by an engine or by a model in this process that keeps the work of earlier steps.

Contract: `StepLogProbs.sums` gives for each step the sum of log p(token | everything before it) over its
tokens, at temperature 1, and how many tokens the model read. `EngineLogProbs` asks any `Engine`, which reads
the whole path. `TreeLogProbs` lays paths over one another like `prm.scoring.batch`: a path that extends one
asked before has its new tokens run alone, so that the tokens of a search grow with its tree.

It does not subtract a reference: that is `prm.scoring.implicit`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

from prm.scoring.base import TooLongError
from prm.scoring.options import ScoringOptions
from tasks.errors import MissingPrerequisiteError, UsageError
from treesearch.engines.base import Engine, EngineError

try:
    import torch

    from prm.scoring.backbone import Backbone, context_within
    from prm.scoring.batch import Found, Job, TreeBatch
    from prm.scoring.segments import Ids, SegmentStore
    from prm.scoring.worker import BatchWorker
    from treesearch.engines.hf_load import load
    from treesearch.engines.transformers import default_threads
except ModuleNotFoundError as error:
    raise MissingPrerequisiteError(
        f"scoring with transformers needs torch and transformers ({error}); "
        "run: pip install 'treesearch-toolkit[local]'"
    ) from error

_ELEMENTS = 1 << 24
"""Logits turned into float32 at a time."""
_BATCH = 16


class StepLogProbs(Protocol):
    """A language model that sums log-probs over steps; see the module.

    `max_context` are the most tokens of prompt and steps.
    """

    model: str
    max_context: int

    def encode(self, text: str) -> list[int]:
        """Token ids of a text."""
        ...

    async def sums(
        self, prompt_ids: Sequence[int], steps_ids: Sequence[Sequence[int]]
    ) -> tuple[list[float], int]:
        """Summed log-prob of each step behind the prompt, and tokens read; `EngineError` where it fails."""
        ...

    async def close(self) -> None:
        """Free the model."""
        ...


class EngineLogProbs:
    """`StepLogProbs` over an engine, which it closes."""

    def __init__(self, engine: Engine) -> None:
        self.model = engine.model
        self.max_context = engine.max_context - 1  # vLLM needs one for itself
        self._engine = engine

    def encode(self, text: str) -> list[int]:
        """Token ids of a text."""
        return self._engine.tokenizer.encode(text)

    async def sums(
        self, prompt_ids: Sequence[int], steps_ids: Sequence[Sequence[int]]
    ) -> tuple[list[float], int]:
        """See `StepLogProbs`."""
        completion = [token for ids in steps_ids for token in ids]
        logprobs = iter(await self._engine.logprobs(prompt_ids, completion))
        return (
            [sum(next(logprobs) for _ in ids) for ids in steps_ids],
            len(prompt_ids) + len(completion),
        )

    async def close(self) -> None:
        """Free the engine."""
        await self._engine.close()


class LogProbBatch(TreeBatch):
    """`TreeBatch` whose numbers are the summed log-probs of a segment's tokens; `output` is the lm_head."""

    everywhere = True

    def __init__(self, backbone: Backbone, output: Any, store: SegmentStore, *, batch_tokens: int) -> None:
        super().__init__(backbone, None, store, batch_tokens=batch_tokens)
        self._output = output

    def read(self, group: Sequence[Job], hidden: Sequence[torch.Tensor]) -> list[list[Found]]:
        """Each token is scored by the hidden state before it, the first one's by the parent's last."""
        before: list[torch.Tensor] = []
        for (work, _), states in zip(group, hidden, strict=True):
            # without a parent, the first token has nothing before it; its own state stands in, unread
            first = states[0] if work.parent.last is None else work.parent.last
            before += [first[None], states[:-1]]
        tokens = torch.tensor([token for _, row in group for token in row.ids], device=hidden[0].device)
        logprobs = self._chosen(torch.cat(before), tokens).tolist()
        found: list[list[Found]] = []
        at = 0
        for (work, row), states in zip(group, hidden, strict=True):
            starts = [0, *work.ends[:-1]]
            found.append(
                [
                    ((sum(logprobs[at + start : at + end]),), states[end - 1].clone())
                    for start, end in zip(starts, work.ends, strict=True)
                ]
            )
            at += len(row.ids)
        return found

    def _chosen(self, hidden: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Log-prob of each token by the hidden state before it, in float32, some at a time."""
        width = max(1, _ELEMENTS // int(self._output.weight.shape[0]))
        parts = [
            self._output(piece).float().log_softmax(-1).gather(-1, wanted[:, None])[:, 0]
            for piece, wanted in zip(hidden.split(width), tokens.split(width), strict=True)
        ]
        return torch.cat(parts).double()


class TreeLogProbs:
    """`StepLogProbs` over a causal model in this process; opened by `open`."""

    def __init__(self, model: Any, tokenizer: Any, *, options: ScoringOptions, source: str = "") -> None:
        for name in ("final_logit_softcapping", "logits_scaling"):
            if getattr(model.config, name, None) not in (None, 1.0):
                raise UsageError(
                    f"{type(model).__name__} changes its logits ({name}), which is not done here"
                )
        self.model = source
        self._tokenizer = tokenizer
        backbone = Backbone(model.base_model)
        self.max_context = context_within(model.config, options.max_context)
        self.store = SegmentStore(limit_bytes=options.cache_mb * 1_000_000)
        self._vocabulary = backbone.vocabulary
        self._batch = LogProbBatch(
            backbone, model.get_output_embeddings(), self.store, batch_tokens=options.batch_tokens
        )
        self._threads = (options.threads or default_threads()) if backbone.device.type == "cpu" else 0
        self._worker: BatchWorker[tuple[Ids, ...], tuple[list[tuple[float, ...]], int]] = BatchWorker(
            self._run, limit=_BATCH * options.batch_tokens, start=self._begin, name="log-probs"
        )

    @classmethod
    def open(cls, model: str, *, options: ScoringOptions) -> TreeLogProbs:
        """Load a folder or hub id, safetensors only."""
        loaded, tokenizer = load(model, device=options.device, dtype=options.dtype)
        return cls(loaded, tokenizer, options=options, source=model)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text."""
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    async def sums(
        self, prompt_ids: Sequence[int], steps_ids: Sequence[Sequence[int]]
    ) -> tuple[list[float], int]:
        """See `StepLogProbs`."""
        segments = (tuple(prompt_ids), *map(tuple, steps_ids))
        size = sum(map(len, segments))
        if size > self.max_context:
            raise TooLongError(
                f"question and steps have {size} tokens, more than the context of {self.max_context}; "
                "score a shorter solution, or use a model with more context"
            )
        if any(not 0 <= token < self._vocabulary for ids in segments for token in ids):
            raise EngineError(f"a token id is outside the model's vocabulary of {self._vocabulary}")
        if not all(segments):
            raise EngineError("a step without tokens has no log-prob; leave empty steps out")
        numbers, tokens = await self._worker.ask(segments, size)
        return [each[0] for each in numbers], tokens

    async def close(self) -> None:
        """End the thread once its batch is done; open requests fail with `EngineError`."""
        await asyncio.to_thread(self._worker.close)
        self.store.clear()

    def _begin(self) -> None:
        if self._threads:
            torch.set_num_threads(self._threads)

    def _run(self, paths: Sequence[tuple[Ids, ...]]) -> list[tuple[list[tuple[float, ...]], int]]:
        with torch.inference_mode():
            return self._batch.run(paths)
