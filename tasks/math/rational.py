r"""A proof that two rational functions differ, without algebra: their values modulo a prime.

Contract: `differ(gold, answer)` takes spellings made by `latex.plain`. True means: both are rational
functions with rational coefficients and they are not the same one. False means nothing: they may be equal,
or one of them is written with something that is not read here (roots, functions, `i`, a letter in front of a
bracket, which may be a function). Pure Python, never raises, linear in the text but for `pow`.

Why: the grammar of the worker takes 50 ms for a polynomial of degree 8, and most comparisons that come to it
are of wrong answers. Values that differ modulo a prime are a proof; values that agree are none, since
whoever knows the prime can add it, so that these are left to the worker. Pi is a variable like any other: it
is transcendental, and so is e; with both of them in a pair nothing is claimed.
"""

from __future__ import annotations

import hashlib
import re

from tasks.math.limits import MAX_EXPONENT, MAX_NESTING

_PRIME = 2**127 - 1
_TOKEN = re.compile(
    r"\d+(?:\.\d+)?|\.\d+|[A-Za-z](?:_\w|_\{\w{1,16}\})?|\\(?:frac|cdot|times|pi)(?![A-Za-z]) ?|[-+*/^(){}]"
)
_TIMES = ("*", "\\cdot", "\\times")
_UNREAD = ("i", "d")


class _Unread(Exception):
    """The text is not a rational function, as far as this module reads."""


def differ(gold: str, answer: str) -> bool:
    """Whether it is shown that the two are different rational functions."""
    letters = set(gold + answer)
    if "e" in letters and r"\pi" in gold + answer:
        return False
    try:
        return _Reader(gold).value() != _Reader(answer).value()
    except _Unread:
        return False


class _Reader:
    """Recursive descent over the tokens of one text; the values are numbers modulo the prime."""

    def __init__(self, text: str) -> None:
        self._tokens: list[str] = []
        position = 0
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                raise _Unread(text)
            self._tokens.append(match.group().strip())
            position = match.end()
        self._index = self._depth = 0

    def value(self) -> int:
        """Value of the whole text at the fixed point."""
        value = self._sum()
        if self._next():
            raise _Unread(self._next())
        return value

    def _next(self) -> str:
        return self._tokens[self._index] if self._index < len(self._tokens) else ""

    def _take(self, *expected: str) -> bool:
        found = self._next() in expected
        self._index += found
        return found

    def _sum(self) -> int:
        self._depth += 1
        if self._depth > MAX_NESTING:
            raise _Unread("nesting")
        total = self._signed_product()
        while self._next() in ("+", "-"):
            total += self._signed_product()
        self._depth -= 1
        return total % _PRIME

    def _signed_product(self) -> int:
        if self._take("-"):
            return -self._product()
        self._take("+")
        return self._product()

    def _product(self) -> int:
        value = self._power()
        divided = False
        while self._next() and self._next() not in ("+", "-", ")", "}"):
            if self._take("/"):
                value = value * _inverse(self._power()) % _PRIME
                divided = True
            elif self._take(*_TIMES):
                value = value * self._power() % _PRIME
            elif divided or self._next()[0].isdigit() or self._next()[0] == ".":
                raise _Unread("a/bc, or a number behind a letter")
            else:
                value = value * self._factor_behind() % _PRIME
        return value

    def _factor_behind(self) -> int:
        r"""A factor without a sign in front; `2\frac12` may be a mixed number, and `f(x)` a value of f."""
        before = self._tokens[self._index - 1]
        mixed = before[0].isdigit() and self._next() == "\\frac"
        if mixed or (before[0].isalpha() and self._next() == "("):
            raise _Unread(before)
        return self._power()

    def _power(self) -> int:
        base = self._base()
        if not self._take("^"):
            return base
        braced = self._take("{")
        negative = braced and self._take("-")
        digits = self._next()
        self._index += 1
        closed = self._take("}") if braced else len(digits) == 1
        if not closed or not digits.isdigit() or len(digits) > 5 or int(digits) > MAX_EXPONENT:
            raise _Unread(digits)
        if self._next() == "^":
            raise _Unread("tower")
        value = pow(base, int(digits), _PRIME)
        return _inverse(value) if negative else value

    def _base(self) -> int:
        token = self._next()
        self._index += 1
        if token == "(":
            return self._closed(")")
        if token == "\\frac":
            top = self._group()
            return top * _inverse(self._group()) % _PRIME
        if token[:1].isdigit() or token[:1] == ".":
            whole, _, decimals = token.partition(".")
            return int((whole + decimals) or "0") * _inverse(10 ** len(decimals)) % _PRIME
        if token == "\\pi" or (token[:1].isalpha() and token not in _UNREAD):
            return int.from_bytes(hashlib.sha256(token.encode()).digest()[:15], "big")
        raise _Unread(token)

    def _group(self) -> int:
        if not self._take("{"):
            raise _Unread(self._next())
        return self._closed("}")

    def _closed(self, bracket: str) -> int:
        value = self._sum()
        if not self._take(bracket):
            raise _Unread(self._next())
        return value


def _inverse(value: int) -> int:
    if value % _PRIME == 0:
        raise _Unread("division by zero")
    return pow(value, -1, _PRIME)
