"""Training on packed trees: a searched tree is one row, and every edge's log-prob is read once.

`token_tree` turns a searched tree into ids, `pack` trees into passes, `EdgeScorer` a pass into log-prob
sums by edge; `EdgeIndex` numbers the edges and sums along paths, `selftrain.losses` turns the sums into
losses, and `backward` spreads the gradient of any such loss over several passes.

Names are resolved on first use, so that trees of tokens can be had without loading torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selftrain.packing.accumulate import backward
    from selftrain.packing.attention import KINDS, block_mask, dense_mask, tree_mask, use_tree_attention
    from selftrain.packing.batch import Batch, pack
    from selftrain.packing.check import check_reads_trees
    from selftrain.packing.edges import Chains, EdgeIndex
    from selftrain.packing.layout import Place, Row, rows
    from selftrain.packing.scorer import KEPT_LOGITS, EdgeLogProbs, EdgeScorer
    from selftrain.packing.tree import Ids, TokenTree, token_tree

_HOMES = {
    "Batch": "batch",
    "Chains": "edges",
    "EdgeIndex": "edges",
    "EdgeLogProbs": "scorer",
    "EdgeScorer": "scorer",
    "Ids": "tree",
    "KEPT_LOGITS": "scorer",
    "KINDS": "attention",
    "Place": "layout",
    "Row": "layout",
    "TokenTree": "tree",
    "backward": "accumulate",
    "block_mask": "attention",
    "check_reads_trees": "check",
    "dense_mask": "attention",
    "pack": "batch",
    "rows": "layout",
    "token_tree": "tree",
    "tree_mask": "attention",
    "use_tree_attention": "attention",
}

__all__ = [
    "KEPT_LOGITS",
    "KINDS",
    "Batch",
    "Chains",
    "EdgeIndex",
    "EdgeLogProbs",
    "EdgeScorer",
    "Ids",
    "Place",
    "Row",
    "TokenTree",
    "backward",
    "block_mask",
    "check_reads_trees",
    "dense_mask",
    "pack",
    "rows",
    "token_tree",
    "tree_mask",
    "use_tree_attention",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
