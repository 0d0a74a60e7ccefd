"""What builders have in common: the call, the counts, and what a builder needs besides its settings.

Contract: a builder is a frozen dataclass of its settings; calling it turns `Searched` trees into `Built`:
training trees in the order in which their problems first occur, and counts of everything kept and dropped.
It is a pure function: the same trees in another order give the same training trees in that order and the
same counts. Trees of one problem are one tree first (`selftrain.builders.merge`), and so are equal siblings,
so that a cap counts a problem once and a step never meets itself. A problem without a record gives no tree.

Counts: ``kept.KIND`` are records of a kind (`Trace.kind`, `Pair.kind`, `Target.kind`, or ``advantages``),
``dropped.REASON`` whatever was left out, in the unit that `REASONS` names.

Inputs are what no configuration file can hold: an encoder, another model's trees. They are fields with the
default None and the metadata `required_input` or `optional_input`; `Builder.inputs` says which there are, and
a builder without a required one refuses to be called.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

from selftrain.builders.merge import by_problem
from selftrain.data.record import Advantages, Pair, Target, Trace, TrainingTree
from selftrain.data.searched import Searched
from tasks.errors import UsageError, unknown_name

REASONS: Mapping[str, str] = {
    "no_gold": "problem: its solutions were not graded",
    "no_solution": "problem: no finished solution",
    "no_right": "problem: no right solution",
    "no_wrong": "problem or solution: nothing wrong to set against it",
    "no_demonstration": "problem: no demonstration was given for it",
    "no_earlier": "problem: the earlier model has no tree of it, or no solution with a value",
    "too_few": "problem: fewer solutions than the rule needs",
    "no_value": "step or solution: the value rule says nothing about it",
    "no_logprobs": "solution: the log-probs of its answer were not stored, or the answer was not found",
    "low_value": "solution: its value is below the threshold",
    "too_short": "solution: fewer tokens than the least length",
    "duplicate": "solution, step or pair: its text is that of one that is kept",
    "similar": "solution: too close to those that are kept",
    "few_outcomes": "step: fewer outcomes or visits than asked for",
    "rejected": "solution: not accepted by rejection sampling, or filtered out by its rank",
    "single": "state: fewer than two different children with a value",
    "spread": "state: its advantages span less than asked for",
    "tie": "pair: both sides have the same value",
    "gap": "pair: the values differ by less than asked for, or the other way round",
    "no_error": "solution: no step of it is known to be wrong",
    "cap": "record: beyond the most that a problem may give",
}
"""Why something was left out, and what is counted."""

_INPUT, _OPTIONAL = "input", "optional"


class Tally:
    """Counts of one call of a builder."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def keep(self, kind: str, count: int = 1) -> None:
        """Count `count` records of a kind."""
        self._counts[f"kept.{kind}"] += count

    def drop(self, reason: str, count: int = 1) -> None:
        """Count what was left out; `UsageError` for a reason that `REASONS` does not name."""
        if reason not in REASONS:
            raise unknown_name("reason", reason, REASONS)
        self._counts[f"dropped.{reason}"] += count

    def counts(self) -> dict[str, int]:
        """All counts above 0, sorted by name."""
        return {name: count for name, count in sorted(self._counts.items()) if count}


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """Training trees, and counts ``kept.KIND`` and ``dropped.REASON``."""

    trees: tuple[TrainingTree, ...]
    counts: dict[str, int]


def required_input(what: str) -> dict[str, Any]:
    """Metadata of a field that is given from Python and must be; `what` says what it is."""
    return {_INPUT: what}


def optional_input(what: str) -> dict[str, Any]:
    """Metadata of a field that may be given from Python."""
    return {_INPUT: what, _OPTIONAL: True}


@dataclass(frozen=True, kw_only=True)
class Builder(ABC):
    """Turns searched trees into training trees; subclasses write `build`, for one problem."""

    name: ClassVar[str]

    @classmethod
    def inputs(cls, *, optional: bool = True) -> dict[str, str]:
        """Names of the fields that are given from Python, and what they are."""
        return {
            entry.name: str(entry.metadata[_INPUT])
            for entry in fields(cls)
            if _INPUT in entry.metadata and (optional or _OPTIONAL not in entry.metadata)
        }

    def __call__(self, searched: Sequence[Searched]) -> Built:
        """Build all problems; `UsageError` if a required input is missing. See the module."""
        self.check_inputs()
        tally = Tally()
        made = [self.build(one, tally) for one in by_problem(searched)]
        trees = self.finish([tree for tree in made if tree is not None])
        for tree in trees:
            _count(tree, tally)
        return Built(trees=tuple(trees), counts=tally.counts())

    @abstractmethod
    def build(self, searched: Searched, tally: Tally) -> TrainingTree | None:
        """The training tree of one problem, None where there is nothing to learn; drops go to `tally`."""

    def finish(self, trees: list[TrainingTree]) -> list[TrainingTree]:
        """What depends on all problems together; nothing unless overridden."""
        return trees

    def check_inputs(self) -> None:
        """Raise `UsageError` naming the first required input that was not given."""
        for name, what in self.inputs(optional=False).items():
            if getattr(self, name) is None:
                raise UsageError(
                    f"builder {self.name!r} needs {name}, {what}; give it by --input or from Python"
                )

    def tree(
        self,
        searched: Searched,
        *,
        traces: Iterable[Trace] = (),
        pairs: Iterable[Pair] = (),
        advantages: Iterable[Advantages] = (),
        targets: Iterable[Target] = (),
    ) -> TrainingTree | None:
        """The searched tree with records on it; None without any."""
        records: dict[str, Any] = {
            "traces": tuple(traces),
            "pairs": tuple(pairs),
            "advantages": tuple(advantages),
            "targets": tuple(targets),
        }
        if not any(records.values()):
            return None
        return TrainingTree(
            problem=searched.problem.id,
            tree=searched.tree,
            texts=searched.texts,
            meta={"builders": [self.name]},
            **records,
        )


def require(name: str, value: object, ok: bool, wanted: str) -> None:
    """Raise `UsageError` unless a setting is valid."""
    if not ok:
        raise UsageError(f"{name} must be {wanted}, got {value!r}")


def require_cap(name: str, value: int | None) -> None:
    """Raise `UsageError` unless a cap is at least 1 or None, which is no cap."""
    require(name, value, value is None or value >= 1, "at least 1, or none for no cap")


def together(built: Iterable[Built]) -> Built:
    """Several builders' results as one: the records of equal trees on one tree, the counts added.

    Trees are equal where problem, ids and texts are; then training reads them once.
    """
    counts: Counter[str] = Counter()
    found: dict[object, TrainingTree] = {}
    for each in built:
        counts.update(each.counts)
        for tree in each.trees:
            key = (tree.problem, tree.tree.segments, tree.tree.parents, tree.texts)
            found[key] = _joined(found[key], tree) if key in found else tree
    return Built(trees=tuple(found.values()), counts=dict(sorted(counts.items())))


def _joined(one: TrainingTree, other: TrainingTree) -> TrainingTree:
    return replace(
        one,
        traces=one.traces + other.traces,
        pairs=one.pairs + other.pairs,
        advantages=one.advantages + other.advantages,
        targets=one.targets + other.targets,
        meta=one.meta | other.meta | {"builders": _builders(one) + _builders(other)},
    )


def _builders(tree: TrainingTree) -> list[Any]:
    return list(tree.meta.get("builders", ()))


def _count(tree: TrainingTree, tally: Tally) -> None:
    for record in (*tree.traces, *tree.pairs, *tree.targets):
        tally.keep(record.kind)
    if tree.advantages:
        tally.keep("advantages", len(tree.advantages))
