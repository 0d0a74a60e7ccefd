"""Countdown and Game of 24: puzzles, exact verifier, exhaustive solver, seeded generator."""

from tasks.countdown.generate import WorkedPuzzle, generate, split_of
from tasks.countdown.puzzle import (
    Move,
    compose,
    first_wrong_step,
    format_step,
    parse_step,
    question_text,
    take,
)
from tasks.countdown.solver import solvable, solve

__all__ = [
    "Move",
    "WorkedPuzzle",
    "compose",
    "first_wrong_step",
    "format_step",
    "generate",
    "parse_step",
    "question_text",
    "solvable",
    "solve",
    "split_of",
    "take",
]
