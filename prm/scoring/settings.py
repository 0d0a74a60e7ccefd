"""Settings of a process-reward model that is opened by name, without loading a model library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from prm.scoring.options import ScoringOptions
from prm.scoring.reading import Combine
from tasks.errors import UsageError, unknown_name

NATIVE = "vllm-native"
BACKENDS = ("transformers", "vllm", NATIVE)
Reads = Literal["head", "log-ratio", "verdict"]
_OWN: Mapping[str, Reads] = {
    **dict.fromkeys(("combine", "uncertainty"), "head"),
    **dict.fromkeys(("reference", "beta", "cumulative"), "log-ratio"),
    **dict.fromkeys(("samples", "max_tokens", "temperature", "seed"), "verdict"),
}
"""Settings of `ScorerSettings` that one way to read a model alone has."""
_FREE = frozenset({"device", "cache_mb", "batch_tokens", "max_context", "threads"})
"""Settings that say how a model runs; scores do not depend on them, but for the rounding of a device."""


@dataclass(frozen=True, kw_only=True)
class ScorerSettings(ScoringOptions):
    """Settings of `open_scorer`; the others are those of `ScoringOptions`.

    `family`: name of a convention, empty to tell by the checkpoint. `backend`: transformers or vllm, for the
    model and, where text is generated, for the engine; vllm-native is vLLM's own class for Qwen's
    process-reward models, without the prefix cache. `engine_args`: vLLM's own arguments. `combine`: how
    members of an ensemble become one score, mean, worst or uncertain; `uncertainty`: lambda of the last.
    `reference`: the other model of a log-ratio. `beta`: its scale, 0 for the family's own. `cumulative`:
    whether a step's score is the log-ratio from the first step on or of the step alone, its Q value; None is
    the step alone for a model that was trained as a step-level Q value, else from the first step on.
    `samples`: verdicts a step of a generative judge. `max_tokens`: most tokens of one verdict.
    `temperature` and `seed` are those of its samples.
    """

    family: str = ""
    backend: str = "transformers"
    engine_args: str = ""
    combine: str = "mean"
    uncertainty: float = 0.5
    reference: str = ""
    beta: float = 0.0
    cumulative: bool | None = None
    samples: int = 1
    max_tokens: int = 2048
    temperature: float = 0.6
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.backend not in BACKENDS:
            raise unknown_name("back end of scoring", self.backend, BACKENDS)
        if self.combine not in get_args(Combine):
            raise unknown_name("way to combine members", self.combine, get_args(Combine))
        if self.uncertainty != ScorerSettings.uncertainty and self.combine != "uncertain":
            raise UsageError("uncertainty is lambda of combine=uncertain: give that with it, or leave it out")
        if self.engine_args and self.backend not in ("vllm", NATIVE):
            raise UsageError("engine_args are vLLM's own: give backend=vllm with them, or leave them out")
        for name in ("samples", "max_tokens"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("beta", "temperature", "uncertainty"):
            if not getattr(self, name) >= 0:
                raise UsageError(f"{name} must be at least 0, got {getattr(self, name)}")

    @property
    def options(self) -> ScoringOptions:
        """The settings of the back end alone."""
        return ScoringOptions(**{each.name: getattr(self, each.name) for each in fields(ScoringOptions)})


def refuse_unused(name: str, reads: Reads, settings: ScorerSettings) -> None:
    """Raise `UsageError` for a changed setting that a model which is read so does not use."""
    for each in fields(settings):
        if _OWN.get(each.name, reads) != reads and getattr(settings, each.name) != each.default:
            raise UsageError(
                f"setting {each.name!r} has no meaning for {name!r}, which is read by a {reads}; leave it out"
            )


def deciding(settings: ScorerSettings) -> dict[str, Any]:
    """The changed settings that scores depend on."""
    return {
        each.name: getattr(settings, each.name)
        for each in fields(settings)
        if each.name not in _FREE and getattr(settings, each.name) != each.default
    }
