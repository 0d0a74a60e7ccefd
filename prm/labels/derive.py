"""Labels from step records, as the rows that training reads: pure functions, one a rule.

Contract: `label_rows` makes one row of each solution (each leaf of a problem's step tree) with a label in
[0, 1] or None for every step; None means "not trained on". Counts stay beside the labels. A step that several
solutions share is labelled in each of them, or with `once` in the first alone, so that it does not weigh
more.

Rules, by name in `RULES`:

- `hard`: 1 if any completion was right, else 0 (Math-Shepherd, arXiv 2312.08935, HE).
- `soft`: the share of right completions (SE of the same; unbiased for the completer's chance of success).
- `quality`: ReST-MCTS* quality values of the whole tree (`prm.labels.quality`).
- `tree`: what a search backed up at the step (`value` of the record), cut to [0, 1].
- `dual`: MedS3's soft dual-sided label (arXiv 2501.12051), from the soft values v of a solution:
  v_i less `penalty` * (v_{i-1} - v_i) where the step lowers the value, or less `penalty` * (v_{i-1} -
  v_{i+1}) where v_i is below both neighbours and v_{i+1} is below v_{i-1}; never below 0. The first and the
  last step keep v. With a penalty of 0 it is `soft`, and a rising solution is unchanged.

Deviation: the dual rule is written down in the literature in prose; where a dip is followed by a rise above
v_{i-1} the second form would be a reward, so that the step then keeps v (a dip that is repaired costs
nothing). A step beside one without outcomes counts as a first or a last one.

Labels of a human or a judge are counts too, so that `soft` and `hard` hold for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from prm.labels.quality import simple_quality, tree_quality
from prm.labels.record import StepRecord
from prm.labels.steptree import ROOT, StepNode, by_problem, chain, leaves, step_tree
from prm.training.rows import StepRow
from tasks.errors import UsageError, unknown_name

Label = float | None
PENALTY = 0.5


def hard(record: StepRecord) -> Label:
    """1.0 if any outcome was right, 0.0 if none, None without an outcome."""
    return None if not record.completions else float(record.right > 0)


def soft(record: StepRecord) -> Label:
    """The share of right outcomes; None without one."""
    return record.right / record.completions if record.completions else None


def backed_up(record: StepRecord) -> Label:
    """What the search backed up, cut to [0, 1]; None where it did not visit."""
    return None if record.value is None else min(1.0, max(0.0, record.value))


def dual_sided(values: Sequence[float], *, penalty: float = PENALTY) -> list[float]:
    """Soft dual-sided labels of a solution from its soft values in [0, 1]; see the module docstring."""
    if penalty < 0 or any(not 0 <= value <= 1 for value in values):
        raise UsageError(f"values in [0, 1] and a penalty of at least 0, got {list(values)} and {penalty}")
    labels: list[float] = []
    for index, value in enumerate(values):
        if index in (0, len(values) - 1) or value >= values[index - 1]:
            labels.append(value)
            continue
        before, after = values[index - 1], values[index + 1]
        loss = max(0.0, before - after) if after > value else before - value
        labels.append(max(0.0, value - penalty * loss))
    return labels


def first_error(labels: Sequence[Label], *, threshold: float = 0.0) -> int | None:
    """Index of the first step whose label is at most `threshold`, None where no step's is."""
    return next((i for i, label in enumerate(labels) if label is not None and label <= threshold), None)


@dataclass(frozen=True, kw_only=True)
class RuleOptions:
    """Settings of the rules. `penalty`: lambda of `dual`, at least 0."""

    penalty: float = PENALTY


TreeRule = Callable[[Sequence[StepNode]], Sequence[Label] | None]


def _each(rule: Callable[[StepRecord], Label]) -> TreeRule:
    return lambda nodes: [None if node.record is None else rule(node.record) for node in nodes]


RULES: Mapping[str, TreeRule] = {
    "hard": _each(hard),
    "soft": _each(soft),
    "quality": tree_quality,
    "simple-quality": simple_quality,
    "tree": _each(backed_up),
    "dual": _each(soft),
}
"""What each rule knows of the nodes; None for a tree that it can say nothing about."""
SUMMARIES: Mapping[str, str] = {
    "hard": "1 if any outcome at or below the step was right, else 0",
    "soft": "the share of right outcomes",
    "quality": "quality values of the whole tree (ReST-MCTS*)",
    "simple-quality": "depth / K on a way to a right leaf, less beside it",
    "tree": "what the search backed up, cut to [0, 1]",
    "dual": "the soft value less a share of what the step lost (MedS3)",
}
"""A line about each rule."""


def label_rows(
    records: Sequence[StepRecord],
    rule: str = "soft",
    *,
    once: bool = False,
    options: RuleOptions | None = None,
) -> list[StepRow]:
    """Rows of all problems under a rule by name. Solutions without any label are left out.

    Raises `UsageError` for an unknown rule, for records of several sources for one step, and for the rule
    `tree` where no record has what a search backed up.
    """
    if rule not in RULES:
        raise unknown_name("label rule", rule, RULES)
    if rule == "tree" and records and all(record.value is None for record in records):
        sources = ", ".join(sorted({record.source for record in records}))
        raise UsageError(f"the rule tree takes what a search backed up; records of {sources} have none")
    rows: list[StepRow] = []
    for found in by_problem(records).values():
        nodes = step_tree(found)
        labels = RULES[rule](nodes)
        if labels is not None:
            rows += _problem_rows(found, nodes, labels, rule, once, options or RuleOptions())
    return rows


def _problem_rows(
    records: Sequence[StepRecord],
    nodes: Sequence[StepNode],
    labels: Sequence[Label],
    rule: str,
    once: bool,
    options: RuleOptions,
) -> list[StepRow]:
    rows: list[StepRow] = []
    seen: set[int] = {ROOT}
    for leaf in leaves(nodes):
        steps = chain(nodes, leaf)
        given = [labels[step] for step in steps]
        if rule == "dual":
            given = _dual_in_runs(given, options.penalty)
        if once:
            given = [None if step in seen else label for step, label in zip(steps, given, strict=True)]
            seen.update(steps)
        if any(label is not None for label in given):
            rows.append(_row(records[0], nodes, steps, given))
    return rows


def _dual_in_runs(given: Sequence[Label], penalty: float) -> list[Label]:
    """The dual rule on every run of steps with values; steps without keep None."""
    labels: list[Label] = []
    for known, run in groupby(given, key=lambda label: label is not None):
        values = list(run)
        labels += dual_sided([v for v in values if v is not None], penalty=penalty) if known else values
    return labels


def why_none(records: Sequence[StepRecord], rule: str) -> str:
    """Why a rule made no rows or no pairs of records, in a sentence."""
    steps = [record for record in records if record.step is not None]
    problems = len({record.problem for record in steps})
    right = len({record.problem for record in steps if record.right})
    if not steps:
        return "no step was labelled: there were no completions, or those of each question were all alike"
    if rule in ("quality", "simple-quality") and not right:
        return f"the rule {rule} needs problems with a right outcome, and none of {problems} has one"
    if not any(record.completions for record in steps):
        return "no step has an outcome"
    return "no siblings differ by the gap, or no solution is in both labellings"


def _row(
    first: StepRecord, nodes: Sequence[StepNode], steps: Sequence[int], labels: Sequence[Label]
) -> StepRow:
    sampled = [nodes[step].record for step in steps]
    last = sampled[-1]
    return StepRow(
        id=first.problem,
        prompt=first.question,
        steps=nodes[steps[-1]].path,
        labels=tuple(labels),
        counts=tuple(
            # Without a label no count either: training would make a label of it.
            None if label is None or each is None or not each.completions else (each.right, each.completions)
            for label, each in zip(labels, sampled, strict=True)
        ),
        prompt_ids=None if last is None or last.step_ids is None else last.prompt_ids,
        step_ids=None if last is None or last.prompt_ids is None else last.step_ids,
    )
