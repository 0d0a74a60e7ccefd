"""Values of token sequences that steer decoding: the seam, plain functions, weighted sums, Transfer Q*.

Contract: `TokenValue.begin` starts to watch `rows` copies of a prompt and gives a `Watch`. For each next
token the engine asks it for `values` of the candidates of every row, then says with `write` which token each
row took and with `keep` which rows go on. All rows have the same length at all times. A value is a function
of the ids alone; equal ids have equal values up to arithmetic.

`FunctionValue` makes one of a function from sequences to numbers; `Mixed` is sum_i w_i V_i; `TransferQ` is
such a function: the mean reward of completions from each sequence (arXiv 2405.20495).

It does not sample, and knows of no engine.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch

from prm.steering.targets import transfer_q
from tasks.errors import UsageError

Ids: TypeAlias = tuple[int, ...]
SequenceValue: TypeAlias = Callable[[Sequence[Ids]], Sequence[float]]


class Watch(ABC):
    """Values along the rows of one request."""

    @abstractmethod
    def values(self, candidates: torch.Tensor) -> torch.Tensor:
        """Value [rows, k] of each row with each of its `candidates` [rows, k] appended."""

    @abstractmethod
    def write(self, tokens: Sequence[int]) -> None:
        """Append one token to every row."""

    @abstractmethod
    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows, in this order."""


class TokenValue(ABC):
    """A value of token sequences; see the module."""

    model_hash: str = ""

    @abstractmethod
    def begin(self, prompt: Ids, rows: int) -> Watch:
        """Watch `rows` copies of a prompt of at least one token."""

    @abstractmethod
    def reads(self, candidates: int) -> int:
        """Tokens that are read for one row and one place with so many candidates."""


class FunctionValue(TokenValue):
    """A function from sequences (prompt included) to numbers, called once a step for all candidates."""

    def __init__(self, function: SequenceValue) -> None:
        self.function = function

    def begin(self, prompt: Ids, rows: int) -> Watch:
        """Watch copies of a prompt."""
        return _FunctionWatch(self.function, [prompt] * rows)

    def reads(self, candidates: int) -> int:
        """One for each candidate: what the function does with the rest of a sequence is not known."""
        return candidates


class _FunctionWatch(Watch):
    def __init__(self, function: SequenceValue, rows: list[Ids]) -> None:
        self._function, self._rows = function, rows

    def values(self, candidates: torch.Tensor) -> torch.Tensor:
        asked = [
            (*row, token)
            for row, tokens in zip(self._rows, candidates.tolist(), strict=True)
            for token in tokens
        ]
        found = list(self._function(asked))
        if len(found) != len(asked):
            raise UsageError(
                f"a token value must give one number a sequence, got {len(found)} for {len(asked)}"
            )
        return torch.tensor(found, dtype=torch.float64, device=candidates.device).reshape(candidates.shape)

    def write(self, tokens: Sequence[int]) -> None:
        self._rows = [(*row, token) for row, token in zip(self._rows, tokens, strict=True)]

    def keep(self, rows: Sequence[int]) -> None:
        self._rows = [self._rows[row] for row in rows]


class Mixed(TokenValue):
    """``sum_i weights_i * V_i``: several objectives at once."""

    def __init__(self, parts: Sequence[tuple[float, TokenValue]]) -> None:
        if not parts:
            raise UsageError("a mixture of token values needs at least one")
        self.parts = list(parts)
        self.model_hash = "+".join([part.model_hash for _, part in parts if part.model_hash])

    def begin(self, prompt: Ids, rows: int) -> Watch:
        """Watch with every part."""
        return _MixedWatch([(weight, part.begin(prompt, rows)) for weight, part in self.parts])

    def reads(self, candidates: int) -> int:
        """What the parts read."""
        return sum(part.reads(candidates) for _, part in self.parts)


class _MixedWatch(Watch):
    def __init__(self, parts: list[tuple[float, Watch]]) -> None:
        self._parts = parts

    def values(self, candidates: torch.Tensor) -> torch.Tensor:
        weighted = [weight * watch.values(candidates).double() for weight, watch in self._parts]
        return torch.stack(weighted).sum(dim=0)

    def write(self, tokens: Sequence[int]) -> None:
        for _, watch in self._parts:
            watch.write(tokens)

    def keep(self, rows: Sequence[int]) -> None:
        for _, watch in self._parts:
            watch.keep(rows)


class TransferQ:
    """A function for `FunctionValue`: the reward that a baseline policy's completions get from each sequence.

    `complete(ids, n)` gives `n` whole sequences that go on from `ids`; it must be a function of its
    arguments. `reward` judges a whole sequence; `baseline` is the reward that the policy behind `complete`
    is aligned to, None where that is `reward` itself (direct transfer). `beta` is the strength of its KL
    penalty. See `transfer_q`.
    """

    def __init__(
        self,
        complete: Callable[[Ids, int], Sequence[Ids]],
        reward: Callable[[Ids], float],
        *,
        n: int = 1,
        baseline: Callable[[Ids], float] | None = None,
        beta: float = 1.0,
    ) -> None:
        if n < 1:
            raise UsageError(f"n must be at least 1, got {n}")
        self._complete, self._reward, self._baseline = complete, reward, baseline
        self._n, self._beta = n, beta

    def __call__(self, sequences: Sequence[Ids]) -> list[float]:
        """The estimate for every sequence."""
        return [self._value(ids) for ids in sequences]

    def _value(self, ids: Ids) -> float:
        whole = self._complete(ids, self._n)
        rewards = [self._reward(each) for each in whole]
        own = None if self._baseline is None else [self._baseline(each) for each in whole]
        return transfer_q(rewards, own, beta=self._beta)
