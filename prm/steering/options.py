"""Settings of the engine `steered`, without loading a model library.

Contract: checked when they are made; a message names the setting, the value seen and what to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from tasks.errors import UsageError, unknown_name

Others = Literal["keep", "drop"]


@dataclass(frozen=True, kw_only=True)
class SteeringOptions:
    """Settings of `SteeredEngine`.

    `value`: folders of process-reward models, parted by ``;``. `weights`: their weights, likewise; empty is
    1 each. `beta`: strength, 0 is the base model. `top_k`: tokens that are steered at each place. `others`:
    keep the other tokens or drop them. `device`, `dtype`, `max_context` and `threads` are as in the engine
    `transformers`, for both models. `max_sequences`: samples of a request written side by side.
    """

    value: str = ""
    weights: str = ""
    beta: float = 3.0
    top_k: int = 20
    others: Others = "keep"
    device: str = "auto"
    dtype: str = "auto"
    max_sequences: int = 64
    max_context: int = 0
    threads: int = 0

    def __post_init__(self) -> None:
        if self.others not in get_args(Others):
            raise unknown_name("value of engine.others", self.others, get_args(Others))
        if not 0 <= self.beta < float("inf"):
            raise UsageError(f"engine.beta must be at least 0, got {self.beta}")
        for name in ("top_k", "max_sequences"):
            if getattr(self, name) < 1:
                raise UsageError(f"engine.{name} must be at least 1, got {getattr(self, name)}")
        for name in ("max_context", "threads"):
            if getattr(self, name) < 0:
                raise UsageError(f"engine.{name} must be at least 0, got {getattr(self, name)}")
        if self.weights and len(self.scales) != len(self.folders):
            raise UsageError(
                f"engine.weights needs one number a value, got {self.weights!r} for "
                f"{len(self.folders)} values"
            )

    @property
    def folders(self) -> list[str]:
        """The folders that `value` names."""
        return [part.strip() for part in self.value.split(";") if part.strip()]

    @property
    def scales(self) -> list[float]:
        """One weight a value; `UsageError` for one that is no number."""
        try:
            given = [float(part) for part in self.weights.split(";")] if self.weights else []
        except ValueError as error:
            raise UsageError(f"engine.weights must be numbers parted by ';', got {self.weights!r}") from error
        return given or [1.0] * len(self.folders)
