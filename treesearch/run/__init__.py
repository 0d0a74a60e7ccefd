"""Runs: many problems, one directory, resumable."""
