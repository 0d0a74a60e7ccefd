"""The page on training data: its example runs, and its tables are what the code says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from packing_worlds import VOCABULARY

from selftrain.builders import REASONS, builder_inputs, builder_names, find_builder
from selftrain.builders.inputs import READERS
from selftrain.builders.pairing import PairBuilder
from selftrain.data.exports import BUNDLES, EXPORTS, Completion, Preference
from tasks.base import Problem
from tasks.math import MathTask
from treesearch.engines.base import FinishReason
from treesearch.events import Added, Rolled, Step
from treesearch.tree import Tree

PAGE = (Path(__file__).parents[2] / "docs" / "selftrain-data.md").read_text(encoding="utf-8")


def rows(header: str) -> Iterator[list[str]]:
    """Cells of every table whose first column is `header`."""
    inside = False
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if not line.startswith("|"):
            inside = False
        elif not inside:
            inside = cells[0] == header
        elif not set(line) <= set("|- "):
            yield cells


def shown(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    return repr(value) if isinstance(value, str) and " " in value else str(value)


def test_every_builder_has_a_row_with_its_settings_and_defaults() -> None:
    table = {name.strip("`"): settings for name, settings, *_ in rows("builder")}
    assert set(table) == set(builder_names())
    shared = {entry.name for entry in fields(PairBuilder)} - {"max_pairs"}
    for name, documented in table.items():
        cls = find_builder(name)
        left_out = set(builder_inputs(name)) | (shared if issubclass(cls, PairBuilder) else set())
        true = [f"{e.name}={shown(e.default)}" for e in fields(cls) if e.name not in left_out]
        assert re.findall(r"`([^`]+)`", documented) == true, name
    for entry in fields(PairBuilder):
        assert entry.name == "max_pairs" or f"`{entry.name}={shown(entry.default)}`" in PAGE


def test_every_source_in_the_table_is_named_by_the_builders_module() -> None:
    for name, _, source, _ in rows("builder"):
        module = __import__(find_builder(name.strip("`")).__module__, fromlist=["__doc__"])
        for paper in re.findall(r"\d{4}\.\d{5}", source):
            assert paper in module.__doc__ or paper in (find_builder(name.strip("`")).__doc__ or ""), name


def test_every_input_is_listed_with_its_builders() -> None:
    table: dict[str, set[str]] = {}
    for inputs, builders, _ in rows("input"):
        for name in re.findall(r"`(\w+)`", inputs):
            table[name] = set(re.findall(r"`([a-z-]+)`", builders)) & set(builder_names())
    true: dict[str, set[str]] = {}
    for builder in builder_names():
        for name in builder_inputs(builder):
            true.setdefault(name, set()).add(builder)
    assert table == true


def test_the_reasons_are_those_that_are_counted() -> None:
    assert {name.strip("`") for name, _ in rows("reason")} == set(REASONS)
    for name, meaning in rows("reason"):
        assert meaning == REASONS[name.strip("`")], name


def test_the_formats_and_their_columns_are_those_that_are_written() -> None:
    table = {name.strip("`"): columns for name, columns, *_ in rows("format")}
    assert list(table) == list(EXPORTS)
    for name, cls in (("preference", Preference), ("sft", Completion)):
        named = re.findall(r"`([^`]+)`", table[name])
        for entry in fields(cls):
            assert any(re.fullmatch(one.replace("*", ".+"), entry.name) for one in named), entry.name


def test_the_bundles_and_the_files_of_inputs_are_those_of_the_code() -> None:
    bundles = {name.strip("`"): text for name, text in rows("bundle")}
    assert set(bundles) == set(BUNDLES)
    assert re.findall(r"`([a-z-]+)\.jsonl`", bundles["trl"]) == list(BUNDLES["trl"][1])
    assert {name.strip("`") for name, _ in rows("file")} == set(READERS)


def test_the_example_runs(tmp_path: Path) -> None:
    tree = Tree(problem=Problem(id="p", question="What is 1 + 1?", gold="2"))
    steps = [
        (0, "1 + 1\n", (5, 6)),
        (0, "1 - 1\n", (7, 6)),
        (1, "so \\boxed{2}", (8, 1)),
        (2, "so \\boxed{0}", (9, 1)),
    ]
    for parent, text, ids in steps:
        finish = FinishReason.END if ids[-1] == 1 else FinishReason.STOP
        answer = text[-2] if finish is FinishReason.END else None
        tree.commit([Added(parent, Step(text, ids, (-0.5, -0.5), finish, answer=answer, vote=answer), 1.0)])
    tree.commit([Rolled(2, "0", 3, "0", "0", None)])
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 2
    world = {
        "tree": tree,
        "task": MathTask(),
        "prompt_ids": [3, 4],
        "prompt": "Q\n",
        "end_id": 1,
        "folder": tmp_path,
    }
    exec(compile(blocks[1], "selftrain-data.md", "exec"), world)
    assert world["built"].counts == {"kept.sft": 1, "kept.tree-plv": 1}  # type: ignore[attr-defined]
    assert len((tmp_path / "pairs.jsonl").read_text(encoding="utf-8").splitlines()) == 1
    assert max(token for _, _, ids in steps for token in ids) < VOCABULARY
