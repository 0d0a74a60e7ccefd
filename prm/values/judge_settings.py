"""Settings of the judge, and what a running judge counts.

Contract: `JudgeSettings` is checked when it is made; a message names the setting, the value seen and what to
do. `JudgeTally` is the one thing about a judge that changes: counts of what could not be used. No score
depends on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from prm.values.members import parse_settings
from tasks.errors import UsageError, unknown_name

Mode = Literal["verdict", "critique", "grades"]


@dataclass(frozen=True, kw_only=True)
class JudgeSettings:
    """How a language model judges; see `prm.values.judge`.

    `mode`: verdict, critique or grades. `k`: judgements of each path or group, of which the scalar model
    `meta` (a process-reward model, with `meta_settings`) keeps the `k_meta` best; 0 keeps all. `model`: who
    judges, a policy's name; empty is the policy of the search itself. `engine` and `engine_settings`
    (``KEY=VALUE,...``) open it. `max_tokens` and `temperature` are those of one judgement. `positive` and
    `negative` are the verdict words. `group`: most sibling paths in one prompt of `grades`.
    """

    mode: Mode = "verdict"
    k: int = 1
    k_meta: int = 0
    meta: str = ""
    meta_settings: str = ""
    model: str = ""
    engine: str = "auto"
    engine_settings: str = ""
    max_tokens: int = 512
    temperature: float = 0.7
    positive: str = "yes"
    negative: str = "no"
    group: int = 8

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise unknown_name("value of value.mode", self.mode, get_args(Mode))
        for name in ("k", "max_tokens", "group"):
            if getattr(self, name) < 1:
                raise UsageError(f"value.{name} must be at least 1, got {getattr(self, name)}")
        if not self.temperature >= 0:
            raise UsageError(f"value.temperature must be at least 0, got {self.temperature}")
        words = self.positive.strip(), self.negative.strip()
        if not all(words) or words[0].lower() == words[1].lower():
            raise UsageError(f"value.positive and value.negative must be two different words, got {words}")
        if self.mode == "verdict" and self.k != 1:
            raise UsageError(
                f"mode verdict reads one probability and draws nothing, got value.k={self.k}; use "
                "mode=critique or mode=grades for several judgements"
            )
        self._check_meta()
        parse_settings(self.engine_settings)

    def _check_meta(self) -> None:
        if bool(self.meta) != bool(self.k_meta):
            raise UsageError(
                "value.meta names the model that keeps the value.k_meta best judgements: give both or "
                f"neither, got meta={self.meta!r} and k_meta={self.k_meta}"
            )
        if self.meta and self.mode != "grades":
            raise UsageError(f"value.meta is for mode=grades, got mode={self.mode}; leave meta out")
        if not 0 <= self.k_meta <= self.k:
            raise UsageError(f"value.k_meta must be in 0..k = {self.k}, got {self.k_meta}")
        parse_settings(self.meta_settings)


@dataclass(kw_only=True)
class JudgeTally:
    """What a judge wrote so far: judgements, those without a readable verdict, prompts beyond its context."""

    judgements: int = 0
    unparsed: int = 0
    too_long: int = 0
