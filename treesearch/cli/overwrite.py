"""What a command writes must not be what it reads."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tasks.errors import UsageError


def refuse_overwriting(option: str, written: str | Path | None, read: Iterable[str | Path]) -> None:
    """`UsageError` if the path given as `option` is one of those that are `read`."""
    if written is None:
        return
    for path in read:
        if Path(written).expanduser().resolve() == Path(path).expanduser().resolve():
            raise UsageError(f"{option} {written} is a file that is read; give another one")
