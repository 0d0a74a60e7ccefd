"""The small worlds and tiny models of the search's tests serve the tests of this package too."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "treesearch"))  # toy_worlds, tiny_models
