"""Pairs of sibling steps: same prefix, clearly different value.

Contract: `sibling_pairs` gives every two children of one step whose values differ by at least `gap`, the
better one chosen, both values beside them, the prefix shared byte for byte. Nothing else is paired, so that
a pair says something about a step and not about a problem. With `extremes` there is one pair a parent, the
best against the worst child. A gap above 1 gives none. Equal steps never differ: they are one child.

Source: Tree-PLV (He et al., EMNLP 2024, section 3.2), gap 0.375 for values from 8 completions; smaller gaps
are noise. Deviation: the paper also compares whole paths that part at a step; here only the steps are
compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from prm.labels.derive import RULES
from prm.labels.record import StepRecord
from prm.labels.steptree import StepNode, by_problem, step_tree
from prm.training.rows import PairRow
from tasks.errors import UsageError, unknown_name

GAP = 0.375


def sibling_pairs(
    records: Sequence[StepRecord], *, gap: float = GAP, rule: str = "soft", extremes: bool = False
) -> list[PairRow]:
    """The pairs of all problems, with values by a label rule of `prm.labels.derive.RULES`.

    Raises `UsageError` for a gap of 0 or less, and for a rule that has no values of single steps.
    """
    if not gap > 0:
        raise UsageError(f"gap must be above 0, got {gap}")
    if rule not in RULES or rule == "dual":
        raise unknown_name("label rule for pairs", rule, [name for name in RULES if name != "dual"])
    pairs: list[PairRow] = []
    for found in by_problem(records).values():
        nodes = step_tree(found)
        values = RULES[rule](nodes)
        if values is None:
            continue
        for node in nodes:
            valued = [(child, value) for child in node.children if (value := values[child]) is not None]
            valued.sort(key=lambda item: -item[1])
            chosen = [(valued[0], valued[-1])] if extremes and len(valued) > 1 else combinations(valued, 2)
            pairs += [
                _pair(found[0], nodes, better, worse)
                for better, worse in chosen
                if better[1] - worse[1] >= gap - 1e-12
            ]
    return pairs


def _pair(
    first: StepRecord,
    nodes: Sequence[StepNode],
    better: tuple[int, float],
    worse: tuple[int, float],
) -> PairRow:
    good, bad = nodes[better[0]], nodes[worse[0]]
    ids = [None if node.record is None else node.record.step_ids for node in (good, bad)]
    prompt_ids = None if good.record is None else good.record.prompt_ids
    with_ids = prompt_ids is not None and ids[0] is not None and ids[1] is not None
    return PairRow(
        id=first.problem,
        prompt=first.question,
        prefix=good.path[:-1],
        chosen=good.path[-1:],
        rejected=bad.path[-1:],
        chosen_value=better[1],
        rejected_value=worse[1],
        prompt_ids=prompt_ids if with_ids else None,
        prefix_ids=ids[0][:-1] if with_ids and ids[0] is not None else None,
        chosen_ids=ids[0][-1:] if with_ids and ids[0] is not None else None,
        rejected_ids=ids[1][-1:] if with_ids and ids[1] is not None else None,
    )
