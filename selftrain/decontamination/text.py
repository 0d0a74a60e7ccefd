"""The text of a problem as tokens and figures: what two wordings of one problem have in common.

Contract: pure functions. `read_text` gives a `Reading`:

- `running`: words in lower case, numbers in one form, signs, brackets, and `.` where a sentence ends. Layout,
  other punctuation, LaTeX spacing and brackets around a single thing are left out;
- `key`: the same as one line without the ends of sentences. Texts of one key are the same text;
- `masked`: words and signs with `#` for every number and `_` for every single letter (but `a` and `i`);
- `figures`: the numbers, operators and LaTeX commands in the order of the text, and the brackets that an
  operator stands beside. Problems with other figures are other problems, however alike their words. A 1
  among words is none, because ``one`` is none.

Numbers are read in one form: ``1,000`` and ``1000``, ``2.50`` and ``2.5``, ``twelve`` and ``12``,
``\\frac{1}{2}`` and ``1/2`` (``one`` is a pronoun too often and stays a word). A minus or a slash beside a
word is punctuation (``9-year-old``, ``km/h``), and so is the mark of ``Hooray!`` but not that of ``5!``. Text
is read in Unicode's form NFKC; an ideograph is a word. It knows no number words but the English ones.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from selftrain.decontamination.spelled import spelled_number
from selftrain.decontamination.typesetting import plain

NUMBER = "#"
LETTER = "_"
END = "."

_TOKEN = re.compile(
    r"(?P<number>\d{1,3}(?:,\d{3})+(?:\.\d+)?(?!\d)|\d+(?:\.\d+)?|\.\d+)|(?P<command>\\[a-z]+)"
    r"|(?P<ideograph>[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3])|(?P<word>[^\W\d_\u3040-\ud7a3]+)"
    r"|(?P<sign>[-+*/=^<>!|%])|(?P<bracket>[()\[\]{}])|(?P<end>[.?。？])|(?P<other>[^\w\s])"
)
_BRACKETED = re.compile(r"[(\[{][)\]}]")
_FIGURES = ("number", "command", "sign")


@dataclass(frozen=True, slots=True)
class Reading:
    """A text as tokens, see the module. `counted[i]` says that `running[i]` is a number, sign or command."""

    key: str
    running: tuple[str, ...]
    counted: tuple[bool, ...]
    masked: tuple[str, ...]
    figures: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    kind: str
    spaced_before: bool = True
    spaced_after: bool = True

    @property
    def letter(self) -> bool:
        return self.kind == "word" and len(self.text) == 1

    @property
    def mathematical(self) -> bool:
        return self.letter or self.kind in (*_FIGURES, "bracket")


def read_text(text: str) -> Reading:
    """The reading of a text. `key` is empty for a text without a letter, number or sign."""
    found = _numbers_of_words(_without_punctuation(_without_single_brackets(_scan(plain(text)))))
    spoken = [token for token in found if token.kind != "end"]
    if spoken and found[-1].kind != "end":
        found.append(_Token(END, "end"))
    return Reading(
        key=" ".join(token.text for token in spoken),
        running=tuple(token.text for token in found),
        counted=tuple(token.kind in _FIGURES for token in found),
        masked=tuple(_mask(token) for token in spoken if token.kind != "bracket"),
        figures=tuple(_figures(spoken)),
    )


def _scan(text: str) -> list[_Token]:
    found: list[_Token] = []
    for match in _TOKEN.finditer(text):
        kind, (start, stop) = str(match.lastgroup), match.span()
        before, after = text[max(0, start - 1) : start], text[stop : stop + 1]
        spaced = not before.strip(), not after.strip()
        if kind == "other":
            if unicodedata.category(match[0]) != "Sm":
                continue
            kind = "command"
        if kind == "number" and "," in match[0] and _BRACKETED.fullmatch(before + after):
            found += [_Token(_number(part), kind) for part in match[0].split(",")]
            continue
        content = _number(match[0]) if kind == "number" else END if kind == "end" else match[0]
        found.append(_Token(content, kind, *spaced))
    return found


def _number(text: str) -> str:
    whole, _, part = text.replace(",", "").partition(".")
    part = part.rstrip("0")
    return (whole.lstrip("0") or "0") + (f".{part}" if part else "")


def _without_single_brackets(tokens: Sequence[_Token]) -> list[_Token]:
    """``(3)`` and ``{3}`` are ``3``."""
    kept: list[_Token] = []
    for token in tokens:
        kept.append(token)
        kinds = [each.kind for each in kept[-3:]]
        if kinds in (["bracket", "number", "bracket"], ["bracket", "word", "bracket"]):
            kept[-3:] = [kept[-2]]
    return kept


def _without_punctuation(tokens: Sequence[_Token]) -> list[_Token]:
    """Without minus signs and slashes beside a word; an exclamation mark behind one ends a sentence."""
    kept: list[_Token] = []
    for index, token in enumerate(tokens):
        if token.text in ("-", "/"):
            before = index > 0 and tokens[index - 1].mathematical
            after = index + 1 < len(tokens) and tokens[index + 1].mathematical
            unary = token.text == "-" and token.spaced_before and not token.spaced_after
            if not after or not (before or unary):
                continue
        if token.text == "!" and (token.spaced_before or not (kept and kept[-1].mathematical)):
            token = _Token(END, "end")
        kept.append(token)
    return kept


def _numbers_of_words(tokens: Sequence[_Token]) -> list[_Token]:
    """Number words as numbers, see `spelled`."""
    words = [token.text for token in tokens]
    found: list[_Token] = []
    index = 0
    while index < len(tokens):
        number = spelled_number(words, index)
        found.append(tokens[index] if number is None else _Token(number[0], "number"))
        index = index + 1 if number is None else number[1]
    return found


def _mask(token: _Token) -> str:
    if token.kind == "number":
        return NUMBER
    return LETTER if token.letter and token.text not in "ai" else token.text


def _figures(tokens: Sequence[_Token]) -> list[str]:
    """Numbers, operators, commands, and brackets that an operator or bracket stands beside, outside."""
    found: list[str] = []
    for index, token in enumerate(tokens):
        if token.kind in _FIGURES:
            around = (*tokens[max(0, index - 1) : index], *tokens[index + 1 : index + 2])
            if token.text != "1" or any(other.mathematical for other in around):
                found.append(token.text)
        elif token.kind == "bracket":
            outer = index - 1 if token.text in "([{" else index + 1
            if 0 <= outer < len(tokens) and tokens[outer].kind in ("sign", "bracket"):
                found.append(token.text)
    return found
