"""Content hashes: of files, of model folders and of plain data. Where a thing lies is no part of its hash.

A model's hash is over the names and bytes of its weights and tokenizer; the card, logs and training state
beside them do not count. A model that is no folder here (a hub id, a server's address) is known by its name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_BLOCK = 1 << 20
_MODEL = ("*.safetensors", "config.json", "tokenizer.json", "tokenizer.model")


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def data_hash(content: Any) -> str:
    """SHA-256 of plain data as JSON with sorted keys."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def model_files(folder: Path) -> list[Path]:
    """The files of a model folder that its hash is over, sorted by name."""
    return sorted({file for pattern in _MODEL for file in folder.glob(pattern)})


def files_hash(files: Mapping[str, str]) -> str:
    """One hash of several files' names and hashes."""
    return data_hash(dict(files))


def model_hash(model: str) -> str:
    """The hash of a model folder; of any other model's name the name itself, marked ``name:``."""
    folder = Path(model).expanduser()
    if not folder.is_dir():
        return f"name:{model}"
    return files_hash({file.name: file_hash(file) for file in model_files(folder)})
