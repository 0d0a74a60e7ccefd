"""The normal form of an expression: two plays that differ only in order or in brackets are one answer.

Contract: `normal_form` merges what commutes and associates: ``3+(11*2)``, ``(2*11)+3`` and ``11*2+3`` are
``11*2+3``; ``8-(5-3)`` and ``(8+3)-5`` are ``3+8-5``; ``6/(2/3)`` and ``(6*3)/2`` are ``3*6/2``. It does not
calculate, so two plays with one value by different operations stay two. None for a text that is no
expression. Bounds are those of `tasks.arithmetic`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tasks.arithmetic import NotArithmeticError, parse


@dataclass(frozen=True, slots=True)
class _Form:
    """A sign and a sum or product of parts; a part is the text of a sum, product or number.

    Parts are marked ``+`` or ``-`` in a sum, ``*`` or ``/`` in a product, and sorted. A number is a product
    of one part. The first term of a sum is positive: the sign of the whole is taken out.
    """

    negative: bool
    is_sum: bool
    parts: tuple[tuple[str, str], ...]

    def __add__(self, other: _Form) -> _Form:
        terms = sorted([*self._terms(), *other._terms()], key=lambda term: (term[1], term[0]))
        if terms[0][0] == "+":
            return _Form(False, True, tuple(terms))
        return _Form(True, True, tuple(("+" if sign == "-" else "-", text) for sign, text in terms))

    def __neg__(self) -> _Form:
        return _Form(not self.negative, self.is_sum, self.parts)

    def __sub__(self, other: _Form) -> _Form:
        return self + -other

    def __mul__(self, other: _Form) -> _Form:
        return self._times(other._factors(), other.negative)

    def __truediv__(self, other: _Form) -> _Form:
        turned = [("/" if mark == "*" else "*", text) for mark, text in other._factors()]
        return self._times(turned, other.negative)

    def __str__(self) -> str:
        parts = self.parts
        if not self.is_sum and parts[0][0] == "/":
            parts = (("*", "1"), *parts)
        text = "".join(f"{mark}{part}" for mark, part in sorted(parts, key=lambda part: part[0]))[1:]
        return f"-({text})" if self.negative else text

    def _times(self, factors: Iterable[tuple[str, str]], negative: bool) -> _Form:
        product = sorted([*self._factors(), *factors], key=lambda factor: (factor[0], factor[1]))
        return _Form(self.negative != negative, False, tuple(product))

    def _terms(self) -> list[tuple[str, str]]:
        if not self.is_sum:
            return [("-" if self.negative else "+", str(_Form(False, False, self.parts)))]
        return [("-" if (sign == "-") != self.negative else "+", text) for sign, text in self.parts]

    def _factors(self) -> list[tuple[str, str]]:
        if not self.is_sum:
            return list(self.parts)
        return [("*", f"({_Form(False, True, self.parts)})")]


def normal_form(text: str) -> str | None:
    """The normal form of an expression, None for another text."""
    try:
        return str(parse(text, lambda number: _Form(False, False, (("*", str(number)),))))
    except NotArithmeticError:
        return None
