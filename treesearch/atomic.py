"""Replace a small file at once: readers see the old content or the new, never half of it.

The new content is written to a file beside the old one, reaches the disk, and takes its name; a crash at any
point leaves the old file as it was (and perhaps a stray file ending in `.new`). POSIX semantics.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def write_text(path: Path, content: str) -> None:
    """Write `content` to `path` by atomic replace."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".new")
    with beside.open("w", encoding="utf-8") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON by atomic replace."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
