"""Step scores with vLLM in this process, read at the last position so that the prefix cache is used.

Contract: that of `prm.scoring.base`. vLLM gives per-token numbers only for a text that it reads from its
start: such requests skip the prefix cache. So each step is a request of its own, the text up to the position
where it is scored, whose last position is read; what an earlier step or a sibling has left in the cache is
not computed again (in blocks, 16 tokens on a GPU, 128 on a CPU). The steps of one solution are asked one
after the other, for that reason; solutions run side by side. Scores that were read before are remembered,
`_KEPT` of them. `StepScores.tokens` are those that vLLM really ran, by its own count.

Three ways to read (`Read`), chosen by `prm.scoring.vllm_open`: `CLASSIFY`, a row of weights inside vLLM;
`HIDDEN`, the last hidden state leaves vLLM and the head is applied here, for heads that vLLM does not have;
`TOKENS`, all positions of the whole text at once, with a native class of vLLM and without the prefix cache.

It does not know of checkpoints.
"""

from __future__ import annotations

import asyncio
import enum
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from prm.conventions.bound import Bound
from prm.conventions.steps import closed_ids
from prm.scoring.base import StepScores, TooLongError
from prm.scoring.reading import Reading
from tasks.errors import UsageError
from treesearch.engines.base import EngineError
from treesearch.engines.vllm_args import import_vllm
from treesearch.engines.vllm_client import VLLMClient, last_output

_KEPT = 65536
Numbers = tuple[float, ...]


class Read(enum.Enum):
    """How numbers leave vLLM; the value is its pooling task. See the module."""

    CLASSIFY = "classify"
    HIDDEN = "embed"
    TOKENS = "token_classify"


class VLLMScorer:
    """`StepScorer` over vLLM; see the module. `head` makes numbers of a hidden state, for `Read.HIDDEN`."""

    name = "vllm"

    def __init__(
        self,
        client: VLLMClient,
        bound: Bound,
        reading: Reading,
        *,
        read: Read,
        head: Callable[[Sequence[float]], Numbers] | None = None,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        if (head is None) == (read is Read.HIDDEN):
            raise UsageError(f"a head goes with hidden states and with nothing else, got {read} and {head}")
        self.bound, self.reading, self.read = bound, reading, read
        self.max_context = client.max_context
        self.usage_tokens = 0
        self._client, self._head, self._on_close = client, head, on_close
        self._known: OrderedDict[tuple[int, ...], Numbers] = OrderedDict()

    async def score(self, question: str, steps: Sequence[str]) -> StepScores:
        """Score each step of a solution; `UsageError` for no steps, `EngineError` where the model fails."""
        rendered = self.bound.render(question, steps)
        return await self._score(rendered.ids, rendered.reads)

    async def score_ids(self, prompt_ids: Sequence[int], steps_ids: Sequence[Sequence[int]]) -> StepScores:
        """Score steps given as a policy's ids, as `TransformersScorer.score_ids` does."""
        steps = closed_ids(self.bound, prompt_ids, steps_ids)
        ids, reads = list(prompt_ids), list[int]()
        for step in steps:
            ids.extend(step)
            reads.append(len(ids) - 1)
        return await self._score(tuple(ids), reads)

    def sizes(self, question: str, steps: Sequence[str]) -> tuple[int, ...]:
        """Tokens of the head and of each step, as `score` reads them."""
        return tuple(map(len, self.bound.render(question, steps).segments))

    async def close(self) -> None:
        """End vLLM's processes; open requests fail with `EngineError`."""
        await self._client.close()
        await asyncio.to_thread(self._on_close)

    async def _score(self, ids: tuple[int, ...], reads: Sequence[int]) -> StepScores:
        size = reads[-1] + 1
        if size > self.max_context:
            raise TooLongError(
                f"question and steps have {size} tokens, more than the context of {self.max_context}; "
                "score a shorter solution, or use a model with more context"
            )
        checked = self._client.check_ids(ids[:size])
        if self.read is Read.TOKENS:
            numbers, tokens = await self._all(checked, reads)
        else:
            numbers, tokens = await self._one_by_one(tuple(checked), reads)
        self.usage_tokens += tokens
        members = [self.reading.members(each) for each in numbers]
        several = len(members[0]) > 1
        scores = tuple(self.reading.score(each) for each in members)
        return StepScores(scores, tokens, tuple(members) if several else ())

    async def _one_by_one(self, ids: tuple[int, ...], reads: Sequence[int]) -> tuple[list[Numbers], int]:
        """Numbers at each position from a request that ends there, and tokens that vLLM ran."""
        found, tokens = list[Numbers](), 0
        for read in reads:
            beginning = ids[: read + 1]
            if beginning not in self._known:
                values, ran = await self._ask(beginning)
                self._known[beginning] = tuple(values) if self._head is None else self._head(values)
                tokens += ran
                while len(self._known) > _KEPT:
                    self._known.popitem(last=False)
            found.append(self._known[beginning])
            self._known.move_to_end(beginning)
        return found, tokens

    async def _all(self, ids: Sequence[int], reads: Sequence[int]) -> tuple[list[Numbers], int]:
        """Numbers at all positions from one request, and its tokens."""
        rows, ran = await self._ask(ids)
        if len(rows) != len(ids):
            raise EngineError(
                f"vLLM gave {len(rows)} rows for {len(ids)} tokens; open the model with token pooling ALL"
            )
        return [tuple(rows[read]) for read in reads], ran

    async def _ask(self, ids: Sequence[int]) -> tuple[Any, int]:
        """The numbers of one request, and how many of its tokens were not in the cache."""
        params = import_vllm("vllm").PoolingParams(task=self.read.value, use_activation=False)
        return await self._client.request(list(ids), params, _read)


async def _read(outputs: AsyncIterator[Any]) -> tuple[Any, int]:
    """The last output's numbers, as lists, and the tokens that it ran."""
    last = await last_output(outputs)
    if getattr(last, "error", None) is not None:
        raise EngineError(f"vLLM did not score the text: {last.error.message}")
    ran = len(last.prompt_token_ids) - int(last.num_cached_tokens or 0)
    return last.outputs.data.float().tolist(), ran
