r"""The outer structure of an answer: scalar, list, tuple, interval, set, union, matrix.

Contract: `read_shape(text)` takes a spelling made by `latex.plain`, never raises, and looks at brackets and
top-level separators only; the items stay text. `assignment` splits `x = ...` off. Anything that is not
recognised is a scalar, so that nothing is lost.

A comma list without brackets has no order (`x = 1, 2`), parentheses and square brackets have one, braces
have none. `3 or 4` and `3 and 4` are lists. One `\pm` makes two items. Dots (`1, 2, \ldots, n`) are an item.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from tasks.math.numerals import parse_number


class Kind(enum.StrEnum):
    """What holds the items together."""

    SCALAR = "scalar"
    LIST = "list"
    TUPLE = "tuple"
    SET = "set"
    UNION = "union"
    MATRIX = "matrix"


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Kind, items, and for a tuple its two brackets: `(3,4]` has `(]`, so intervals are tuples.

    The items of a matrix are its entries, row by row; `rows` counts its rows.
    """

    kind: Kind
    items: tuple[str, ...]
    brackets: str = ""
    rows: int = 0

    @property
    def ordered(self) -> bool:
        """True where the position of an item matters."""
        return self.kind in (Kind.TUPLE, Kind.MATRIX)


_MEMBERSHIP = re.compile(r"[A-Za-z](?:_\w)?\\in(?![A-Za-z]) ?(?=[(\[\\])")
_WORDS = re.compile(r"(?:,\s*|(?<![A-Za-z]))(?:\bor\b|\band\b)(?![A-Za-z])")
_OPERATION = r"(?!\\(?:[dt]?frac|sqrt|[dt]?binom|sin|cos|tan|log|ln|sum|prod|int|lim|pi|infty)(?![A-Za-z]))"
_VARIABLE = re.compile(
    _OPERATION + r"(?:[A-Za-z]|\\[A-Za-z]+ ?)[A-Za-z0-9_{}'(), ]{0,30}|[A-Za-z](?:[-+][A-Za-z]){1,8}"
    r"|\([A-Za-z](?:_\w)?(?:,[A-Za-z](?:_\w)?){1,8}\)"
)
_BEGIN_MATRIX, _END_MATRIX = r"\begin{pmatrix}", r"\end{pmatrix}"
_RELATIONS = ("\\le", "\\ge", "\\ne", "<", ">")


def read_shape(text: str) -> Shape:
    """Structure of `text`, one level deep."""
    text = without_membership(text)
    if parse_number(text) is not None:
        return Shape(kind=Kind.SCALAR, items=(text,))
    matrix = _matrix(text)
    if matrix is not None:
        return matrix
    union = split(text, (r"\cup",))
    if len(union) > 1:
        return Shape(kind=Kind.UNION, items=tuple(union))
    bracketed = _bracketed(text)
    if bracketed is not None:
        opening, inner, closing = bracketed
        items = _expanded(split(inner, (",", ";")))
        if opening == r"\{" and closing == r"\}":
            return Shape(kind=Kind.SET, items=items)
        if len(items) > 1:
            return Shape(kind=Kind.TUPLE, items=items, brackets=opening + closing)
        if opening + closing == "()":
            return read_shape(inner) if inner else Shape(kind=Kind.SCALAR, items=(text,))
    items = _expanded(split(_WORDS.sub(",", text), (",", ";")))
    return Shape(kind=Kind.LIST if len(items) > 1 else Kind.SCALAR, items=items or (text,))


def without_membership(text: str) -> str:
    r"""`(3,4]` of `x \in (3,4]`."""
    membership = _MEMBERSHIP.match(text)
    return text[membership.end() :] if membership else text


def split(text: str, separators: tuple[str, ...]) -> list[str]:
    """Parts of `text` between top-level separators, empty parts dropped; brackets of any kind nest."""
    parts: list[str] = []
    depth = start = index = 0
    while index < len(text):
        char = text[index]
        separator = next((s for s in separators if text.startswith(s, index)), None) if depth == 0 else None
        if separator is not None:
            parts.append(text[start:index])
            index += len(separator)
            start = index
            continue
        depth = max(0, depth + (char in "([{") - (char in ")]}"))
        index += 1
    parts.append(text[start:])
    return [part.strip() for part in parts if part.strip()]


def assignment(text: str) -> tuple[str | None, list[str]]:
    """Left-hand variable, or None, and the remaining members of a chain of equalities.

    `x=5` gives `("x", ["5"])`, `8=7` gives `(None, ["8", "7"])`. Text without `=`, with another relation, or
    that lists several equations is its own only member.
    """
    members = split(text, ("=",)) if "=" in text else []
    if len(members) < 2 or any(relation in text for relation in _RELATIONS):
        return None, [text]
    if len(members) > 2 and len(split(_WORDS.sub(",", text), (",", ";"))) > 1:
        return None, [text]
    if _VARIABLE.fullmatch(members[0]) and parse_number(members[0]) is None:
        return members[0].replace(" ", ""), members[1:]
    return None, members


def variables(items: tuple[str, ...]) -> set[str]:
    """The different variables that items such as `x=1` and `y=2` are assigned to."""
    return {variable for item in items if (variable := assignment(item)[0]) is not None}


def _matrix(text: str) -> Shape | None:
    """The one matrix that `text` is, its rows of one length; None for anything else."""
    if not (text.startswith(_BEGIN_MATRIX) and text.endswith(_END_MATRIX)) or text.count(_BEGIN_MATRIX) > 1:
        return None
    rows = [split(row, ("&",)) for row in split(text[len(_BEGIN_MATRIX) : -len(_END_MATRIX)], ("\\\\",))]
    if not rows or not rows[0] or len({len(row) for row in rows}) > 1:
        return None
    return Shape(kind=Kind.MATRIX, items=tuple(entry for row in rows for entry in row), rows=len(rows))


def _bracketed(text: str) -> tuple[str, str, str] | None:
    """Opening bracket, inside and closing bracket, if one pair encloses the whole text."""
    opening = r"\{" if text.startswith(r"\{") else text[:1]
    closing = r"\}" if text.endswith(r"\}") else text[-1:]
    if opening not in ("(", "[", r"\{") or closing not in (")", "]", r"\}") or len(text) < 2:
        return None
    depth = 0
    for index, char in enumerate(text):
        depth += (char in "([{") - (char in ")]}")
        if depth == 0 and index >= len(opening) - 1:
            return (opening, text[len(opening) : -len(closing)], closing) if index == len(text) - 1 else None
    return None


def _expanded(items: list[str]) -> tuple[str, ...]:
    r"""Items with one `\pm` written out as two."""
    expanded: list[str] = []
    for item in items:
        if item.count(r"\pm") == 1 and r"\mp" not in item:
            minus = re.sub(r"\\pm ?", "-", item)
            plus = re.sub(r"\\pm ?", "+", item).removeprefix("+")
            expanded += [plus, minus]
        else:
            expanded.append(item)
    return tuple(expanded)
