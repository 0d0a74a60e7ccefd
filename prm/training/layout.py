"""From rows to token paths: the `steps` convention.

Contract: the text is ``{prompt}\\n`` and then the steps, each ending with a line break; a score is read at a
step's last token, as `prm.conventions.steps` reads it. Prompt and steps are encoded one by one, never joined
first, so that the ids are those that a policy which stops at line breaks reads and writes. A row's own `ids`
are taken as they are, with one exception that scoring makes too: for heads that score, special tokens at a
step's end (end of text) are taken off, and a step whose text has no line break at its end gets one, so that a
last step scores the same whether or not the policy had ended there. Log-ratio heads keep the end-of-text
token: there its probability counts. In text, special tokens are text: only ids can end one.

An `Example` is what a batch is made of: paths of segments (segment 0 is the prompt), reads on them with a
target, and pairs of reads. Several paths of one example, or of several, may share segments: `packing` stores
those once.

It knows nothing of losses or models.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from prm.conventions.steps import BREAK, step_ids
from prm.conventions.tokens import Tokens
from prm.training.rows import Ids, PairRow, StepRow
from tasks.errors import DataError, UsageError

Path = tuple[Ids, ...]
"""Segments of one text: the prompt's ids, then the ids of each step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """One place that a score is read from.

    `path` is the index of the path within its example. A score head reads the last token of segment `stop`; a
    log-ratio is summed over the segments after `start` up to and with `stop`. `target` is in [0, 1] or None
    where only the order counts. `weight` >= 0 is the read's share in the loss. `reference` is the log-prob
    sum of the reference model where the row stored one.
    """

    path: int
    start: int
    stop: int
    target: float | None = None
    weight: float = 1.0
    reference: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One unit of the loss: paths, reads on them, and pairs of reads as (better, worse, weight)."""

    problem: str
    paths: tuple[Path, ...]
    reads: tuple[Read, ...]
    pairs: tuple[tuple[int, int, float], ...] = ()

    @property
    def tokens(self) -> int:
        """Tokens of the longest path."""
        return max(sum(map(len, path)) for path in self.paths)


class Layout:
    """Rows to paths with one `transformers` tokenizer; `keep_ends` is for log-ratios, see the module."""

    def __init__(self, tokenizer: Any, *, keep_ends: bool) -> None:
        self._tokens = Tokens(tokenizer)
        self._keep_ends = keep_ends
        self._break = self._tokens.after(BREAK)

    def row(self, row: StepRow) -> Path:
        """The path of a row: its own ids, or prompt and steps encoded one by one."""
        if row.prompt_ids is not None and row.step_ids is not None:
            return (row.prompt_ids, *map(self._own, row.step_ids))
        return (self._prompt(row.prompt), *map(self._step, row.steps))

    def pair(self, row: PairRow) -> tuple[Path, Path]:
        """The paths of a pair's two sides; their first ``1 + len(prefix)`` segments are the same."""
        if row.prompt_ids is not None and row.chosen_ids and row.rejected_ids:
            before = (row.prompt_ids, *map(self._own, row.prefix_ids or ()))
            return (*before, *map(self._own, row.chosen_ids)), (*before, *map(self._own, row.rejected_ids))
        before = (self._prompt(row.prompt), *map(self._step, row.prefix))
        return (*before, *map(self._step, row.chosen)), (*before, *map(self._step, row.rejected))

    def _own(self, ids: Ids) -> Ids:
        if self._keep_ends:
            return ids
        if len(self._break) != 1:
            raise UsageError(
                f"rows with ids need a line break of one token, this tokenizer makes {self._break}"
            )
        special = self._tokens.special
        kept = next((ids[:stop] for stop in range(len(ids), 0, -1) if ids[stop - 1] not in special), ())
        closed = bool(kept) and self._tokens.ends_line(kept[-1])
        return step_ids(ids, ends=special, line_break=self._break[0], closed=closed)

    def _prompt(self, prompt: str) -> Ids:
        return tuple(self._tokens.text(prompt + BREAK, special=True))

    def _step(self, step: str) -> Ids:
        return tuple(self._tokens.after(step if step.endswith(BREAK) else step + BREAK))


def check_ids(what: str, segments: Iterable[Sequence[int]], vocabulary: int) -> None:
    """`DataError` for a token that a model of so many does not know; `what` says whose it is."""
    for ids in segments:
        for token in (min(ids, default=0), max(ids, default=0)):
            if not 0 <= token < vocabulary:
                raise DataError(
                    f"{what} has token {token}, the model knows {vocabulary}: it was written by a model of "
                    "another tokenizer"
                )
