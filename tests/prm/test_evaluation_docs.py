"""The pages of evaluation and labels say what the code does: options, names, keys, defaults."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from prm.aggregates import Aggregate
from prm.cli.convert import convert
from prm.cli.eval import evaluate
from prm.cli.label import label
from prm.evaluation.bench import BENCHES
from prm.evaluation.canaries import MASTER_KEYS
from prm.evaluation.subsets import MAX_SUBSETS
from prm.labels.derive import RULES
from prm.labels.omega import Omega
from prm.labels.pairs import GAP
from prm.labels.record import StepRecord
from prm.labels.session import METHODS

DOCS = Path(__file__).parents[2] / "docs"
EVALUATION = (DOCS / "prm-evaluation.md").read_text(encoding="utf-8")
LABELS, CONVERT = (DOCS / "prm-labels.md").read_text(encoding="utf-8").split("## Other people's labels\n")


@pytest.mark.parametrize(("command", "page"), [(evaluate, EVALUATION), (label, LABELS), (convert, CONVERT)])
def test_every_option_of_a_command_is_on_its_page_and_no_other(command: object, page: str) -> None:
    parameters = inspect.signature(command).parameters  # type: ignore[arg-type]
    renamed = {"as_json": "--json", "settings": "--set", "source": "--from", "target": "--to"}
    options = {renamed.get(name, "--" + name.replace("_", "-")) for name in parameters}
    table = "\n".join(line for line in page.splitlines() if line.startswith("| `--"))
    named = set(re.findall(r"--[a-z-]+", "".join(line.split("|")[1] for line in table.splitlines())))
    assert named == options


def test_every_bench_has_a_section_and_every_aggregate_a_row() -> None:
    assert re.findall(r"^## `([a-z-]+)`", EVALUATION, re.MULTILINE) == list(BENCHES)
    rows = re.findall(r"^\| `([a-z_]+)` \|", EVALUATION, re.MULTILINE)
    assert rows[: len(Aggregate)] == [how.value for how in Aggregate]
    assert f"at most {MAX_SUBSETS}" in EVALUATION
    assert len(MASTER_KEYS) == 10
    assert "the ten master keys" in EVALUATION


def test_every_method_rule_and_key_of_a_record_is_on_the_page() -> None:
    assert set(re.findall(r"^\*\*`([a-z]+)`\*\*", LABELS, re.MULTILINE)) == set(METHODS)
    rules = LABELS.split("## Rules")[1].split("##")[0]
    assert re.findall(r"^\| `([a-z-]+)` \|", rules, re.MULTILINE) == list(RULES)
    keys = set(re.findall(r"`([a-z_]+)`", LABELS.split("## The record")[1].split("## Methods")[0]))
    assert keys >= set(StepRecord.__dataclass_fields__)


def test_the_constants_on_the_page_are_the_defaults() -> None:
    settings = Omega()
    shown = f"Q = {settings.alpha}^(1 - MC) {settings.beta}^(tokens / {settings.length})"
    assert shown in LABELS
    assert f"U = {settings.c_puct} sqrt(sum N) / (1 + N)" in LABELS
    defaults = inspect.signature(label).parameters
    for name in ("completions", "solutions", "searches", "gap"):
        row = next(line for line in LABELS.splitlines() if f"`--{name} " in line or f"--{name} X" in line)
        assert row.rstrip("| ").endswith(str(defaults[name].default)), name
    assert defaults["gap"].default == GAP
