"""The table of templates: every kind of problem, its family and the constants that it takes for granted.

A template is a function from a `Draft` to the question; the value of its last step is the answer. Numbers
that its steps use and its question does not show as digits (100 for percent, 7 for a week, 2 for twice) are
declared as `constants`, and the checker accepts these and no others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tasks.errors import UsageError, unknown_name
from tasks.generator.draft import Draft

Family = Literal["word", "equation", "arithmetic"]
Write = Callable[[Draft], str]


@dataclass(frozen=True, kw_only=True)
class Template:
    """One kind of problem. `write` records the steps in the draft and returns the question."""

    name: str
    family: Family
    constants: frozenset[int]
    write: Write


_TEMPLATES: dict[str, Template] = {}


def word(name: str, *constants: int) -> Callable[[Write], Write]:
    """Register a word problem."""
    return template(name, "word", *constants)


def template(name: str, family: Family, *constants: int) -> Callable[[Write], Write]:
    """Register a template of any family under a name of its own."""

    def register(write: Write) -> Write:
        if name in _TEMPLATES:
            raise UsageError(f"two templates are named {name!r}; rename one")
        entry = Template(name=name, family=family, constants=frozenset(constants), write=write)
        _TEMPLATES[name] = entry
        return write

    return register


def by_family(family: Family) -> tuple[Template, ...]:
    """The templates of a family, sorted by name."""
    return tuple(_TEMPLATES[name] for name in sorted(_TEMPLATES) if _TEMPLATES[name].family == family)


def find(name: str) -> Template:
    """The template `name`; `UsageError` names the nearest one where there is none."""
    if name not in _TEMPLATES:
        raise unknown_name("template", name, _TEMPLATES)
    return _TEMPLATES[name]


def registered() -> tuple[str, ...]:
    """All names, sorted."""
    return tuple(sorted(_TEMPLATES))
