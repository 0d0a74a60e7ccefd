"""One way of writing for what is typeset in several: Unicode's mathematical signs, LaTeX, layout.

Contract: `plain` is a pure function of a text. Its result is in lower case and in Unicode's form NFKC. Signs
that LaTeX has a command for are that command (``√`` is ``\\sqrt``, ``α`` alone is ``\\alpha``), operators are
ASCII; superscripts and what follows ``^`` or ``\\sqrt`` stand in round brackets (``x²`` and ``x^{2}`` are
``x^(2)``), a fraction is ``(a)/(b)``, a degree sign is the word. LaTeX spacing and fonts, ``$`` and
apostrophes are left out. Nested fractions, roots and exponents keep their braces outside the innermost.
"""

from __future__ import annotations

import re
import unicodedata

_GREEK = {
    letter: "\\" + unicodedata.name(letter).rsplit(" ", 1)[1].lower().replace("lamda", "lambda")
    for letter in "αβγδεζηθικλμνξοπρστυφχψω"
}
_GREEK_ALONE = re.compile("(?<![Ͱ-Ͽ])[" + "".join(_GREEK) + "](?![Ͱ-Ͽ])")
_SUPERSCRIPTS = re.compile("[⁰¹²³⁴-⁹⁺⁻⁽⁾ⁿⁱ]+")
_BRACED = re.compile(r"(\^|\\sqrt)\s*\{([^{}]*)\}")
_ROOT = re.compile(r"√\s*(\d+(?:\.\d+)?)")
_FRACTION = re.compile(r"\\[dt]?frac\s*(?:\{([^{}]*)\}|(\d))\s*(?:\{([^{}]*)\}|(\d))")
_DEGREES = re.compile(r"\^\s*\\circ(?![a-z])|\^\s*\{\s*\\circ\s*\}|\\degree(?![a-z])|°")
_LAYOUT = re.compile(
    r"\\(?:left|right|bigl?|bigr?|displaystyle|limits|quad|qquad|text|textbf|textit|mathrm|mathbf|mbox)"
    r"(?![a-z])|\\[,;!: ()\[\]]|[$~&]"
)
_APOSTROPHE = re.compile("['’`]")
_SIGNS = {
    r"\times": "*", r"\cdot": "*", r"\div": "/", "×": "*", "·": "*", "⋅": "*", "∙": "*", "÷": "/", "⁄": "/",
    "∕": "/", "−": "-", "–": "-", r"\%": "%", "percent": "%", r"\lt": "<", r"\gt": ">",
    r"\leq": r"\le", r"\geq": r"\ge", r"\neq": r"\ne", r"\land": r"\wedge", r"\lor": r"\vee",
    r"\lnot": r"\neg", r"\rightarrow": r"\to", r"\varnothing": r"\emptyset",
    "≤": r"\le", "≥": r"\ge", "≠": r"\ne", "≈": r"\approx", "≡": r"\equiv", "±": r"\pm", "∓": r"\mp",
    "√": r"\sqrt", "∞": r"\infty", "∑": r"\sum", "∏": r"\prod", "∫": r"\int", "∂": r"\partial",
    "∇": r"\nabla", "∪": r"\cup", "∩": r"\cap", "∈": r"\in", "∉": r"\notin", "⊂": r"\subset",
    "⊆": r"\subseteq", "∅": r"\emptyset", "∧": r"\wedge", "∨": r"\vee", "¬": r"\neg", "→": r"\to",
    "∠": r"\angle", "△": r"\triangle", "⊥": r"\perp", "∥": r"\parallel",
    **_GREEK,
}  # fmt: skip
_SIGN = re.compile(
    "|".join(
        re.escape(key) + ("(?![a-z])" if key.isascii() and key[-1].isalpha() else "")
        for key in sorted(set(_SIGNS) - set(_GREEK), key=len, reverse=True)
    )
)


def plain(text: str) -> str:
    """The text in one way of writing, see the module."""
    text = _SUPERSCRIPTS.sub(lambda match: f"^{{{match[0]}}}", text)
    text = _DEGREES.sub(" degrees ", text)
    text = unicodedata.normalize("NFKC", text.replace("∕", "/")).casefold().replace("{,}", ",")
    text = _APOSTROPHE.sub("", _LAYOUT.sub(" ", text))
    text = _FRACTION.sub(lambda match: f"({match[1] or match[2]})/({match[3] or match[4]})", text)
    text = _ROOT.sub(r"\\sqrt(\1)", text)
    text = _BRACED.sub(r"\1(\2)", _BRACED.sub(r"\1(\2)", text))
    text = _GREEK_ALONE.sub(_as_sign, text)
    return _SIGN.sub(_as_sign, text)


def _as_sign(match: re.Match[str]) -> str:
    sign = _SIGNS[match[0]]
    return f"{sign} " if sign.startswith("\\") else sign
