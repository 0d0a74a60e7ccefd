"""Settings of decontamination: what counts as the same problem, and what happens then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tasks.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Decontamination:
    """How training problems are compared with evaluation sets; see `docs/selftrain-decontamination.md`.

    The defaults are measured on that page. `UsageError` for a value outside of its range.
    """

    on_overlap: Literal["stop", "drop"] = "stop"
    """`stop`: an overlap is an error; `drop`: training goes on without the problems that overlap."""
    numbers: Literal["same", "any"] = "same"
    """`same`: texts that are alike are one problem only with the same numbers; `any`: with any."""
    ngram: int = 8
    """Tokens of an n-gram; 0 leaves the method out."""
    coverage: float = 0.5
    """Share of an evaluation problem's tokens within shared n-grams from which it overlaps, in (0, 1]."""
    shingle: int = 2
    """Tokens of a shingle for MinHash; 0 leaves the method out."""
    jaccard: float = 0.3
    """Similarity of two problems' sets of shingles from which they overlap, in (0, 1]."""
    permutations: int = 256
    """Length of a MinHash signature."""
    recall: float = 0.99
    """Least chance that a pair of similarity `jaccard` becomes a candidate, in (0, 1)."""
    common_share: float = 0.05
    """N-grams in more than this share of the training problems and of the evaluation set are boilerplate."""
    common_least: int = 5
    """No n-gram in fewer training or evaluation problems than this is boilerplate."""

    def __post_init__(self) -> None:
        for name in ("coverage", "jaccard"):
            if not 0 < getattr(self, name) <= 1:
                raise UsageError(f"{name} must be above 0 and at most 1, got {getattr(self, name)}")
        for name in ("recall", "common_share"):
            if not 0 < getattr(self, name) < 1:
                raise UsageError(f"{name} must be between 0 and 1, got {getattr(self, name)}")
        for name, least in (("ngram", 0), ("shingle", 0), ("permutations", 1), ("common_least", 1)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} must be at least {least}, got {getattr(self, name)}")
        for name, valid in (("on_overlap", ("stop", "drop")), ("numbers", ("same", "any"))):
            if getattr(self, name) not in valid:
                raise UsageError(f"{name} must be {' or '.join(valid)}, got {getattr(self, name)!r}")
