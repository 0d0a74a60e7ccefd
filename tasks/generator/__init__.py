"""Seeded grade-school maths with worked solutions: word problems, linear equations, arithmetic.

Made for training and measuring tiny language models: short ASCII text, one checkable equation a line, an
unlimited supply, and a test split that no train seed can reach. `generate(seed, split="train")` gives one
problem, `stream` all of them, `first_wrong_step` checks steps that a model wrote.
"""

from __future__ import annotations

from tasks.generator.checker import wrong_step
from tasks.generator.draft import HARD, STANDARD, Difficulty, Ranges
from tasks.generator.registry import Family
from tasks.generator.registry import registered as templates
from tasks.generator.source import (
    Split,
    Worked,
    constants_of,
    first_wrong_step,
    generate,
    split_of,
    stream,
)

__all__ = [
    "HARD",
    "STANDARD",
    "Difficulty",
    "Family",
    "Ranges",
    "Split",
    "Worked",
    "constants_of",
    "first_wrong_step",
    "generate",
    "split_of",
    "stream",
    "templates",
    "wrong_step",
]
