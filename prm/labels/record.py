"""The one record from which every step label derives: a step after a prefix, and how often it ended well.

Contract: a record keeps counts, never only a verdict: of `completions` graded outcomes at or after the step,
`right` were right; by which `model`, judged by which `grader`, and from which `source` (`mc`, `omega`,
`tree:ALGORITHM`, `judge:NAME`, `human:DATASET`). `step` None is the question itself, before any step. Texts
are as the policy wrote them, delimiters included, so that prefix and step joined are the solution so far;
`step_ids` are the token ids of each of them, where they are known.

`finished` says that the step ended the solution: it is then graded as it stands, once. `shortest` is the
fewest further steps of a right outcome (0 where the step finished right), None without one. `value` and
`visits` are what a search backed up at the node. An outcome here is no label: labels are pure functions of
records (`prm.labels.derive`, `quality`, `pairs`), so that another rule needs no new sampling.

Monte-Carlo counts measure the completer: "can still be finished well by this model", not "is right".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prm.evaluation.rows import Row
from tasks.errors import UsageError

Path = tuple[str, ...]
"""The steps from the first one on."""
Ids = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """See the module docstring. Raises `UsageError` for counts that are none."""

    problem: str
    question: str
    prefix: Path = ()
    step: str | None
    completions: int
    right: int
    model: str
    grader: str
    source: str
    finished: bool = False
    shortest: int | None = None
    value: float | None = None
    visits: int = 0
    prompt_ids: Ids | None = None
    step_ids: tuple[Ids, ...] | None = None
    """Ids of the prefix's steps and of the step."""

    def __post_init__(self) -> None:
        if not 0 <= self.right <= self.completions:
            raise UsageError(
                f"right must be from 0 to completions, got {self.right} of {self.completions} "
                f"at a step of {self.problem!r}"
            )
        if self.step is None and self.prefix:
            raise UsageError(f"the question itself has no prefix, got {len(self.prefix)} steps")
        if self.step_ids is not None and len(self.step_ids) != len(self.path):
            raise UsageError(f"{len(self.step_ids)} lists of ids for the {len(self.path)} steps of a path")

    @property
    def path(self) -> Path:
        """The prefix and the step."""
        return self.prefix if self.step is None else (*self.prefix, self.step)

    @property
    def key(self) -> tuple[str, Path, str, str]:
        """What a record is about: problem, path, model and source; counts of equal keys can be added."""
        return self.problem, self.path, self.model, self.source

    def to_json(self) -> dict[str, Any]:
        """The record as JSON data; empty optional fields are left out."""
        row: dict[str, Any] = {
            "problem": self.problem,
            "question": self.question,
            "prefix": list(self.prefix),
            "step": self.step,
            "completions": self.completions,
            "right": self.right,
            "model": self.model,
            "grader": self.grader,
            "source": self.source,
        }
        for name in _OPTIONAL:
            value = getattr(self, name)
            if value is not None and value is not False and value != 0:
                row[name] = value
        if self.shortest == 0:
            row["shortest"] = 0
        if self.value == 0:
            row["value"] = self.value
        return row


_OPTIONAL = ("finished", "shortest", "value", "visits", "prompt_ids", "step_ids")


def from_row(row: Row) -> StepRecord:
    """The record of a JSON row; `DataError` with file and line if it is none."""
    if unknown := set(row.content) - {*_REQUIRED, *_OPTIONAL}:
        row.fail(f"unknown key {sorted(unknown)[0]!r}; a step record has {', '.join(_REQUIRED)}")
    completions = row.integer("completions", 0)
    return StepRecord(
        problem=row.name("problem"),
        question=row.text("question"),
        prefix=row.texts("prefix", empty=True),
        step=None if row.get("step") is None else row.text("step", empty=True),
        completions=completions,
        right=row.integer("right", 0, completions),
        model=row.text("model", empty=True),
        grader=row.text("grader", empty=True),
        source=row.text("source"),
        **_optional(row),
    )


_REQUIRED = (
    "problem",
    "question",
    "prefix",
    "step",
    "completions",
    "right",
    "model",
    "grader",
    "source",
)


def _optional(row: Row) -> Mapping[str, Any]:
    content, found = row.content, dict[str, Any]()
    if "finished" in content:
        found["finished"] = row.flag("finished")
    if "value" in content:
        found["value"] = row.numbers([content["value"]], "value")[0]
    for name in ("shortest", "visits"):
        if name in content:
            found[name] = row.integer(name, 0)
    if "prompt_ids" in content:
        found["prompt_ids"] = _ids(row, content["prompt_ids"], "prompt_ids")
    if "step_ids" in content:
        steps = row.items("step_ids", empty=True)
        if len(steps) != len(content["prefix"]) + (content["step"] is not None):
            row.fail(f"{len(steps)} lists of 'step_ids'; there must be one a step of prefix and step")
        found["step_ids"] = tuple(_ids(row, ids, "step_ids") for ids in steps)
    return found


def _ids(row: Row, values: Any, name: str) -> Ids:
    if not isinstance(values, list) or not all(type(each) is int and each >= 0 for each in values):
        row.fail(f"{name!r} must be a list of token ids, got {str(values)[:60]}")
    return tuple(values)
