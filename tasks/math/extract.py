r"""The answer that a solution text gives.

Contract: `extract(solution)` never raises and takes time linear in the text. Rules, the first that applies:

  `boxed`   the last closed `\boxed{...}`, `\fbox{...}` or `\boxed 5`;
  `hash`    the last `#### x` (GSM8K), unless the line is a heading such as `#### Step 2: add`;
  `phrase`  the last "the answer is x", "answer: x", or a line `A: x`, up to the end of the sentence; of a
            sentence such as "Verna received $7.00 in change", its only number;
  `last_number`  the last number of the text: a guess, marked `fallback`.

A box that is never closed was cut off by the length limit and does not count. An answer that is longer than
`limits.MAX_CHARS` is cut just above it, so that grading calls it ungradable. Nothing is normalised here:
`canonical` and `grade` do that.
"""

from __future__ import annotations

import re

from tasks.base import Answer
from tasks.math.latex import closing_brace
from tasks.math.limits import MAX_CHARS

_BOXES = (r"\boxed", r"\fbox", r"\framebox")
_MAX_TRIES = 16
_BARE_BOX = re.compile(r"\s{0,4}([^\s{}$\\]{1,64})")
_HEADING = re.compile(
    r"\s*(?:step|part|case|method|solution|approach|final|conclusion|check|answer)\b", re.IGNORECASE
)
_PHRASE = re.compile(
    r"\banswer(?:\*\*)?(?:\s{0,4}(?:is|:|=)(?:\*\*)?){1,2}|^A:", re.IGNORECASE | re.MULTILINE
)
_SENTENCE_END = re.compile(r"[.!?](?=\s|\Z)|,?\s(?:because|since|so|which|as)\b")
_NUMBER = re.compile(r"(?:(?<![\w)}.])-\s?)?\$?(\d[\d,]*(?:\.\d+)?(?:/\d+)?|\.\d+)")
_NUMBER_WINDOW = 512
_SENTENCE = re.compile(r"[A-Za-z][A-Za-z'’]*,? [A-Za-z0-9$€£.,%'’() -]{0,300}")
_HEDGES = re.compile(r"\b(?:not?|or|and|than|least|most|between|if|never|neither|base)\b", re.IGNORECASE)
_MATH_DELIMITERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"))


def extract(solution: str) -> Answer | None:
    """The answer of `solution`, or None if the text holds neither a marked answer nor a number."""
    for source, rule in (("boxed", _boxed), ("hash", _hash), ("phrase", _phrase)):
        text = rule(solution)
        if text:
            return Answer(text=text[: MAX_CHARS + 1], source=source)
    number = _last_number(solution)
    return Answer(text=number, source="last_number", fallback=True) if number else None


def _boxed(solution: str) -> str | None:
    end = len(solution)
    for _ in range(_MAX_TRIES):
        start, command = max((solution.rfind(command, 0, end), command) for command in _BOXES)
        if start < 0:
            return None
        text = _box_content(solution, start + len(command))
        if text:
            return text
        end = start
    return None


def _box_content(solution: str, position: int) -> str | None:
    head = solution[position : position + 8]
    brace = position + len(head) - len(head.lstrip())
    if solution[brace : brace + 1] != "{":
        bare = _BARE_BOX.match(solution, position)
        return bare.group(1).rstrip(".,;") if bare else None
    closing = closing_brace(solution, brace, brace + MAX_CHARS + 2)
    if closing is not None:
        return solution[brace + 1 : closing].strip()
    overlong = len(solution) - brace > MAX_CHARS + 2
    return solution[brace + 1 : brace + MAX_CHARS + 2] if overlong else None


def _hash(solution: str) -> str | None:
    end = len(solution)
    for _ in range(_MAX_TRIES):
        start = solution.rfind("####", 0, end)
        if start < 0:
            return None
        line = _rest_of_line(solution, start + 4)
        if line and not line.startswith("#") and not _HEADING.match(line):
            return _tidy(line)
        end = start
    return None


def _phrase(solution: str) -> str | None:
    match = None
    for match in _PHRASE.finditer(solution):  # noqa: B007 - only the last match is wanted
        pass
    if match is None:
        return None
    line = _rest_of_line(solution, _first_text(solution, match.end()))
    for opening, closing in _MATH_DELIMITERS:
        if line.startswith(opening):
            end = line.find(closing, len(opening))
            return line[len(opening) : end].strip() if end > 0 else _tidy(line)
    sentence_end = _SENTENCE_END.search(line)
    return _only_number(_tidy(line[: sentence_end.start()] if sentence_end else line))


def _only_number(text: str) -> str:
    """The number of a sentence that has one and does not hedge it; any other text as it is."""
    if not _SENTENCE.fullmatch(text) or _HEDGES.search(text):
        return text
    numbers = [match.group() for match in _NUMBER.finditer(text)]
    return numbers[0].rstrip(",") if len(numbers) == 1 else text


def _first_text(solution: str, position: int) -> int:
    """Index of the first character from `position` that is not white space, on this line or a later one."""
    while position < len(solution) and solution[position].isspace():
        position += 1
    return position


def _rest_of_line(solution: str, position: int) -> str:
    """Text from `position` to the end of its line, cut just above the length cap."""
    end = solution.find("\n", position)
    end = len(solution) if end < 0 else end
    return solution[position : min(end, position + MAX_CHARS + 1)].strip(" \t\r*:")


def _tidy(text: str) -> str:
    text = text.strip().rstrip(".").strip("* \t")
    return text[1:-1].strip() if len(text) > 2 and text[0] == text[-1] == "$" else text


def _last_number(solution: str) -> str | None:
    last_digit = next((i for i in range(len(solution) - 1, -1, -1) if solution[i] in "0123456789"), -1)
    if last_digit < 0:
        return None
    window = solution[max(0, last_digit + 1 - _NUMBER_WINDOW) : last_digit + 1]
    match = None
    for match in _NUMBER.finditer(window):  # noqa: B007 - only the last match is wanted
        pass
    return match.group().replace("$", "").replace(" ", "").rstrip(",") if match else None
