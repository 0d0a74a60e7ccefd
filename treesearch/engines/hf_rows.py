"""State of the rows of a running batch, in arrays, so that a step costs no Python per row.

Contract: the first `count` rows are in use. `place` fills the next row for one sample of a request, `record`
takes a step's tokens for all rows, `sample` reads a row's output, and `close_gaps` removes rows by moving the
last ones into their places; it says which moves it made, for the keys and values to follow.

It does not touch the model or the cache, and does not judge when a row is finished.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from treesearch.engines.base import FinishReason, Sample, SamplingParams
from treesearch.engines.hf_distinct import Beams
from treesearch.engines.hf_sampling import SamplingPlan, stream_key, uniforms

_STATE = np.dtype(
    [
        ("held", np.int64),  # tokens whose keys and values the slot holds
        ("input", np.int64),  # token that goes in next
        ("made", np.int64),  # tokens generated
        ("limit", np.int64),  # most tokens to generate
        ("table", np.int64),  # number of the stop table
        ("top_k", np.int64),
        ("key", np.uint64),  # random stream
        ("temperature", np.float32),
        ("top_p", np.float32),
        ("certainty", np.bool_),
    ]
)
_OUTPUT = np.dtype([("token", np.int64), ("logprob", np.float32), ("certainty", np.float32)])


@dataclass(eq=False, kw_only=True)
class SampleRequest:
    """`n` samples of a prompt under way; `limit` is the most tokens of one sample.

    `admitted` samples have got a row so far; `samples` holds the finished ones by their number. Samples
    without replacement are written as `beams`, whose slots are the numbers, and finished all at once.
    """

    prompt: tuple[int, ...]
    n: int
    params: SamplingParams
    limit: int
    admitted: int = 0
    cancelled: bool = False
    samples: dict[int, Sample] = field(default_factory=dict[int, Sample])
    beams: Beams | None = None

    def __post_init__(self) -> None:
        if self.params.distinct and self.n > 1:
            self.beams = Beams(self.n, self.params)

    @property
    def body(self) -> tuple[int, ...]:
        """The prompt without its last token, which is a row's first input."""
        return self.prompt[:-1]

    @property
    def complete(self) -> bool:
        """Whether all samples are there."""
        return self.beams.complete if self.beams is not None else len(self.samples) == self.n


class Rows:
    """State of at most `max_rows` rows; `owners[r]` is (request, number of the sample) of row r."""

    def __init__(self, *, max_rows: int, vocabulary: int, device: torch.device) -> None:
        self.owners: list[tuple[SampleRequest, int]] = []
        self.state = np.zeros(max_rows, dtype=_STATE)
        self._output = np.zeros((max_rows, 64), dtype=_OUTPUT)
        self._vocabulary = vocabulary
        self._device = device
        self._plan: SamplingPlan | None = None
        self._beams: dict[SampleRequest, dict[int, int]] | None = None

    @property
    def count(self) -> int:
        """Rows in use."""
        return len(self.owners)

    def used(self, name: str) -> npt.NDArray[np.int64]:
        """A view of one field of the rows in use."""
        return self.state[name][: self.count]

    def place(self, request: SampleRequest, number: int, *, table: int) -> None:
        """Fill the next row with sample `number` of a request whose prompt's body is in the slot."""
        params = request.params
        self.state[self.count] = (
            len(request.body),
            request.prompt[-1],
            0,
            request.limit,
            table,
            params.top_k,
            stream_key(params.seed, number),
            params.temperature,
            params.top_p,
            params.certainty,
        )
        width = self._output.shape[1]
        if request.limit > width:
            wider = np.zeros((len(self.state), max(request.limit, 2 * width)), dtype=_OUTPUT)
            wider[:, :width] = self._output
            self._output = wider
        self.owners.append((request, number))
        self._plan = self._beams = None

    def plan(self) -> SamplingPlan:
        """The sampling parameters of the rows in use as tensors, kept until a row joins or leaves."""
        if self._plan is None:
            rows = self.state[: self.count]
            self._plan = SamplingPlan.of(
                temperature=rows["temperature"],
                top_k=rows["top_k"],
                top_p=rows["top_p"],
                certainty=bool(rows["certainty"].any()),
                vocabulary=self._vocabulary,
                device=self._device,
            )
        return self._plan

    def beams(self) -> dict[SampleRequest, dict[int, int]]:
        """The rows of requests for samples without replacement by slot, kept until a row joins or leaves."""
        if self._beams is None:
            self._beams = {}
            for row, (request, number) in enumerate(self.owners):
                if request.beams is not None:
                    self._beams.setdefault(request, {})[number] = row
        return self._beams

    def uniforms(self) -> npt.NDArray[np.float32]:
        """The random number of the next token of every row in use."""
        rows = self.state[: self.count]
        return uniforms(rows["key"], rows["made"])

    def record(
        self,
        tokens: npt.NDArray[np.int64],
        logprobs: npt.NDArray[np.float32],
        certainties: npt.NDArray[np.float32] | None,
    ) -> None:
        """Take a step's tokens, one for every row in use."""
        rows = self.state[: self.count]
        at = (np.arange(self.count), rows["made"])
        self._output["token"][at] = tokens
        self._output["logprob"][at] = logprobs
        if certainties is not None:
            self._output["certainty"][at] = certainties
        rows["input"] = tokens
        rows["made"] += 1
        rows["held"] += 1

    def copy(self, *, source: Sequence[int], target: Sequence[int]) -> None:
        """Let the rows `target` go on from what the rows `source` of the same requests have generated."""
        self.state[list(target)] = self.state[list(source)]
        self._output[list(target)] = self._output[list(source)]

    def tokens(self, row: int) -> list[int]:
        """What the row has generated so far."""
        return self._output["token"][row, : self.state["made"][row]].tolist()

    def sample(self, row: int, finish: FinishReason, text: Callable[[Sequence[int]], str]) -> Sample:
        """The row's output as a finished sample."""
        output = self._output[row, : self.state["made"][row]]
        tokens = output["token"].tolist()
        return Sample(
            token_ids=tuple(tokens),
            text=text(tokens),
            logprobs=tuple(output["logprob"].tolist()),
            finish=finish,
            certainty=tuple(output["certainty"].tolist()) if self.state["certainty"][row] else (),
        )

    def close_gaps(self, leaving: Collection[int]) -> list[tuple[int, int]]:
        """Remove rows; (from, to) of the rows that moved into gaps, each from behind the new count."""
        gone = set(leaving)
        kept = self.count - len(gone)
        gaps = sorted(row for row in gone if row < kept)
        movers = [row for row in range(kept, self.count) if row not in gone]
        for source, target in zip(movers, gaps, strict=True):
            self.owners[target] = self.owners[source]
        self.state[gaps] = self.state[movers]
        self._output[gaps] = self._output[movers]
        del self.owners[kept:]
        self._plan = self._beams = None
        return list(zip(movers, gaps, strict=True))
