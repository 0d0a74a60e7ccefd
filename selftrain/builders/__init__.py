"""Builders: pure functions from searched trees to training trees.

    built = open_builder("tree-plv", {"alpha": 0.375})(searched)
    write_trees(Path("pairs.jsonl"), built.trees)

`builder_names` lists them, `builder_inputs` says what one needs that no configuration file can hold, and
`together` joins the results of several. `docs/selftrain-data.md` has the table of settings and sources.
"""

from selftrain.builders.base import REASONS, Builder, Built, Tally, together
from selftrain.builders.merge import Merged, merge
from selftrain.builders.table import TABLE, builder_inputs, builder_names, find_builder, open_builder

__all__ = [
    "REASONS",
    "TABLE",
    "Builder",
    "Built",
    "Merged",
    "Tally",
    "builder_inputs",
    "builder_names",
    "find_builder",
    "merge",
    "open_builder",
    "together",
]
