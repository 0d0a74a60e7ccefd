"""Settings of the back ends that score steps, without loading a model library."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class ScoringOptions:
    """Settings of `TransformersScorer`.

    `device`: auto (CUDA where there is one), cpu, cuda, cuda:N. `dtype`: auto, float32, bfloat16, float16.
    `cache_mb`: memory for keys and values of scored paths, 0 for none. `batch_tokens`: most new tokens in a
    forward pass, padding included. `max_context`: most tokens of question and steps, 0 for the model's own;
    more than that is refused. `threads`: torch threads on a CPU, 0 is one fewer than the process may use.
    """

    device: str = "auto"
    dtype: str = "auto"
    cache_mb: int = 512
    batch_tokens: int = 4096
    max_context: int = 0
    threads: int = 0

    def __post_init__(self) -> None:
        for name in ("cache_mb", "max_context", "threads"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} must be at least 0, got {getattr(self, name)}")
        if self.batch_tokens < 1:
            raise UsageError(f"batch_tokens must be at least 1, got {self.batch_tokens}")
