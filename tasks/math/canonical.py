r"""A cheap canonical spelling of an answer, so that equal answers vote together.

Contract: `canonical(answer)` is pure Python, never raises, and is bounded for hostile text: over the length
cap it is a digest. Equal keys are accepted as equal by `tasks.math.grade`; unequal keys prove nothing, since
symbolic equality (`2\sqrt{3}` against `\sqrt{12}`) is left to the worker.

Numbers become exact rationals (`0.5`, `1/2` and `\frac{1}{2}` are `1/2`), the variable of an assignment
(`x = 5`) is dropped unless a list has several, and lists and sets are sorted.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

from tasks.math.latex import plain
from tasks.math.limits import MAX_CHARS, MAX_NESTING
from tasks.math.numerals import parse_base, parse_number
from tasks.math.shape import Kind, assignment, read_shape, variables

_MAX_DEPTH = 8
_BETWEEN_WORDS = str.maketrans("", "", " -'")
_SET_BRACKETS = {Kind.LIST: ("", ""), Kind.SET: (r"\{", r"\}"), Kind.UNION: ("", "")}


def canonical(answer: str) -> str:
    """Canonical key of `answer`; a digest for text over the length cap, "" for text without content."""
    if len(answer) > MAX_CHARS:
        digest = hashlib.sha256(answer.encode("utf-8", "surrogatepass")).hexdigest()
        return f"oversized:{digest[:32]}"
    return _key(answer)


@lru_cache(maxsize=8_192)
def _key(answer: str) -> str:
    """Cached: the candidates of a search repeat a few answers over and over."""
    return key(plain(answer))


def key(text: str, depth: int = 0) -> str:
    """Canonical key of a spelling that `latex.plain` made."""
    number = parse_number(text)
    if number is not None:
        return str(number.value)
    base = parse_base(text)
    if base is not None:
        return f"{base[0]}_{base[1]}"
    if depth >= _MAX_DEPTH or text.count("(") + text.count("{") > MAX_NESTING:
        return text
    _, members = assignment(text)
    if members != [text]:
        keys = {key(member, depth + 1) for member in members}
        return keys.pop() if len(keys) == 1 else text
    return _structured(text, depth)


def _structured(text: str, depth: int) -> str:
    shape = read_shape(text)
    if shape.kind is Kind.SCALAR:
        only = shape.items[0]
        return key(only, depth + 1) if only != text else _words(text)
    keys = [key(item, depth + 1) for item in shape.items]
    if len(variables(shape.items)) > 1:  # `x=1,y=2` is not `x=2,y=1`
        names = [assignment(item)[0] for item in shape.items]
        keys = [f"{name}={value}" if name else value for name, value in zip(names, keys, strict=True)]
    if shape.kind is Kind.MATRIX:
        width = len(keys) // shape.rows
        rows = ("&".join(keys[start : start + width]) for start in range(0, len(keys), width))
        return r"\begin{pmatrix}" + r"\\".join(rows) + r"\end{pmatrix}"
    if shape.ordered:
        return shape.brackets[0] + ",".join(keys) + shape.brackets[-1]
    opening, closing = _SET_BRACKETS[shape.kind]
    separator = r"\cup" if shape.kind is Kind.UNION else ","
    return opening + separator.join(sorted(keys)) + closing


def _words(text: str) -> str:
    """Words of three letters and more, and `no`, are compared without case; `x` and `AB` keep theirs."""
    letters = text.translate(_BETWEEN_WORDS)
    return text.lower() if (len(text) >= 3 or text.lower() == "no") and letters.isalpha() else text
