"""Words that stand between two attempts of one text, and how they are found again.

Contract: in the words ``{question}`` stands for the problem's question, ``{number}`` for the number of the
attempt that begins there (2 the first) and ``{first}`` for the first step of the attempt before. Each is put
in once: braces in a question or a step are left alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_NAMES = re.compile(r"\{(question|number|first)\}")


@dataclass(frozen=True, slots=True)
class Again:
    """The words `text` for a problem with `question`."""

    text: str
    question: str

    def words(self, number: int, first: str) -> str:
        """What is written where attempt `number` begins, behind one that began with `first`."""
        values = {"question": self.question, "number": str(number), "first": first.strip()}
        return _NAMES.sub(lambda name: values[name[1]], self.text)

    def split(self, steps: Sequence[str]) -> list[range]:
        """Places of the attempts among `steps`: those between steps that together are the words."""
        patterns = {"question": re.escape(self.question), "number": r"\d+", "first": ".*"}
        pieces = _NAMES.split(self.text.strip())  # every second one is a name
        pattern = re.compile(
            "".join(patterns[one] if k % 2 else re.escape(one) for k, one in enumerate(pieces))
        )
        longest = len(self.text) + len(self.question) + max(map(len, steps), default=0)
        found: list[range] = []
        start = at = 0
        while at < len(steps):
            stop, said = at, ""
            while stop < len(steps) and len(said) <= longest and not pattern.fullmatch(said.strip()):
                said = (said + steps[stop]).lstrip()
                stop += 1
            if pattern.fullmatch(said.strip()):
                found.append(range(start, at))
                start = at = stop
            else:
                at += 1
        return [*found, range(start, len(steps))]
