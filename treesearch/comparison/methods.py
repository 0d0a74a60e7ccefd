"""Methods: what a comparison compares. An algorithm with its value source and settings, under a name.

On the command line ``mcts:value=rollout,width=6``; in YAML and Python a mapping with `algorithm` and, if need
be, `name`, `value` and `settings`. Settings are those of `search solve --set`, but for `engine.*`: one engine
serves all methods.

At equal tokens means that a method goes on until its budget is spent. Many algorithms end by themselves by
default (16 samples, one round); `Algorithm.until_budget` says how each is made to go on, and is added to what
the user sets, never put in its place. Majority vote and best-of-N are always compared with.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tasks.errors import UsageError, unknown_name
from treesearch.api import open_algorithm, open_value
from treesearch.policy import PolicyConfig
from treesearch.registry import find
from treesearch.settings import build, read_settings, split_settings

MAJORITY = "self-consistency"
"""Name of the baseline that every method is tested against: majority vote."""
BASELINES = (MAJORITY, "best-of-n")
_KEYS = ("name", "algorithm", "value", "settings")
_LONGEST = 100


@dataclass(frozen=True, kw_only=True)
class Method:
    """An algorithm to compare. `value` None takes the algorithm's own; `settings` as for `search solve`."""

    name: str
    algorithm: str
    value: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def slug(self) -> str:
        """The name as a part of a file name."""
        return re.sub(r"[^A-Za-z0-9.=_-]+", "-", self.name).strip("-.")

    def to_json(self) -> dict[str, Any]:
        """The method as JSON data, which `read_method` reads back."""
        return {
            "name": self.name,
            "algorithm": self.algorithm,
            "value": self.value,
            "settings": dict(self.settings),
        }


def parse_method(text: str) -> Method:
    """A method from ``ALGORITHM`` or ``ALGORITHM:key=value,key=value``.

    The keys are `name`, `value` and those of settings. Without a name it is called what was written.
    `UsageError` for what does not have that form.
    """
    algorithm, colon, rest = (part.strip() for part in text.partition(":"))
    given: dict[str, str] = {}
    for item in rest.split(",") if colon else ():
        key, equals, value = (part.strip() for part in item.partition("="))
        if not equals or not key or not value:
            raise UsageError(f"a method is ALGORITHM or ALGORITHM:key=value,key=value, got {text!r}")
        given[key] = value
    name = given.pop("name", f"{algorithm}:{rest}" if colon else algorithm)
    return _method(name, algorithm, given.pop("value", None), given)


def read_method(entry: Any) -> Method:
    """A method from text, a mapping (YAML, JSON) or as it is; `UsageError` for anything else."""
    if isinstance(entry, Method):
        return _method(entry.name, entry.algorithm, entry.value, entry.settings)
    if isinstance(entry, str):
        return parse_method(entry)
    if not isinstance(entry, Mapping) or "algorithm" not in entry:
        raise UsageError(f"a method has an algorithm, and may have name, value and settings; got {entry!r}")
    for key in entry:
        if key not in _KEYS:
            raise unknown_name("key of a method", str(key), _KEYS)
    settings = read_settings(entry.get("settings"))
    algorithm, value = str(entry["algorithm"]), entry.get("value")
    name = str(entry.get("name") or _described(algorithm, value, settings))
    return _method(name, algorithm, None if value is None else str(value), settings)


def with_baselines(methods: Iterable[Method]) -> tuple[Method, ...]:
    """The baselines, then `methods`; a method that is a baseline is not repeated.

    Raises `UsageError` for two different methods of one name.
    """
    found = {name: _method(name, name, None, {}) for name in BASELINES}
    for method in methods:
        known = found.setdefault(method.name, method)
        if known != method:
            raise UsageError(
                f"two methods are called {method.name!r}: {_words(known)}, and {_words(method)}; "
                "give one of them another name"
            )
    slugs: dict[str, str] = {}
    for method in found.values():
        other = slugs.setdefault(method.slug, method.name)
        if other != method.name:
            raise UsageError(f"the names {other!r} and {method.name!r} are too much alike; change one")
    return tuple(found.values())


def _method(name: str, algorithm: str, value: str | None, settings: Mapping[str, Any]) -> Method:
    """A checked method with typed settings that spend the budget."""
    if not 0 < len(name) <= _LONGEST or not name.isprintable() or not any(c.isalnum() for c in name):
        raise UsageError(f"a method's name has 1 to {_LONGEST} characters on one line, got {name!r}")
    spending = {**find("algorithm", algorithm).until_budget, **settings}
    parts = split_settings(spending)
    if parts["engine"]:
        keys = ", ".join(f"engine.{key}" for key in parts["engine"])
        raise UsageError(f"{keys} of method {name!r}: one engine serves all methods; set it for all of them")
    opened = open_algorithm(algorithm, parts["algorithm"])
    made = {
        "": opened,
        "value.": open_value(value, opened, parts["value"]),
        "policy.": build(PolicyConfig, parts["policy"], what="policy"),
    }
    typed = {key: _typed(made, key) for key in spending}
    return Method(name=name, algorithm=algorithm, value=value, settings=typed)


def _typed(made: Mapping[str, Any], key: str) -> Any:
    """A setting as the object that it was built into holds it, so that `6` and `"6"` are the same."""
    head, dot, name = key.rpartition(".")
    value = getattr(made[head + dot], name)
    return value.value if isinstance(value, enum.Enum) else value


def _described(algorithm: str, value: Any, settings: Mapping[str, Any]) -> str:
    parts = [] if value is None else [f"value={value}"]
    parts += [f"{key}={given}" for key, given in settings.items()]
    return f"{algorithm}:{','.join(parts)}" if parts else algorithm


def _words(method: Method) -> str:
    """What a method is, without its name."""
    return _described(method.algorithm, method.value, method.settings)
