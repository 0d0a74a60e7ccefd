"""What a value source said of steps against what came of them, by depth: where a reward is being hacked.

Contract: `value_by_depth` takes the steps that have a value and at least `least` outcomes (finished
solutions and roll-outs at or below them). The truth of a step is its share of right outcomes. For each depth,
from 1 on, the last one standing for all deeper ones (``8+``):

- ``steps``: how many; ``value`` and ``truth``: their means; ``bias``: value less truth, above 0 where the
  source is too hopeful. A bias that grows over iterations or with depth is what reward hacking looks like;
- ``correlation``: Pearson's, absent where either is constant.

Over finished solutions, ``finished.auc`` is the chance that of a right and a wrong one of the same problem
the right one has the higher value, ties half; each problem weighs by its pairs. Absent without such a pair.

Bias is of meaning for values that are chances in [0, 1] (reward models, roll-outs), the rest for any. The
outcomes are those that the search looked for: the truth of a step is that of the search, not of the policy.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

from selftrain.data.searched import Searched
from tasks.errors import UsageError


def value_by_depth(searched: Sequence[Searched], *, deepest: int = 8, least: int = 1) -> dict[str, float]:
    """The figures of the module as a flat dict, ``DEPTH.NAME``."""
    if deepest < 1 or least < 1:
        raise UsageError(f"deepest and least must be at least 1, got {deepest} and {least}")
    rows: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for one in searched:
        depths = [0] * len(one.tree)
        for node in range(1, len(one.tree)):
            depths[node] = depths[one.tree.parents[node]] + 1
            value = one.values[node]
            if value is not None and one.outcomes[node] >= least:
                truth = one.right[node] / one.outcomes[node]
                rows[min(deepest, depths[node])].append((value, truth))
    found: dict[str, float] = {}
    for depth in sorted(rows):
        name = f"{depth}+" if depth == deepest else f"{depth}"
        found |= {f"{name}.{key}": figure for key, figure in _figures(rows[depth]).items()}
    return found | _auc(searched)


def _figures(rows: Sequence[tuple[float, float]]) -> dict[str, float]:
    value = math.fsum(value for value, _ in rows) / len(rows)
    truth = math.fsum(truth for _, truth in rows) / len(rows)
    found = {"steps": len(rows), "value": value, "truth": truth, "bias": value - truth}
    values, truths = zip(*rows, strict=True)
    if len(set(values)) > 1 and len(set(truths)) > 1:
        spread = math.fsum((one - value) ** 2 for one in values) * math.fsum(
            (one - truth) ** 2 for one in truths
        )
        # Two values may differ by so little that their squares are nothing.
        if spread:
            joint = math.fsum((one - value) * (other - truth) for one, other in rows)
            found["correlation"] = joint / math.sqrt(spread)
    return found


def _auc(searched: Sequence[Searched]) -> dict[str, float]:
    problems: dict[str, tuple[list[float], list[float]]] = {}
    for one in searched:
        sides = problems.setdefault(one.problem.id, ([], []))
        for node in one.solutions:
            value = one.values[node]
            if value is not None and one.correct[node] is not None:
                sides[bool(one.correct[node])].append(value)
    pairs = sum(len(wrong) * len(right) for wrong, right in problems.values())
    won = sum(
        (high > low) + (high == low) / 2
        for wrong, right in problems.values()
        for high in right
        for low in wrong
    )
    return {"finished.auc": won / pairs, "finished.pairs": pairs} if pairs else {}
