"""Scoring solutions step by step: the seam, and its back ends."""

from prm.scoring.base import StepScorer, StepScores

__all__ = ["StepScorer", "StepScores"]
