"""Whether a model reads a packed tree as it reads the tree's paths one by one.

Contract: `check_reads_trees` scores a tree of a few tokens packed, and its paths through the model's own
forward pass, and raises `UsageError` if the sums differ. It finds models that ignore the mask or the
positions, that carry state from token to token, or that change the logits after the vocabulary head. It
costs a few passes over at most eight tokens, leaves no gradients, draws no random numbers and puts the
model back into the mode that it was in.

It cannot find what shows only on long rows, such as a sliding window; `EdgeScorer` looks for that itself.
"""

from __future__ import annotations

from typing import Any

import torch

from selftrain.packing.batch import pack
from selftrain.packing.tree import TokenTree
from tasks.errors import UsageError

_PARENTS = (-1, 0, 1, 0)


def check_reads_trees(scorer: Any) -> None:
    """Compare packed with plain for the `EdgeScorer` `scorer`; `UsageError` if they differ.

    Sums may differ by 1e-4 (relative and absolute) in float32, by 0.05 in types of 16 bits.
    """
    model = scorer.model
    weight = next(model.parameters())
    vocabulary = int(model.config.get_text_config().vocab_size)
    ids = [number * vocabulary // 8 for number in range(8)]
    tree = TokenTree(segments=(tuple(ids[:3]), tuple(ids[3:5]), (ids[5],), tuple(ids[6:])), parents=_PARENTS)
    tolerance = 1e-4 if weight.dtype in (torch.float32, torch.float64) else 0.05
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            packed = scorer(pack([tree])[0].to(weight.device)).sums
            for node in range(1, len(tree)):
                plain = _plain(model, tree, node, weight.device)
                if abs(float(packed[node]) - plain) > tolerance * (1 + abs(plain)):
                    raise UsageError(
                        f"{type(model).__name__} does not read packed trees: a step has log-prob "
                        f"{float(packed[node]):.4f} in a tree but {plain:.4f} alone; train on unpacked rows"
                    )
    finally:
        model.train(training)


def _plain(model: Any, tree: TokenTree, node: int, device: torch.device) -> float:
    """Log-prob sum of the node's tokens, from the model's own forward pass over its path."""
    row = [token for one in tree.path(node) for token in tree.segments[one]]
    ids = torch.tensor([row], device=device)
    log_probs = torch.log_softmax(model(input_ids=ids, use_cache=False).logits[0, :-1].float(), dim=-1)
    tokens = log_probs.gather(-1, ids[0, 1:, None])[:, 0]
    return float(tokens[-len(tree.segments[node]) :].sum())
