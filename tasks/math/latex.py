r"""One plain spelling for the many ways in which LaTeX writes the same answer.

Contract: `plain(text)` is pure, never raises, and takes time linear in `text` but for a number of fractions
that is capped; callers keep it below `limits.MAX_CHARS`. It removes wrappers (`$`, `\boxed`, `\left`,
`\text`, colours, quotes), spacing, currency, percent and degree signs, units and thousands separators, gives
names such as `pi` and `sqrt` their backslash, and brings fractions and roots to braces.

Conventions that decide verdicts, because a grader does not see the question:
  * a percent sign is a unit: `50\%` reads as 50, and therefore not as 1/2;
  * a degree sign is a unit, except inside trigonometric functions, where it becomes pi/180;
  * a unit after a number is dropped, whatever the unit: converting units is not done here;
  * of `A \approx B`, A is the answer, unless A is only a variable.
It does not evaluate or reorder anything: that is the business of `numerals` and of the worker.
"""

from __future__ import annotations

import re

_UNICODE = str.maketrans(
    {
        "−": "-", "–": "-", "—": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": "/", "∕": "/",
        "π": r"\pi ", "θ": r"\theta ", "∞": r"\infty ", "°": r"^\circ ", "≤": r"\le ", "≥": r"\ge ",
        "≠": r"\ne ", "≈": r"\approx ", "“": '"', "”": '"',
        "√": r"\sqrt ", "±": r"\pm ", "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "…": r"\ldots ",
        "⋯": r"\ldots ",
        "²": "^2", "³": "^3", "½": r"\frac{1}{2}", "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}",
        "\u00a0": " ", "\u2009": " ", "\u202f": " ", "\u200b": "", "\ufeff": "", "€": "", "£": "", "¥": "",
    }
)  # fmt: skip
_WRAPPERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("**", "**"), ('"', '"'), ("`", "`"))
_BEFORE_UNWRAPPING: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"√\s*(\d+(?:\.\d+)?|[A-Za-z])"), r"\\sqrt{\1}"),
    (re.compile(r"\\(?:text)?color\s*\{[^{}]*\}"), ""),
    (re.compile(r"\{([^{}]*)\\over(?![A-Za-z])([^{}]*)\}"), r"\\frac{\1}{\2}"),
    (re.compile(r"\{([^{}]*)\\choose(?![A-Za-z])([^{}]*)\}"), r"\\binom{\1}{\2}"),
    (re.compile(r"(?<!\\)\\(?=\d)"), ""),
)
_BOX = re.compile(r"\\(?:boxed|fbox|framebox)\s*\{")
_TEXT_NAMES = (
    r"(?:text(?:bf|it|rm|sf|tt|normal|up)?|mbox|hbox|math(?:rm|bf|it|sf|tt|normal)|operatorname|bold|rm)"
)
_NOT_UNITS = (
    r"(?!\s*(?:or|and|not|if|base|mod|else|more|less|i|j|e|[aApP]\.?[mM]"
    r"|dozen|hundred|thousand|million|billion|trillion)\b)"
)
_UNIT = re.compile(
    r"(?:(?<=[\d}).])|(?<=\\pi))[\s,~\\]*\\"
    + _TEXT_NAMES
    + r"\s*\{"
    + _NOT_UNITS
    + r"\s*[A-Za-z][A-Za-z .,/'-]*\}"
    r"(?:\^\{?\\?\w{1,5}\}?)?[\s.]*\Z"
)
_PLAIN_UNIT = re.compile(
    r"(?:(?<=\})|(?<=\\pi)) ?(?:square |sq\.? |cubic )?"
    r"(?:cm|mm|km|kg|ft|in|mi|mph|inch(?:es)?|feet|foot|yards?|miles?|(?:centi|milli|kilo)?met(?:er|re)s?"
    r"|units?|degrees|radians|dollars|cents|seconds|minutes|hours|percent)(?:\^\{?[23]\}?)?\Z"
)
_UNIT_ROMAN = re.compile(r"\\mathrm\{\w\}")
_THOUSANDS = re.compile(r"(?<![\d.,])[1-9]\d{0,2}(?:,\d{3})+(?!\d)(?!,\d)")
_SPACED_THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2}(?: \d{3})+(?:\.\d+)?")
_TRIGONOMETRIC = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)")
_DEGREE = re.compile(r"\^\s*\{?\s*\\circ\s*\}?\s*(?:\\(?:text|mathrm)\{\s*[CF]\s*\}|[CF]\b)?|\\degree\b")
_TOO_MANY_ARGUMENTS = 256
_ABOUT = re.compile(r"\A(?:approximately|about|roughly|exactly|approx\.?|~)\s+(?=[-\d\\.])", re.IGNORECASE)
_BARE_VARIABLE = re.compile(r"[A-Za-z](?:_\w|_\{\w+\})?|\\[a-z]+")

_SUBSTITUTIONS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\\!\s*"), ""),
    (re.compile(r"\{\s*,\s*\}"), ","),
    (re.compile(r"(?<=\d)(?:\\[,;: ]|~)(?=\d{3}(?!\d))"), ","),
    (re.compile(r"\\(?:left|right|[bB]igg?[lrm]?)(?![A-Za-z])\.?"), ""),
    (
        re.compile(
            r"\\(?:displaystyle|textstyle|limits|nolimits|quad|qquad|hfill|phantom\{[^{}]*\})(?![A-Za-z])"
        ),
        " ",
    ),
    (re.compile(r"(?<!\\)\\[,;:> ]|~"), " "),
    (re.compile(r"\\[dtc]frac(?![A-Za-z])"), r"\\frac"),
    (re.compile(r"\\(?:le|leq|leqslant)(?![A-Za-z])"), r"\\le "),
    (re.compile(r"\\(?:ge|geq|geqslant)(?![A-Za-z])"), r"\\ge "),
    (re.compile(r"\\(?:ne|neq)(?![A-Za-z])"), r"\\ne "),
    (re.compile(r"\\(?:dots|cdots|dotsc|dotsb|ldots)(?![A-Za-z])|\.\.\.+"), r"\\ldots "),
    (re.compile(r"\\(?:emptyset|varnothing)(?![A-Za-z])"), r"\\emptyset "),
    (re.compile(r"\\lbrace(?![A-Za-z])"), r"\\{"),
    (re.compile(r"\\rbrace(?![A-Za-z])"), r"\\}"),
    (re.compile(r"\\langle(?![A-Za-z])"), "("),
    (re.compile(r"\\rangle(?![A-Za-z])"), ")"),
    (re.compile(r"\\l?vert(?![A-Za-z])|\\rvert(?![A-Za-z])"), "|"),
    (re.compile(r"\{(?:[bpB]|small)?matrix\}"), "{pmatrix}"),
    (re.compile(r"\\begin\{array\}\s*\{[^{}]*\}"), r"\\begin{pmatrix}"),
    (re.compile(r"\\end\{array\}"), r"\\end{pmatrix}"),
    (re.compile(r"\\?%|\\\$|\$|\\(?:euro|pounds)(?![A-Za-z])"), ""),
    (re.compile(r"(?<!\\)\\[()\[\]]"), ""),
    (re.compile(r"\\" + _TEXT_NAMES + r"\s*\{([^{}]*)\}"), r" \1 "),
    (re.compile(r"\\" + _TEXT_NAMES + r"\s*\{([^{}]*)\}"), r" \1 "),
    (re.compile(r"\*\*"), "^"),
    (
        re.compile(
            r"(?<![A-Za-z\\])(pi|theta|alpha|beta|sqrt|(?:arc)?(?:sin|cos|tan)|cot|csc|sec(?=\()|log|ln|exp)"
            r"(?![A-Za-z])"
        ),
        r"\\\1 ",
    ),
    (re.compile(r"(?<![A-Za-z\\])infinity(?![A-Za-z])", re.IGNORECASE), r"\\infty "),
    (re.compile(r"\\pi ?(?=\()"), r"\\pi\\cdot "),
    (re.compile(r"\+\s*\\infty"), r"\\infty"),
)
_REPEATING = re.compile(r"(?<![\d.])(\d{0,64})\.(\d{0,64})\\(?:overline|bar|dot)(?:\{(\d{1,64})\}|(\d))")
_SPACES = re.compile(r"\s+")
_NEEDLESS_SPACE = re.compile(r"(?<![A-Za-z0-9]) | (?![A-Za-z0-9])")
_SINGLE_SCRIPT = re.compile(r"([\^_])\{([A-Za-z0-9])\}")
_ARGUMENT_COMMAND = re.compile(r"\\(frac|sqrt)(?![A-Za-z])")
_COMMAND = re.compile(r"\\[A-Za-z]+")


def plain(text: str) -> str:
    r"""The plain spelling of an answer: `plain(r"$\dfrac 12\text{ cm}^2$") == r"\frac{1}{2}"`."""
    for pattern, replacement in _BEFORE_UNWRAPPING:
        text = pattern.sub(replacement, text)
    text = _without_approximation(_unwrap(text.translate(_UNICODE).strip()))
    for pattern, replacement in _SUBSTITUTIONS[:3]:
        text = pattern.sub(replacement, text)
    text = _without_degree(text)
    unit = _UNIT.search(text)
    if unit is not None and not _UNIT_ROMAN.search(unit.group()):
        text = text[: unit.start()]
    for pattern, replacement in _SUBSTITUTIONS[3:]:
        text = pattern.sub(replacement, text)
    text = _SPACES.sub(" ", text).strip().lstrip("=: ").rstrip(".,;: ").removesuffix("\\\\").strip()
    text = _REPEATING.sub(_repeating, text)
    text = _without_thousands(_PLAIN_UNIT.sub("", text))
    text = _NEEDLESS_SPACE.sub("", _braced_arguments(text))
    return _SINGLE_SCRIPT.sub(r"\1\2", text)


def closing_brace(text: str, start: int, limit: int | None = None) -> int | None:
    """Index of the brace that closes the one at `start`, looking no further than `limit`; None if unclosed.

    Escaped braces count for nothing, so that sets stay balanced.
    """
    depth = 0
    end = len(text) if limit is None else min(limit, len(text))
    index = start
    while index < end:
        char = text[index]
        if char == "\\":
            index += 2
            continue
        if char == "{":
            depth += 1
        elif char == "}":
            depth -= 1
            if depth == 0:
                return index
        index += 1
    return None


def _unwrap(text: str) -> str:
    for _ in range(8):
        before = text
        text = text.rstrip(".").rstrip() if text.endswith(("$.", ").", "].", "}.", "*.")) else text
        for opening, closing in _WRAPPERS:
            inner = text[len(opening) : len(text) - len(closing)]
            if text.startswith(opening) and text.endswith(closing) and len(text) >= len(opening + closing):
                text = inner.strip() if opening not in inner or opening == closing == "$" else text
        box = _BOX.match(text)
        if box is not None and closing_brace(text, box.end() - 1) == len(text) - 1:
            text = text[box.end() : -1].strip()
        if text.startswith("{") and closing_brace(text, 0) == len(text) - 1:
            text = text[1:-1].strip()
        if text == before:
            break
    return text


def _without_approximation(text: str) -> str:
    r"""`A` of `A \approx B`, `x=B` of `x \approx B`, and `B` of `\approx B` and of `about B`."""
    text = _ABOUT.sub("", text)
    head, sign, tail = text.partition(r"\approx")
    if not sign:
        return text
    tail = tail.partition(r"\approx")[0]
    head = head.strip()
    if not head:
        return tail.strip()
    return f"{head}={tail.strip()}" if _BARE_VARIABLE.fullmatch(head) else head


def _repeating(match: re.Match[str]) -> str:
    r"""The fraction that `0.1\overline{6}` is."""
    whole, start, period = match[1], match[2], match[3] or match[4]
    nines = 10 ** len(period) - 1
    numerator = int(whole + start or "0") * nines + int(period)
    return f"\\frac{{{numerator}}}{{{nines * 10 ** len(start)}}}"


def _without_degree(text: str) -> str:
    if _TRIGONOMETRIC.search(text):
        return _DEGREE.sub(r"\\cdot\\frac{\\pi}{180}", text)
    return _DEGREE.sub("", text)


def _without_thousands(text: str) -> str:
    r"""Drop the separators of `1,000`. Inside brackets a comma separates elements, so nothing is dropped."""
    if _SPACED_THOUSANDS.fullmatch(text):
        return text.replace(" ", "")
    if "(" in text or "[" in text or r"\{" in text:
        return text
    return _THOUSANDS.sub(lambda match: match.group().replace(",", ""), text)


def _braced_arguments(text: str) -> str:
    r"""Write `\frac12`, `\frac 34`, `\frac{270}7` and `\sqrt2` with braces, innermost (rightmost) first."""
    commands = list(_ARGUMENT_COMMAND.finditer(text))
    if len(commands) > _TOO_MANY_ARGUMENTS:
        return text
    for match in reversed(commands):
        position = match.end()
        pieces = [text[: match.start()], match.group()]
        if match.group(1) == "sqrt" and text[position : position + 1] == "[":
            closing = text.find("]", position)
            if closing < 0:
                continue
            pieces.append(text[position : closing + 1])
            position = closing + 1
        for _ in range(2 if match.group(1) == "frac" else 1):
            argument, position = _argument(text, position)
            pieces.append("{" + argument + "}" if argument else "")
        text = "".join(pieces) + text[position:]
    return text


def _argument(text: str, position: int) -> tuple[str, int]:
    """The TeX argument at `position` without its braces, and the index after it."""
    while position < len(text) and text[position] == " ":
        position += 1
    if position >= len(text):
        return "", position
    if text[position] == "{":
        closing = closing_brace(text, position)
        return ("", position) if closing is None else (text[position + 1 : closing].strip(), closing + 1)
    if text[position] == "(":
        closing = _closing_parenthesis(text, position)
        return ("", position) if closing is None else (text[position : closing + 1], closing + 1)
    command = _COMMAND.match(text, position)
    if command is None:
        return (text[position], position + 1) if text[position].isalnum() else ("", position)
    end = command.end()
    while end < len(text) and text[end] == "{":
        closing = closing_brace(text, end)
        if closing is None:
            break
        end = closing + 1
    return text[position:end], end


def _closing_parenthesis(text: str, start: int) -> int | None:
    depth = 0
    for index in range(start, len(text)):
        depth += (text[index] == "(") - (text[index] == ")")
        if depth == 0:
            return index
    return None
