"""Builders by name, resolved on use.

    builder = open_builder("tree-plv", {"alpha": 0.25})
    built = builder(searched)

Contract: nothing is imported before a name is opened. Other packages add builders through entry points of
the group `GROUP`; a built-in name wins over one of those. Settings are the fields of the builder's dataclass,
as numbers or as text (`--set`, YAML); an unknown name or key is `UsageError` naming the nearest. What a
configuration file cannot hold (an encoder, another model's trees) is given under its field's name too and is
taken as it is; `builder_inputs` says what a builder takes, and opening one without a required input fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from tasks.errors import unknown_name
from treesearch.settings import build

if TYPE_CHECKING:
    from selftrain.builders.base import Builder

_PACKAGE = "selftrain.builders"
TABLE: Mapping[str, str] = {
    "sft": "traces:Traces",
    "rest-mcts": "traces:RestMCTS",
    "rft": "traces:RejectionFineTuning",
    "rest-em": "traces:RestEM",
    "nft": "graded:Graded",
    "pf-ppo": "graded:Filtered",
    "step-q": "siblings:StepQ",
    "tree-plv": "siblings:TreePLV",
    "agent-q": "agent_q:AgentQ",
    "outcome-dpo": "whole_pairs:OutcomePairs",
    "self-rewarding": "whole_pairs:SelfRewarding",
    "crew-dpo": "whole_pairs:Confident",
    "temporal": "temporal:Temporal",
    "rso": "rejection:RejectionSampled",
    "spin": "spin:SelfPlay",
    "cream": "consistent:Consistent",
    "upo": "consistent:Uncertain",
    "targets": "targets:Targets",
    "advantages": "advantages:DirectAdvantages",
    "self-correction": "self_correction:SelfCorrection",
    "journey": "journey:Journey",
    "revisions": "revisions:Revisions",
    "critique-refine": "critique:CritiqueRefine",
}


GROUP = "treesearch.builders"


def builder_names() -> list[str]:
    """Every builder's name, in the order of the table, then those of installed packages."""
    return [*TABLE, *sorted(entry.name for entry in entry_points(group=GROUP) if entry.name not in TABLE)]


def find_builder(name: str) -> type[Builder]:
    """The class behind a name; `UsageError` names the nearest valid one."""
    if name not in TABLE:
        for entry in entry_points(group=GROUP):
            if entry.name == name:
                own: type[Builder] = entry.load()
                return own
        raise unknown_name("builder", name, builder_names())
    module, _, attribute = TABLE[name].partition(":")
    found: type[Builder] = getattr(import_module(f"{_PACKAGE}.{module}"), attribute)
    return found


def builder_inputs(name: str, *, optional: bool = True) -> dict[str, str]:
    """What a builder takes from Python besides settings: field names and what they are."""
    return find_builder(name).inputs(optional=optional)


def open_builder(name: str, settings: Mapping[str, Any] | None = None) -> Builder:
    """The builder of a name with settings and inputs; see the module for errors."""
    cls = find_builder(name)
    inputs = cls.inputs()
    given = settings or {}
    plain = {key: value for key, value in given.items() if key not in inputs}
    made = build(cls, plain, what=f"builder {name}")
    made = replace(made, **{key: value for key, value in given.items() if key in inputs})
    made.check_inputs()
    return made
