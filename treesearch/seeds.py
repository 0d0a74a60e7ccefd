"""Seeds that depend on what they are for and on nothing else.

A request's seed is derived from the tree's seed and the request's place (node, how often it was expanded,
purpose), so that asking again after a kill draws the same, in whatever order requests run.
"""

from __future__ import annotations

import hashlib


def derive(seed: int, *place: int | str) -> int:
    """A seed in [0, 2**63) for `place` under `seed`; the same on every machine and Python version."""
    key = f"{seed}:{':'.join(map(str, place))}".encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") >> 1
