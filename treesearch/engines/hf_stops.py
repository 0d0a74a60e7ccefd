"""Which tokens end a sample: end-of-text, stop tokens, and stop strings on the decoded text.

Contract: a table per set of stops says for every token whether it ends a text, may complete a stop string,
or neither, so that a step of the batch is one look-up. A token's row is filled when the token is first seen.
Only for a token that may complete a stop string is text decoded: as many tokens as the longest stop string
has bytes, which is exact because every token that is not special adds at least one byte. A sample ends with
the token that completes the string, whatever that token holds after it.

It does not look at the prompt: a stop string begins and ends in generated text.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt

from treesearch.engines.hf_tokenizer import HFTokenizer

UNSEEN, PLAIN, MAYBE, STOP, END = range(5)
_BROKEN = "\ufffd"
_MARGIN = 4
"""Tokens decoded beyond the stop string's bytes, for a character that is cut at the front."""


class StopTables:
    """Tables for one tokenizer. Not thread-safe; kept for the engine's life (vocabulary bytes each)."""

    def __init__(self, tokenizer: HFTokenizer, *, vocabulary: int, end_ids: Collection[int]) -> None:
        self._tokenizer = tokenizer
        self._end_ids = [token for token in end_ids if 0 <= token < vocabulary]
        self._numbers: dict[tuple[tuple[str, ...], tuple[int, ...]], int] = {}
        self._stops: list[tuple[str, ...]] = []
        self._tables = np.empty((0, vocabulary), dtype=np.int8)
        self._pieces: dict[int, str] = {}

    def number(self, stop: tuple[str, ...], stop_token_ids: tuple[int, ...]) -> int:
        """Number of the table of this set of stops, made if new."""
        key = (stop, stop_token_ids)
        known = self._numbers.get(key)
        if known is not None:
            return known
        table = np.full((1, self._tables.shape[1]), UNSEEN if stop else PLAIN, dtype=np.int8)
        table[0, [token for token in stop_token_ids if 0 <= token < table.shape[1]]] = STOP
        table[0, self._end_ids] = END
        self._tables = np.concatenate([self._tables, table])
        self._stops.append(stop)
        self._numbers[key] = len(self._stops) - 1
        return self._numbers[key]

    def classify(self, numbers: npt.NDArray[np.int64], tokens: npt.NDArray[np.int64]) -> npt.NDArray[np.int8]:
        """PLAIN, MAYBE, STOP or END for each token under the table of its row."""
        codes = self._tables[numbers, tokens]
        for row in np.flatnonzero(codes == UNSEEN):
            codes[row] = self._tables[numbers[row], tokens[row]] = self._code(
                self._stops[numbers[row]], int(tokens[row])
            )
        return codes

    def completed(self, number: int, token_ids: Sequence[int]) -> bool:
        """Whether the last of these generated tokens completes a stop string."""
        stops = self._stops[number]
        need = max(len(stop.encode()) for stop in stops) + _MARGIN
        tail: list[int] = []
        for token in reversed(token_ids):
            if self._piece(token):
                tail.append(token)
            if len(tail) == need:
                break
        text = self._tokenizer.continuation(tail[::-1])
        return any(stop in text for stop in stops)

    def _code(self, stops: tuple[str, ...], token: int) -> int:
        """MAYBE if the end of a stop string can lie in the token's text."""
        piece = self._piece(token)
        if not piece:
            return PLAIN
        for stop in stops:
            if stop in piece or (_BROKEN in piece and not stop.isascii()):
                return MAYBE
            if any(piece.startswith(stop[cut:]) for cut in range(1, len(stop))):
                return MAYBE
        return PLAIN

    def _piece(self, token: int) -> str:
        """Text that the token adds to a text; empty for a special token."""
        piece = self._pieces.get(token)
        if piece is None:
            piece = self._pieces[token] = self._tokenizer.continuation([token])
        return piece
