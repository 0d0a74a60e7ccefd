"""The heads that can be trained: what each reads, from which data, and the settings that it alone has.

Contract: `HEADS` is the one table. `data` says whether a head learns from step rows or from pairs; `reads`
whether a linear head over the last hidden state gives a score, or the policy's own log-probs against a
reference give a log-ratio; `outputs` is the number of outputs a member; `summary` is its loss in a line.
`own` are the settings of `TrainConfig` that the head uses and others do not: setting one for another head is
an error, not ignored.

Examples: a step row becomes one example with a read at every labelled step (the outcome heads: at the last
one; with `token_decay`: at every token of such a step); a pair becomes one example with two reads and one
pair.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

from prm.steering.targets import td_lambda
from prm.training.config import TrainConfig
from prm.training.layout import Example, Layout, Path, Read
from prm.training.rows import PairRow, StepRow
from tasks.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Head:
    """One row of the table; see the module."""

    data: Literal["steps", "pairs"]
    reads: Literal["score", "ratio"]
    outputs: int = 1
    ends_only: bool = False
    own: frozenset[str] = frozenset()
    summary: str = ""


_LABELS = frozenset({"weight_by_counts"})
_CLASSES = frozenset({"right_weight", "wrong_weight"})
_STEPS = _LABELS | {"mask_after_error", "error_at_most"}
_TOKENS = frozenset({"token_decay"})

HEADS: dict[str, Head] = {
    "value-bce": Head(
        summary="cross-entropy of one logit a step, soft labels too",
        data="steps",
        reads="score",
        own=_STEPS | _CLASSES | _TOKENS | {"smoothing"},
    ),
    "value-mse": Head(
        summary="squared error of a step's probability", data="steps", reads="score", own=_STEPS | _TOKENS
    ),
    "step": Head(
        summary="cross-entropy of two outputs a step",
        data="steps",
        reads="score",
        outputs=2,
        own=_STEPS | _CLASSES | {"smoothing"},
    ),
    "two-token": Head(
        summary="the same, starting from two rows of the vocabulary head",
        data="steps",
        reads="score",
        outputs=2,
        own=_STEPS | _CLASSES | {"smoothing", "good_token", "bad_token"},
    ),
    "ranking": Head(
        summary="order of all steps of a solution, with margin zeta (PQM)",
        data="steps",
        reads="score",
        own=frozenset({"zeta", "mask_after_error", "error_at_most"}),
    ),
    "pairwise": Head(
        summary="logistic loss of two steps behind one prefix, the pairs of a prefix weighing 1 together",
        data="pairs",
        reads="score",
        own=frozenset({"margin"}),
    ),
    "outcome-bce": Head(
        summary="cross-entropy at a solution's end",
        data="steps",
        reads="score",
        ends_only=True,
        own=_LABELS | _CLASSES,
    ),
    "outcome-bt": Head(
        summary="Bradley-Terry of two solutions at their ends",
        data="pairs",
        reads="score",
        own=frozenset({"centring"}),
    ),
    "implicit-ce": Head(
        summary="cross-entropy of beta times the solution's log-ratio (ImplicitPRM)",
        data="steps",
        reads="ratio",
        ends_only=True,
        own=_LABELS | _CLASSES | {"beta"},
    ),
    "implicit-dpo": Head(
        summary="DPO, read as a reward (ImplicitPRM)",
        data="pairs",
        reads="ratio",
        own=frozenset({"beta", "smoothing"}),
    ),
    "step-dpo": Head(
        summary="DPO on sibling steps, read as a step's Q value",
        data="pairs",
        reads="ratio",
        own=frozenset({"beta", "smoothing"}),
    ),
}

_OWNED = frozenset[str]().union(*(head.own for head in HEADS.values()))
_LINEAR_ONLY = ("members", "head_learning_rate")


def head_of(config: TrainConfig) -> Head:
    """The head of `config`; `UsageError` for a changed setting that it does not use."""
    head = HEADS[config.head]
    for field in fields(config):
        name = field.name
        used = name in head.own if name in _OWNED else not (head.reads == "ratio" and name in _LINEAR_ONLY)
        if not used and getattr(config, name) != field.default:
            raise UsageError(f"setting {name!r} has no meaning for head {config.head!r}; leave it out")
    if head.reads == "ratio" and config.smoothing > 0.5:
        raise UsageError(
            f"smoothing={config.smoothing} turns pairs round; it is at most 0.5 for {config.head!r}"
        )
    if head.data == "pairs" and (config.select == "auroc" or config.calibration != "none"):
        raise UsageError(
            f"head {config.head!r} learns from pairs, which have no labels: select by loss or accuracy, and "
            "calibrate the trained model on labelled steps: search prm calibrate --prm OUT/model --data STEPS"
        )
    return head


def step_examples(rows: Sequence[StepRow], config: TrainConfig, layout: Layout) -> list[Example]:
    """Examples of step rows for the head of `config`; rows without a label to learn from give none."""
    head = HEADS[config.head]
    examples: list[Example] = []
    for row in rows:
        path = layout.row(row)
        labels = _kept(row.labels, config)
        if config.token_decay is not None:
            examples += _every_token(row, path, labels, config)
            continue
        first = len(labels) - 1 if head.ends_only else 0
        reads = tuple(
            Read(path=0, start=0, stop=index + 1, target=label, weight=_weight(row, index, config))
            for index, label in enumerate(labels)
            if index >= first and label is not None
        )
        if reads:
            examples.append(Example(problem=row.id, paths=(path,), reads=reads))
    return examples


def _every_token(
    row: StepRow, path: Path, labels: Sequence[float | None], config: TrainConfig
) -> list[Example]:
    """The example of a row with a read at every token of a labelled step; none without a label.

    Targets are TD(lambda) returns with reward 0 but for the step's last token, whose value is the step's
    label. The value of the tokens before it is taken to be the label of the step before, where that is known,
    since no value of the model itself is at hand: with lambda 1 every token has its step's label.
    """
    assert config.token_decay is not None
    reads: list[Read] = []
    segments, before = [path[0]], None
    for index, (ids, label) in enumerate(zip(path[1:], labels, strict=True)):
        if label is not None:
            rewards = [*[0.0] * (len(ids) - 1), label]
            values = [*[label if before is None else before] * (len(ids) - 1), label]
            targets = td_lambda(rewards, values, decay=config.token_decay)
            weight = _weight(row, index, config)
            reads += [
                Read(path=0, start=0, stop=len(segments) + place, target=target, weight=weight)
                for place, target in enumerate(targets)
            ]
        segments += [(token,) for token in ids]
        before = label
    return [Example(problem=row.id, paths=(tuple(segments),), reads=tuple(reads))] if reads else []


def pair_examples(rows: Sequence[PairRow], config: TrainConfig, layout: Layout) -> list[Example]:
    """Examples of pairs.

    `pairwise` weighs a pair by 1 / (pairs of its prefix): the pairs of one set of siblings together weigh 1,
    as in the published loss. Log-ratio heads sum over what follows the prefix.
    """
    sides = [layout.pair(row) for row in rows]
    shared = [1 + len(row.prefix if row.prefix_ids is None else row.prefix_ids) for row in rows]
    siblings = Counter(chosen[:cut] for (chosen, _), cut in zip(sides, shared, strict=True))
    examples: list[Example] = []
    for row, (chosen, rejected), cut in zip(rows, sides, shared, strict=True):
        weight = row.weight / siblings[chosen[:cut]] if config.head == "pairwise" else row.weight
        reads = tuple(
            Read(path=side, start=cut - 1, stop=len(path) - 1, reference=known)
            for side, (path, known) in enumerate(
                ((chosen, row.ref_chosen_logp), (rejected, row.ref_rejected_logp))
            )
        )
        example = Example(problem=row.id, paths=(chosen, rejected), reads=reads, pairs=((0, 1, weight),))
        examples.append(example)
    return examples


def _kept(labels: Sequence[float | None], config: TrainConfig) -> list[float | None]:
    """The labels, with those behind the first error taken out where the config says so."""
    kept = list(labels)
    if config.mask_after_error:
        for index, label in enumerate(labels):
            if label is not None and label <= config.error_at_most:
                kept[index + 1 :] = [None] * (len(kept) - index - 1)
                break
    return kept


def _weight(row: StepRow, index: int, config: TrainConfig) -> float:
    if not config.weight_by_counts:
        return 1.0
    count = row.counts[index] if row.counts else None
    if count is None:
        raise UsageError(f"row {row.id!r}, step {index + 1}: weight_by_counts needs counts at each label")
    return float(count[1])
