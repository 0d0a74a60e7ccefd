"""Where a piece of a text lies in the tokens that wrote it, and where a solution's answer lies in its text.

Contract: `token_span` gives the tokens that overlap the characters [start, end) of the text that the ids
decode to: a token that shares one character counts, tokens without text (special ones) do not, and of a
character that several byte tokens spell all of them count. Only prefixes are decoded, a logarithmic number of
them, so the boundaries are the tokenizer's own. `answer_span` finds the place from which the task read the
answer: the occurrence that, written over, changes what the task extracts into what was written there.

They do not encode text again: another tokenization than the model's own would move the boundaries.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence

from tasks.base import Task
from treesearch.engines.base import Tokenizer

Decode = Callable[[Sequence[int]], str]
_PROBES = ("7", "3")
_MOST_TRIES = 64
_LOOSE_CHARS = 64


def decoder_of(tokenizer: Tokenizer, token_ids: Sequence[int], text: str) -> Decode | None:
    """The way of decoding under which the ids are `text`, as a go-on or alone; None where neither is."""
    ways: list[Decode] = [getattr(tokenizer, "continuation", tokenizer.decode), tokenizer.decode]
    return next((decode for decode in ways if decode(token_ids) == text), None)


def token_span(decode: Decode, token_ids: Sequence[int], start: int, end: int) -> list[int]:
    """Indices of the tokens that overlap the characters [start, end) of ``decode(token_ids)``; see above."""
    text = decode(token_ids)

    def written(count: int) -> tuple[int, bool]:
        """Characters that the first `count` tokens wrote in full, and whether they began one more."""
        piece = decode(token_ids[:count])
        same = _same(piece, text)
        return same, len(piece) > same

    def begins(index: int) -> int:
        return written(index)[0]

    def ends(index: int) -> int:
        same, more = written(index + 1)
        return same + more

    every = range(len(token_ids))
    first = bisect_right(every, start, key=ends)
    behind = bisect_left(every, end, key=begins)
    return [index for index in range(first, behind) if decode(token_ids[index : index + 1])]


def _same(piece: str, text: str) -> int:
    """Length of the common beginning."""
    if text.startswith(piece):
        return len(piece)
    pairs = enumerate(zip(piece, text, strict=False))
    return next((at for at, (one, two) in pairs if one != two), min(len(piece), len(text)))


def answer_span(task: Task, solution: str, answer: str) -> tuple[int, int] | None:
    """First character of the answer in the solution and the one behind it; None where it is not written."""
    for tried, (start, end) in enumerate(_occurrences(solution, answer)):
        if tried == _MOST_TRIES:
            return None
        written = solution[start:end]
        probe = next(digit for digit in _PROBES if digit * len(written) != written) * len(written)
        found = task.extract(solution[:start] + probe + solution[end:])
        if found is not None and found.text == probe:
            return start, end
    return None


def _occurrences(solution: str, answer: str) -> Iterator[tuple[int, int]]:
    """Places where the answer stands, the last one first: as it is, then with blanks and $ inside."""
    if not answer:
        return
    start = solution.rfind(answer)
    while start >= 0:
        yield start, start + len(answer)
        start = solution.rfind(answer, 0, start + len(answer) - 1)
    if len(answer) <= _LOOSE_CHARS and not re.search(r"[\s$]", answer):
        loose = re.compile(r"[\s$]*".join(map(re.escape, answer)))
        yield from (match.span() for match in reversed(list(loose.finditer(solution))))
