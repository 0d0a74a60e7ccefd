"""The modules that hold templates; loading them fills the registry."""

from __future__ import annotations

import importlib

THEMES = (
    "ages",
    "arithmetic",
    "averages",
    "comparison",
    "equations",
    "fractions",
    "geometry",
    "money",
    "motion",
    "outings",
    "percent",
    "recipes",
    "schedules",
    "sharing",
    "shopping",
    "stock",
    "work",
)
"""One module of this package each."""


def load() -> None:
    """Import every theme, which registers its templates."""
    for theme in THEMES:
        importlib.import_module(f"tasks.generator.{theme}")
