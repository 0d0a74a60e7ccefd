"""Named tensors of a checkpoint folder, read one at a time from its safetensors files.

Contract: `Weights` knows every tensor of every ``*.safetensors`` file of a folder (single, sharded, and heads
in a file of their own) and reads only what is asked for; `rows` reads single rows of a matrix, so that two
rows of an lm_head do not load it. Nothing else is opened: other formats can hold code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from tasks.errors import UsageError

_HEADS = ("lm_head.weight", "output.weight", "embed_out.weight")
_EMBEDDINGS = ("model.embed_tokens.weight", "embed_tokens.weight")


class Weights:
    """The tensors of a folder; `only` names one file of it. Raises `UsageError` without any."""

    def __init__(self, folder: Path, *, only: str | None = None) -> None:
        self.folder = folder
        self._files: dict[str, Path] = {}
        for file in sorted(folder.glob(only or "*.safetensors")):
            with safe_open(str(file), framework="pt") as opened:
                self._files.update(dict.fromkeys(opened.keys(), file))
        if not self._files:
            raise UsageError(
                f"{str(folder)!r} has no {only or '*.safetensors'}; other formats are not loaded"
            )

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def get(self, name: str) -> torch.Tensor:
        """A tensor, in float32; `UsageError` names what the checkpoint has instead."""
        return self._opened(name, lambda opened: opened.get_tensor(name)).float()

    def rows(self, name: str, rows: Sequence[int]) -> torch.Tensor:
        """Some rows of a matrix, in float32, [rows, columns]."""

        def read(opened: Any) -> torch.Tensor:
            lazy = opened.get_slice(name)
            count = lazy.get_shape()[0]
            for row in rows:
                _check_row(name, count, row)
            return torch.cat([lazy[row : row + 1] for row in rows])

        return self._opened(name, read).float()

    def output_embeddings(self) -> str:
        """Name of the matrix that gives the logits: lm_head, or the embeddings that it is tied to."""
        for name in (*_HEADS, *_EMBEDDINGS):
            if name in self._files:
                return name
        raise UsageError(
            f"{str(self.folder)!r} has no lm_head and no embeddings among its tensors "
            f"({', '.join(sorted(self._files)[:4])} …); is it a causal language model?"
        )

    def _opened(self, name: str, read: Any) -> torch.Tensor:
        self._check(name)
        with safe_open(str(self._files[name]), framework="pt") as opened:
            return read(opened)

    def _check(self, name: str) -> None:
        if name not in self._files:
            heads = [each for each in sorted(self._files) if "layers." not in each]
            raise UsageError(
                f"{str(self.folder)!r} has no tensor {name!r}, which this family's head needs; outside of "
                f"the layers it has {', '.join(heads) or 'none'}; is it another family's checkpoint?"
            )


class HeldWeights(Weights):
    """Tensors in memory, read as those of a folder are; `folder` is named in errors."""

    def __init__(self, folder: Path, tensors: Mapping[str, torch.Tensor]) -> None:  # no files to open
        self.folder = folder
        self._files = dict.fromkeys(tensors, folder)
        self._tensors = tensors

    def get(self, name: str) -> torch.Tensor:
        """A tensor, in float32; `UsageError` names what there is instead."""
        self._check(name)
        return self._tensors[name].float().cpu()

    def rows(self, name: str, rows: Sequence[int]) -> torch.Tensor:
        """Some rows of a matrix, in float32, [rows, columns]."""
        self._check(name)
        count = self._tensors[name].shape[0]
        for row in rows:
            _check_row(name, count, row)
        return self._tensors[name][list(rows)].float().cpu()


def _check_row(name: str, count: int, row: int) -> None:
    if not 0 <= row < count:
        raise UsageError(f"{name} has {count} rows, row {row} was asked for")
