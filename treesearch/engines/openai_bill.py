"""What a reply cost, and JSON that can be trusted: the parts of reading that broken replies need too.

A reply that cannot be true raises `Transient` (`broken`) with what it cost as far as it shows: the tokens of
its choices, else its usage, if need be out of torn text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from treesearch.engines.http_retry import Transient

_USAGE = {
    name: re.compile(rb'"%s"\s*:\s*(\d+)\s*[,}]' % name.encode())
    for name in ("prompt_tokens", "completion_tokens")
}


_MOST_SAID = 200
MISSHAPEN = (ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError)
"""What reading JSON of an unforeseen shape raises."""


@dataclass(frozen=True, kw_only=True)
class Bill:
    """Tokens that the server says it counted; None where it does not say."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


def parse_json(data: bytes) -> dict[str, Any]:
    """A JSON object; `ValueError` for anything else, NaN and infinities included."""
    content = json.loads(data, parse_constant=_refuse_constant)
    if not isinstance(content, dict):
        raise ValueError(f"{type(content).__name__} in place of an object")
    if content.get("error"):
        raise ValueError(f"an error in place of choices: {str(content['error'])[:200]}")
    return cast("dict[str, Any]", content)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} in place of a number")


def read_bill(content: Mapping[str, Any]) -> Bill:
    """What the reply's `usage` says; `ValueError` if it is no count."""
    usage = content.get("usage") or {}
    counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
    for count in counts:
        if count is not None and (not isinstance(count, int) or count < 0):
            raise ValueError(f"a usage of {count!r} tokens")
    return Bill(prompt_tokens=counts[0], completion_tokens=counts[1])


def shown_tokens(found: Sequence[Any]) -> int | None:
    """The tokens that all choices of a reply show, however broken; None where one shows none."""
    total = 0
    for raw in found:
        logprobs = raw.get("logprobs") or {}
        shown = raw.get("token_ids") or logprobs.get("tokens") or logprobs.get("content")
        if not isinstance(shown, list):
            return None
        total += len(cast("list[Any]", shown))
    return total


def salvaged(reply: bytes) -> Bill:
    """The usage that a torn reply still shows."""
    found = {name: pattern.search(reply) for name, pattern in _USAGE.items()}
    return Bill(**{name: int(match[1]) if match else None for name, match in found.items()})


def broken(reason: str, cost: Bill) -> Transient:
    """The failure that a broken reply is. The server works: it is neither dead nor has it too much to do."""
    return Transient(
        f"broken reply: {reason[:_MOST_SAID]}",
        alive=True,
        prompt_tokens=cost.prompt_tokens,
        generated_tokens=cost.completion_tokens,
    )
