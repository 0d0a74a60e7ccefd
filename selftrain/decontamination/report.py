"""What decontamination found: every overlapping pair, what was compared and how, and the error.

Contract: a `Report` is complete: it names each pair, the hashes of all problems compared and the settings,
so that the same inputs can be compared again with the same result. `require_clean` raises
`ContaminationError` unless there is no pair. `as_json` is plain data; it holds questions only as excerpts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from selftrain.decontamination.settings import Decontamination
from tasks.errors import DataError

Method = Literal["exact", "ngram", "minhash"]
METHODS: tuple[Method, ...] = ("exact", "ngram", "minhash")
RULES = "decontamination/1"
"""Changes with what counts as the same problem, beside the settings."""
_SHOWN = 3
_LINE = 80


class ContaminationError(DataError):
    """Training problems overlap with an evaluation set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """A training problem that is an evaluation problem: place and id of each, and what shows it.

    `method` is the first of `exact`, `ngram`, `minhash` that found the pair, `similarity` its measure: 1, the
    share of covered tokens, the Jaccard similarity. The excerpts are the beginnings of both questions.
    """

    method: Method
    similarity: float
    training: int
    training_id: str
    training_excerpt: str
    held_out: str
    held_out_index: int
    held_out_id: str
    held_out_excerpt: str

    def __str__(self) -> str:
        return (
            f"training {self.training_id!r} is {self.held_out} {self.held_out_id!r} ({self.method}, "
            f"{self.similarity:.2f}): {self.held_out_excerpt[:_LINE]!r}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A set that took part: how many problems, and the SHA-256 of them."""

    problems: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The outcome of `find_overlaps`. Pairs are in the order of evaluation sets, then of training.

    `variants[set]` counts evaluation problems whose text is in training with other numbers: no overlap by the
    settings, but they say how close the two are. `only_exact[set]` counts those that nothing but equality
    could be asked of, because all of their text is boilerplate or they are data.
    """

    overlaps: tuple[Overlap, ...]
    training: Compared
    held_out: Mapping[str, Compared]
    variants: Mapping[str, int]
    only_exact: Mapping[str, int]
    settings: Decontamination

    @property
    def contaminated(self) -> frozenset[int]:
        """Places of the training problems that overlap."""
        return frozenset(found.training for found in self.overlaps)

    def counts(self) -> dict[str, int]:
        """How much was found, for logs: pairs, training problems, and pairs by method and by set."""
        methods = Counter(found.method for found in self.overlaps)
        sets = Counter(found.held_out for found in self.overlaps)
        return (
            {"pairs": len(self.overlaps), "training_problems": len(self.contaminated)}
            | {f"by_method.{method}": methods[method] for method in METHODS}
            | {f"by_set.{name}": sets[name] for name in self.held_out}
        )

    def as_json(self) -> dict[str, Any]:
        """The report as JSON data."""
        return {
            "rules": RULES,
            "clean": not self.overlaps,
            "counts": self.counts(),
            "settings": asdict(self.settings),
            "training": asdict(self.training),
            "held_out": {
                name: asdict(compared)
                | {
                    "contaminated": len({f.held_out_index for f in self.overlaps if f.held_out == name}),
                    "variants": self.variants[name],
                    "only_exact": self.only_exact[name],
                }
                for name, compared in self.held_out.items()
            },
            "overlaps": [asdict(found) for found in self.overlaps],
        }


def require_clean(report: Report, path: Path | None = None) -> None:
    """Raise `ContaminationError` if there is an overlap; `path` is where the report can be read."""
    if not report.overlaps:
        return
    first = "; ".join(str(found) for found in report.overlaps[:_SHOWN])
    rest = len(report.overlaps) - _SHOWN
    more = f"; and {rest} more" if rest > 0 else ""
    where = f" (report: {path})" if path else ""
    raise ContaminationError(
        f"{len(report.contaminated)} of {report.training.problems} training problems are in an evaluation "
        f"set{where}: {first}{more}. Take them out: in a run with "
        "--set decontamination.settings.on_overlap=drop, with search selftrain decontaminate by --out FILE"
    )
