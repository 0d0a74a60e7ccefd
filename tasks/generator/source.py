"""Problems drawn from the templates: a pure function of seed and split, the splits disjoint by question.

Whether a question is a train or a test question is decided by a hash of its text, not by the seed, and a draw
that falls in the other split is drawn again. So no test question can come out of the train split under any
seed, difficulty or later template. A test problem costs about 16 draws, a train problem about one.

Adding or changing a template changes what a seed gives, but never in which split a question is.
"""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from tasks.errors import UsageError
from tasks.generator import themes
from tasks.generator.checker import wrong_step
from tasks.generator.draft import STANDARD, Difficulty, Draft, Redraw
from tasks.generator.registry import Family, Template, by_family, find

Split = Literal["train", "test"]

TEST_ONE_IN = 16
"""One question in so many is a test question."""
MIXTURE: tuple[tuple[Family, float], ...] = (("word", 0.70), ("equation", 0.15), ("arithmetic", 0.15))
"""Share of each family."""
WORD_QUESTION_CHARS = (60, 260)
"""Shortest and longest word problem; others are drawn again."""
STEP_LINES = (2, 9)
"""Fewest and most lines of a solution, the answer line included."""
_MAX_DRAWS = 20_000

_FAMILIES: dict[Family, tuple[Template, ...]] = {}


@dataclass(frozen=True, kw_only=True)
class Worked:
    """A problem with its worked solution, `"\\n".join(steps)`; the last step is `#### <gold>`."""

    id: str
    question: str
    steps: tuple[str, ...]
    gold: str
    kind: str
    family: Family


def split_of(question: str) -> Split:
    """The split that a question belongs to: a hash of its lower-case words."""
    digest = hashlib.sha256(" ".join(question.lower().split()).encode()).digest()
    return "test" if digest[0] % TEST_ONE_IN == 0 else "train"


def generate(seed: int, *, split: Split, difficulty: Difficulty = STANDARD) -> Worked:
    """The problem of `seed` in `split`; the same on every machine.

    Raises `UsageError` if `split` is unknown or `difficulty` leaves a template without a clean problem.
    """
    if split not in ("train", "test"):
        raise UsageError(f"unknown split {split!r}; valid: train, test")
    rng = random.Random(f"{split}:{seed}")
    template = _draw_template(rng)
    for _ in range(_MAX_DRAWS):
        worked = _attempt(template, rng, difficulty, f"{split}-{seed}")
        if worked is not None and split_of(worked.question) == split:
            return worked
    raise UsageError(f"template {template.name!r} gave no problem in {_MAX_DRAWS} draws; widen {difficulty}")


def stream(split: Split, *, start: int = 0, difficulty: Difficulty = STANDARD) -> Iterator[Worked]:
    """Problems of the seeds `start`, `start + 1`, ... without end."""
    return (generate(seed, split=split, difficulty=difficulty) for seed in itertools.count(start))


def constants_of(kind: str) -> frozenset[int]:
    """The numbers that a kind of problem takes for granted; `UsageError` if there is no such kind."""
    return find(kind).constants


def first_wrong_step(steps: Sequence[str], worked: Worked) -> int | None:
    """Index of the first of `steps` that is provably wrong for `worked`, or None: see `checker`."""
    constants = constants_of(worked.kind)
    return wrong_step(steps, question=worked.question, gold=worked.gold, constants=constants)


def _draw_template(rng: random.Random) -> Template:
    draw = rng.random()
    family = MIXTURE[-1][0]
    for family, share in MIXTURE:  # noqa: B007
        draw -= share
        if draw < 0:
            break
    return rng.choice(_FAMILIES[family])


def _attempt(template: Template, rng: random.Random, difficulty: Difficulty, name: str) -> Worked | None:
    draft = Draft(rng, difficulty, signed=template.family != "word")
    try:
        question = template.write(draft)
    except Redraw:
        return None
    low, high = WORD_QUESTION_CHARS
    if template.family == "word" and not low <= len(question) <= high:
        return None
    steps = (*draft.steps, f"#### {draft.value}")
    if not STEP_LINES[0] <= len(steps) <= STEP_LINES[1]:
        return None
    return Worked(
        id=name,
        question=question,
        steps=steps,
        gold=str(draft.value),
        kind=template.name,
        family=template.family,
    )


themes.load()
_FAMILIES.update({family: by_family(family) for family, _ in MIXTURE})
