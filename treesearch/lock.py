"""One process at a time in a folder.

Contract: `locked` holds an advisory lock on the file ``lock`` in the folder, which goes with the process
however that ends. POSIX semantics; the file stays.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tasks.errors import UsageError


@contextmanager
def locked(folder: Path) -> Generator[None]:
    """Hold the folder's lock, making the folder if need be; `UsageError` if another process has it."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(
                f"another process is working on the run {folder}; wait for it or stop it"
            ) from error
        yield
    finally:
        os.close(descriptor)
