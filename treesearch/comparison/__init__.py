"""Comparing methods at equal tokens, with intervals and paired tests: what `search compare` does."""
