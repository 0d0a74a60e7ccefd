"""Training on packed trees: a searched tree is one row, and every edge's log-prob is read once.

`token_tree` turns a searched tree into ids, `pack` trees into passes, `EdgeScorer` a pass into log-prob
sums by edge; `EdgeIndex` numbers the edges and sums along paths, `selftrain.losses` turns the sums into
losses, and `backward` spreads the gradient of any such loss over several passes.
"""

from selftrain.packing.accumulate import backward
from selftrain.packing.attention import KINDS, block_mask, dense_mask, tree_mask, use_tree_attention
from selftrain.packing.batch import Batch, pack
from selftrain.packing.check import check_reads_trees
from selftrain.packing.edges import Chains, EdgeIndex
from selftrain.packing.rows import Place, Row, rows
from selftrain.packing.scorer import KEPT_LOGITS, EdgeLogProbs, EdgeScorer
from selftrain.packing.tree import Ids, TokenTree, token_tree

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
