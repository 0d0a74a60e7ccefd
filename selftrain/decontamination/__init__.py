"""Decontamination: training problems are compared with every evaluation set before anything is searched.

`decontaminate` is what a loop calls; `find_overlaps`, `require_clean` and `clean` are its parts. What counts
as the same problem, and how well that works on real data: `docs/selftrain-decontamination.md`.
"""

from selftrain.decontamination.overlaps import (
    clean,
    decontaminate,
    find_overlaps,
    read_held_out,
    without_overlaps,
)
from selftrain.decontamination.report import (
    METHODS,
    RULES,
    Compared,
    ContaminationError,
    Method,
    Overlap,
    Report,
    require_clean,
)
from selftrain.decontamination.settings import Decontamination

__all__ = [
    "METHODS",
    "RULES",
    "Compared",
    "ContaminationError",
    "Decontamination",
    "Method",
    "Overlap",
    "Report",
    "clean",
    "decontaminate",
    "find_overlaps",
    "read_held_out",
    "require_clean",
    "without_overlaps",
]
