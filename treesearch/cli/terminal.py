"""Writing to the terminal: plain lines, JSON, and model text made harmless.

Everything that a model, a data file or an error message says goes through `clean` before it reaches a
terminal: escape sequences, other control characters, text-direction overrides and lone surrogates are
removed, line breaks and tabs are kept. JSON is written in ASCII, which is harmless by itself.
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor moves
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?"  # OSC, DCS and the like: titles, links, clipboard
    r"|\x1b[ -/]*[0-~]?"
    r"|\x9b[0-?]*[ -/]*[@-~]"
)
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def clean(text: str) -> str:
    """`text` without anything that a terminal would act on; line breaks and tabs stay."""
    return _CONTROLS.sub("", _ESCAPES.sub("", text.replace("\r\n", "\n")))


def one_line(text: str, most: int = 0) -> str:
    """`text` cleaned, on one line, cut to `most` characters (0: not cut)."""
    line = " ".join(clean(text).split())
    return line[: most - 3] + "..." if most and len(line) > most else line


def say(text: str = "") -> None:
    """Write a line of the result to standard output."""
    _write(sys.stdout, clean(text))


def tell(text: str = "") -> None:
    """Write a line about the way there to standard error."""
    _write(sys.stderr, clean(text))


def say_json(content: Mapping[str, Any]) -> None:
    """Write the one JSON object of a command to standard output; numbers that are not finite are null."""
    sys.stdout.write(json.dumps(_finite(content), allow_nan=False) + "\n")
    sys.stdout.flush()


def _finite(content: Any) -> Any:
    """The same data with None for every float that JSON has no word for."""
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]  # pyright: ignore[reportUnknownVariableType]
    return content


def say_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write rows as columns of equal width, two spaces apart; the last column is not padded."""
    shown = [[one_line(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in shown) for column in range(len(header))]
    for row in shown:
        padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        say("  ".join(padded).rstrip())


def is_terminal(stream: TextIO) -> bool:
    """Whether a person looks at `stream` and it can redraw lines."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def draws(stream: TextIO, text: str) -> bool:
    """Whether the encoding of `stream` has the characters of `text`."""
    try:
        text.encode(stream.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def _write(stream: TextIO, text: str) -> None:
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "replace").decode(encoding) + "\n")
    stream.flush()
