"""Where exported rows go: JSON lines, or a folder of Hugging Face `datasets`.

Contract: `write_columns` replaces `path` by rows that all have the given columns; `read_columns` gives them
back as rows with the place of each. A path ending in `.jsonl` is JSON lines (replaced at once), any other one
a folder made by `Dataset.save_to_disk`, which `datasets.load_from_disk` reads. A folder is written beside the
old one and then takes its name; a folder that holds something else is never replaced (`UsageError`).

`datasets` is optional and is imported when a folder is written or read: `MissingPrerequisiteError` says how
to get it. Nothing is sent anywhere.
"""

from __future__ import annotations

import shutil
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prm.evaluation.rows import Row
from selftrain.data.files import read_lines, write_lines
from tasks.errors import DataError, MissingPrerequisiteError, UsageError

Columns = Mapping[str, str]
"""Names and types: `str`, `int`, `float`, `bool`, or ``list[...]`` of one of these; all may be null."""
_TYPES = {"str": "string", "int": "int64", "float": "float64", "bool": "bool"}
_MARK = "dataset_info.json"


def write_columns(path: Path, rows: Iterable[Mapping[str, Any]], columns: Columns) -> int:
    """Replace `path` by rows; returns how many."""
    found = list(rows)
    if path.suffix == ".jsonl":
        write_lines(path, found)
    else:
        _write_folder(path, found, columns)
    return len(found)


def read_columns(path: Path) -> list[Row]:
    """The rows of a file or folder; `DataError` if there is none."""
    if path.suffix == ".jsonl":
        return read_lines(path)
    if not (path / _MARK).is_file():
        raise DataError(f"{path} is neither a .jsonl file nor a folder of datasets.save_to_disk")
    with _datasets() as library:
        return [
            Row(path, number, content) for number, content in enumerate(library.load_from_disk(str(path)), 1)
        ]


def _write_folder(path: Path, rows: Sequence[Mapping[str, Any]], columns: Columns) -> None:
    if path.exists() and not (path / _MARK).is_file():
        raise UsageError(f"{path} exists and is no folder of datasets; give another path, or one in .jsonl")
    beside = path.with_name(path.name + ".new")
    with _datasets() as library:
        features = library.Features({name: _feature(library, kind) for name, kind in columns.items()})
        table = {name: [row[name] for row in rows] for name in columns}
        shards = None if rows else 1  # without rows it would write no file, which it cannot load
        library.Dataset.from_dict(table, features=features).save_to_disk(str(beside), num_shards=shards)
    if path.exists():
        shutil.rmtree(path)
    beside.replace(path)


def _feature(library: Any, kind: str) -> Any:
    if kind.startswith("list["):
        return library.List(_feature(library, kind[5:-1]))
    return library.Value(_TYPES[kind])


@contextmanager
def _datasets() -> Generator[Any]:
    """The library, with its progress bars off meanwhile."""
    try:
        import datasets  # pyright: ignore[reportMissingImports] - optional
    except ImportError as error:
        raise MissingPrerequisiteError(
            "folders of Hugging Face datasets need the package; run: pip install datasets (or write .jsonl)"
        ) from error
    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield datasets
    finally:
        if shown:
            datasets.enable_progress_bars()
