"""Scoring models with vLLM in this process: classifiers, token classifiers and embedders.

    pooler = open_pooler("some/reward-model", task="token_classify")
    scores = await pooler.score(token_ids)

Contract: `VLLMPooler.score` runs a text through the model and gives float32 numbers by task. "classify": one
number a label, shape (labels,), at the last token. "token_classify": shape (tokens, labels), a row a token.
"embed": the embedding, shape (size,). "token_embed": shape (tokens, size). They are what the model's head
gives, raw; with `activation`, what vLLM makes of it: probabilities of labels (softmax, or the sigmoid for one
label), unit length for embeddings. Requests share vLLM's batch; cancelling, errors and closing are those of
`vllm_client`.

It does not know of prompts, steps or conventions of reward models.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.errors import UsageError
from treesearch.engines.base import EngineError
from treesearch.engines.vllm_args import import_vllm
from treesearch.engines.vllm_client import VLLMClient, last_output

TASKS = ("classify", "token_classify", "embed", "token_embed")


class VLLMPooler:
    """A scoring model; made by `open_pooler`. `usage` counts requests and prompt tokens."""

    def __init__(self, client: VLLMClient, *, model: str, task: str, activation: bool) -> None:
        from treesearch.engines.hf_tokenizer import HFTokenizer

        self._client = client
        self.model = model
        self.model_hash = client.model_hash
        self.task = task
        self.activation = activation
        self.tokenizer = HFTokenizer(client.tokenizer)
        self.usage = client.usage
        self.max_context = client.max_context

    async def score(self, token_ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """The model's numbers for a text; their shape is that of the task (see the module).

        Raises `EngineError` for a text longer than `max_context` or ids outside the vocabulary.
        """
        ids = self._client.check_ids(token_ids)
        if len(ids) > self.max_context:
            raise EngineError(
                f"the text has {len(ids)} tokens, more than the context of {self.max_context}; "
                "score a shorter one"
            )
        params = import_vllm("vllm").PoolingParams(task=self.task, use_activation=self.activation)
        return await self._client.request(ids, params, _read)

    async def close(self) -> None:
        """End vLLM's processes; open requests fail with `EngineError`."""
        await self._client.close()


def open_pooler(
    model: str,
    *,
    task: str = "classify",
    args: str = "",
    dtype: str = "auto",
    activation: bool = False,
) -> VLLMPooler:
    """Load a scoring model, a local folder or hub id; `args` are vLLM's own and win over the rest.

    Raises `UsageError` for a wrong argument or a task that the model cannot do, else as `VLLMEngine.open`.
    """
    if task not in TASKS:
        raise UsageError(f"unknown pooling task {task!r}; valid: {', '.join(TASKS)}")
    client = VLLMClient.open(model, args=args, defaults={"dtype": dtype, "runner": "pooling"}, pooling=True)
    if task not in client.tasks:
        client.close_and_wait()
        raise UsageError(
            f"{model!r} cannot do the pooling task {task!r}; it does: {', '.join(client.tasks) or 'none'}"
        )
    return VLLMPooler(client, model=model, task=task, activation=activation)


async def _read(outputs: AsyncIterator[Any]) -> npt.NDArray[np.float32]:
    """The numbers of the last output."""
    last = await last_output(outputs)
    if getattr(last, "error", None) is not None:
        raise EngineError(f"vLLM did not score the text: {last.error.message}")
    return last.outputs.data.float().numpy()
