"""Training problems against evaluation sets, before anything is searched or trained.

Contract: `find_overlaps` compares every training problem with every problem of every evaluation set, by
equality of what is asked, then by n-grams, then by MinHash; a pair is reported once, by the first of them.
It fails closed: no evaluation set, an empty one, one that cannot be read whole, or a problem without text is
`DataError` (`UsageError` for a missing name), never "clean".

`clean` gives the training problems without those that overlap. `decontaminate` writes the report, whatever it
says, and then stops or drops as the settings say. `read_held_out` reads evaluation sets from files.

Only questions are compared: reference solutions and golds are not looked at, and translations and problems
told anew in other words are not found.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from selftrain.decontamination.content import Item, fingerprint, read_items
from selftrain.decontamination.minhash import similar
from selftrain.decontamination.ngrams import covered
from selftrain.decontamination.report import Compared, Method, Overlap, Report, require_clean
from selftrain.decontamination.settings import Decontamination
from tasks.base import Problem, Task
from tasks.errors import DataError, UsageError
from treesearch.atomic import write_json

_EXCERPT = 160
_Pairs = dict[tuple[int, int], tuple[Method, float]]
"""Method and similarity by place of the training problem and of the evaluation problem."""


def find_overlaps(
    training: Sequence[Problem],
    held_out: Mapping[str, Sequence[Problem]],
    settings: Decontamination | None = None,
) -> Report:
    """All pairs of a training problem and an evaluation problem that are the same; see the module."""
    settings = settings or Decontamination()
    if not held_out:
        raise UsageError("no evaluation set to compare with; name every set that accuracy is reported on")
    given = read_items(training, "the training set")
    asked = {name: read_items(problems, f"evaluation set {name!r}") for name, problems in held_out.items()}
    overlaps: list[Overlap] = []
    only_exact: dict[str, int] = {}
    for name, items in asked.items():
        pairs, compared = _compare(given, items, settings)
        only_exact[name] = len(items) - compared
        overlaps += [_overlap(place, found, given, items, name) for place, found in sorted(pairs.items())]
    return Report(
        overlaps=tuple(overlaps),
        training=Compared(problems=len(training), sha256=fingerprint(training)),
        held_out={
            name: Compared(problems=len(problems), sha256=fingerprint(problems))
            for name, problems in held_out.items()
        },
        variants={name: _variants(given, items) for name, items in asked.items()},
        only_exact=only_exact,
        settings=settings,
    )


def clean(
    training: Sequence[Problem],
    held_out: Mapping[str, Sequence[Problem]],
    settings: Decontamination | None = None,
) -> tuple[list[Problem], Report]:
    """The training problems that are in no evaluation set, in order, and the report.

    `DataError` where none is left.
    """
    report = find_overlaps(training, held_out, settings)
    return without_overlaps(training, report), report


def without_overlaps(training: Sequence[Problem], report: Report) -> list[Problem]:
    """The problems of `training`, in order, that `report` found in no evaluation set.

    `DataError` where none is left.
    """
    gone = report.contaminated
    kept = [problem for place, problem in enumerate(training) if place not in gone]
    if not kept:
        raise DataError(f"all {len(training)} training problems are in an evaluation set; take other ones")
    return kept


def decontaminate(
    training: Sequence[Problem],
    held_out: Mapping[str, Sequence[Problem]],
    settings: Decontamination | None = None,
    *,
    path: Path,
) -> tuple[list[Problem], Report]:
    """`clean` by `settings.on_overlap`, with the report written to `path` first.

    `stop`: `ContaminationError` if there is an overlap. `drop`: the problems that do not overlap.
    """
    report = find_overlaps(training, held_out, settings)
    write_json(path, report.as_json())
    if report.settings.on_overlap == "stop":
        require_clean(report, path)
    return without_overlaps(training, report), report


def read_held_out(files: Mapping[str, Path], task: Task) -> dict[str, list[Problem]]:
    """Evaluation sets by name, each the whole of a file of `task`.

    `DataError` names what cannot be read: a set that is half read would be half compared.
    """
    return {name: task.load(path) for name, path in files.items()}


def _compare(given: Sequence[Item], asked: Sequence[Item], settings: Decontamination) -> tuple[_Pairs, int]:
    """Pairs by the first method that finds them, and how many of `asked` a near method could compare."""
    pairs: _Pairs = dict.fromkeys(_equal(given, asked), ("exact", 1.0))
    places = [place for place, item in enumerate(given) if not item.structured]
    asked_places = [place for place, item in enumerate(asked) if not item.structured]
    readings = [given[place].reading for place in places]
    asked_readings = [asked[place].reading for place in asked_places]
    compared: set[int] = set()
    near: list[tuple[Method, int]] = [("ngram", settings.ngram), ("minhash", settings.shingle)]
    for method, size in near:
        if not size or not readings or not asked_readings:
            continue
        find = covered if method == "ngram" else similar
        found = find(readings, asked_readings, settings)
        compared |= found.compared
        for first, second, share in found.pairs:
            pairs.setdefault((places[first], asked_places[second]), (method, share))
    return pairs, len(compared)


def _equal(given: Sequence[Item], asked: Sequence[Item]) -> list[tuple[int, int]]:
    holders: dict[str, list[int]] = defaultdict(list)
    for place, item in enumerate(asked):
        for key in item.keys:
            holders[key].append(place)
    return [
        (number, place)
        for number, item in enumerate(given)
        for place in sorted({place for key in item.keys for place in holders.get(key, ())})
    ]


def _variants(given: Sequence[Item], asked: Sequence[Item]) -> int:
    """How many of `asked` are in `given` word by word, with other numbers."""
    figures: dict[tuple[str, ...], set[tuple[str, ...]]] = defaultdict(set)
    for item in given:
        if not item.structured:
            figures[item.reading.masked].add(item.reading.figures)
    return sum(
        not item.structured and bool(figures.get(item.reading.masked, set()) - {item.reading.figures})
        for item in asked
    )


def _overlap(
    place: tuple[int, int],
    found: tuple[Method, float],
    given: Sequence[Item],
    asked: Sequence[Item],
    name: str,
) -> Overlap:
    training, held_out = given[place[0]].problem, asked[place[1]].problem
    return Overlap(
        method=found[0],
        similarity=found[1],
        training=place[0],
        training_id=training.id,
        training_excerpt=training.question[:_EXCERPT],
        held_out=name,
        held_out_index=place[1],
        held_out_id=held_out.id,
        held_out_excerpt=held_out.question[:_EXCERPT],
    )
