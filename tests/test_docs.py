"""The documentation says what the code does: names, defaults, tables, examples and links are compared."""

from __future__ import annotations

import dataclasses
import enum
import json
import re
import shlex
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from selftrain.builders.table import GROUP as BUILDERS
from selftrain.training.config import GROUP as OBJECTIVES
from tasks.base import Verdict
from tasks.errors import DataError, MissingPrerequisiteError, UsageError
from tasks.math import grade
from tasks.readers import read_problems
from treesearch.algorithms.beam import Beam
from treesearch.budget import Usage
from treesearch.cli.exit_codes import ExitCode
from treesearch.engines.openai import OpenAIOptions
from treesearch.engines.scripted import ScriptedOptions
from treesearch.engines.vllm import VLLMOptions
from treesearch.events import Event, StopReason
from treesearch.policy import PolicyConfig
from treesearch.registry import GROUPS, TABLES, find
from treesearch.run.config import DEFAULT_TOKENS, resolve
from treesearch.run.plan import prepare
from treesearch.run.runner import result_row
from treesearch.run.summary import summarise
from treesearch.settings import parse_assignments

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
LINKED = [
    *PAGES,
    *(
        p
        for name in ("README", "CONTRIBUTING", "SECURITY", "CHANGELOG")
        if (p := ROOT / f"{name}.md").is_file()
    ),
]
ALGORITHMS = list(TABLES["algorithm"])
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)


def text_of(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def rows(text: str, header: str) -> Iterator[list[str]]:
    """Cells of every table of `text` whose header row starts with the column `header`."""
    inside = False
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if not line.startswith("|"):
            inside = False
        elif not inside:
            inside = cells[0] == header
        elif not set(line) <= set("|- "):
            yield cells


def bare(cell: str) -> str:
    return cell.strip("`")


def shown(value: object) -> str:
    if isinstance(value, enum.Enum):
        return str(value.value)
    return value.replace("\n", "\\n") if isinstance(value, str) else repr(value)


def defaults(cls: type) -> dict[str, str]:
    return {entry.name: shown(entry.default) for entry in dataclasses.fields(cls)}


def settings_below(text: str, heading: str) -> dict[str, str]:
    """Names and defaults of the settings table of the section `heading`."""
    section = text.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return {bare(row[0]): bare(row[1]) for row in rows(section, "setting")}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_page_of_an_algorithm_names_every_parameter_with_its_default(name: str) -> None:
    page = text_of(f"algorithms/{name}.md")
    documented = {bare(row[0]): bare(row[1]) for row in rows(page, "parameter")}
    assert documented == defaults(find("algorithm", name))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_page_of_an_algorithm_says_value_and_rule_by_default_and_has_all_parts(name: str) -> None:
    page, cls = text_of(f"algorithms/{name}.md"), find("algorithm", name)
    assert page.startswith(f"# {name}\n")
    assert f"Value source by default: `{cls.default_value}`" in page
    assert f"--algorithm {name}" in page
    for part in ("Idea", "Parameters", "When to use", "When not", "Cost", "Deviations", "Example"):
        assert f"**{part}.**" in page, part
    line = next(line for line in text_of("index.md").splitlines() if f"(algorithms/{name}.md)" in line)
    assert cls().answer in line.rsplit("|", 2)[1]


def test_every_page_in_the_folder_of_algorithms_is_of_one_that_exists() -> None:
    assert {page.stem for page in (DOCS / "algorithms").glob("*.md")} == set(ALGORITHMS)


@pytest.mark.parametrize(("page", "kind"), [("engines.md", "engine"), ("tasks.md", "task")])
def test_every_name_has_a_section_on_its_page(page: str, kind: str) -> None:
    headings = re.findall(r"^## `([^`]+)`$", text_of(page), re.MULTILINE)
    assert set(headings) >= set(TABLES[kind])


def test_every_value_has_a_page_that_the_table_of_values_leads_to() -> None:
    listed = dict(re.findall(r"^\| \[`([\w-]+)`\]\(values/([^)#]+)", text_of("values.md"), re.MULTILINE))
    assert set(listed) == set(TABLES["value"])
    assert set(listed.values()) == {page.name for page in (DOCS / "values").glob("*.md")}
    for name, page in listed.items():
        assert re.search(rf"^#+ {name}$", text_of(f"values/{page}"), re.MULTILINE)


def test_settings_tables_hold_the_true_defaults() -> None:
    assert settings_below(text_of("policies.md"), "Settings") == defaults(PolicyConfig)
    assert settings_below(text_of("engines.md"), "`scripted`") == defaults(ScriptedOptions)
    assert settings_below(text_of("engines.md"), "`openai`") == defaults(OpenAIOptions)
    assert settings_below(text_of("engines.md"), "`vllm`") == defaults(VLLMOptions)


def test_the_transformers_settings_table_holds_the_true_defaults() -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from treesearch.engines.transformers import TransformersOptions

    assert settings_below(text_of("engines.md"), "`transformers`") == defaults(TransformersOptions)


def test_the_model_card_shown_is_a_valid_one() -> None:
    found = re.search(r"```json\n(.*?)```", text_of("policies.md"), re.DOTALL)
    assert found is not None
    card = json.loads(found.group(1))
    assert card.pop("note")
    assert card.pop("values")
    PolicyConfig(**card)


def test_the_pages_name_what_limits_and_ends_a_search() -> None:
    concepts = text_of("concepts.md")
    assert f"{DEFAULT_TOKENS:,}" in concepts
    for entry in dataclasses.fields(Usage):
        assert f"`{entry.name}`" in concepts
    for reason in StopReason:
        assert f"`{reason.value}`" in concepts


def test_the_page_of_runs_lists_the_keys_of_results_and_summary() -> None:
    from tasks.base import Problem

    page = text_of("runs.md")
    row = result_row(Problem(id="p", question="q"), None, None, None, Usage(), 0.0, "")
    summary = summarise([row], seconds=1.0, run="r", oracle=False) | {"finished": True}
    for part, keys in (("results.jsonl", row), ("summary.json", summary)):
        section = page.split(f"### {part}\n", 1)[1].split("\n##", 1)[0]
        listed = {bare(name) for cells in rows(section, "key") for name in cells[0].split(", ")}
        assert listed == set(keys), part


def test_the_page_of_runs_lists_every_event() -> None:
    import treesearch.events as events

    listed = {bare(cells[0]) for cells in rows(text_of("runs.md"), "event")}
    assert listed == set(events._READ)
    assert len(listed) == len(Event.__args__)


def test_the_exit_codes_are_those_of_the_errors() -> None:
    listed = {bare(cells[0]) for cells in rows(text_of("runs.md"), "code")}
    assert listed == {str(code.value) for code in ExitCode}
    assert (UsageError.exit_code, DataError.exit_code, MissingPrerequisiteError.exit_code) == (2, 2, 5)


def test_the_page_of_runs_names_every_command_and_option_of_solve() -> None:
    from typer.main import get_command

    from treesearch.cli.app import app

    usage = text_of("runs.md").split("## Exit codes")[0]
    commands = get_command(app).commands
    for name in commands:
        assert f"    search {name}" in usage
    for option in commands["solve"].params:
        assert option.name == "question" or option.opts[0] in usage


def test_the_example_verdicts_are_what_the_grader_says() -> None:
    examples = list(rows(text_of("tasks.md"), "gold"))
    assert len(examples) > 8
    for gold, answer, verdict, decided_by in examples:
        found = grade(bare(gold), bare(answer))
        assert (found.verdict, found.decided_by) == (Verdict(verdict), decided_by), (gold, answer)


def test_the_example_lines_of_data_formats_are_read(tmp_path: Path) -> None:
    examples = list(rows(text_of("tasks.md"), "format"))
    assert len(examples) == 6
    formats: set[str] = set()
    for name, example, _ in examples:
        line = re.findall(r"`([^`]+)`", example)[-1]
        header = (
            ""
            if line.startswith("{")
            else "Rank,Puzzles,AMT (s),Solved rate,1-sigma Mean (s),1-sigma STD (s)\n"
        )
        file = tmp_path / f"{len(formats)}.data"
        file.write_text(header + line + "\n", encoding="utf-8")
        report = read_problems(file)
        assert len(report.require_clean()) == 1, name
        formats.add(report.format)
    assert formats == {"gsm8k", "math500", "aime", "qa", "countdown", "game24"}


def test_the_example_of_the_generator_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    block = re.search(r"^```python\n(.*?)^```", text_of("tasks.md"), re.DOTALL | re.MULTILINE)
    assert block is not None
    exec(compile(block.group(1), "tasks.md", "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    comments = re.findall(r"# (.*)$", block.group(1), re.MULTILINE)
    assert printed[0] == comments[0]
    assert [printed[1], printed[-2]] == comments[1].split(" ... ")


def test_the_configuration_file_shown_is_read(tmp_path: Path) -> None:
    block = re.search(r"^```yaml\n(.*?)^```", text_of("runs.md"), re.DOTALL | re.MULTILINE)
    assert block is not None
    file = tmp_path / "config.yaml"
    file.write_text(block.group(1), encoding="utf-8")
    plan = prepare(resolve({}, file))
    assert plan.task.name == "countdown"
    assert plan.algorithm == Beam(beam_width=4)


def test_every_command_shown_is_understood() -> None:
    shown_lines = [
        line.strip()
        for page in (DOCS / "algorithms").glob("*.md")
        for line in page.read_text(encoding="utf-8").splitlines()
        if line.startswith("    search solve ")
    ]
    assert len(shown_lines) >= len(ALGORITHMS)
    for line in shown_lines:
        words = shlex.split(line)[2:]
        flags: dict[str, object] = {}
        for flag, value in zip(words[::2], words[1::2], strict=True):
            if flag == "--set":
                flags["settings"] = {**flags.get("settings", {}), **parse_assignments([value])}
            else:
                flags[flag.removeprefix("--").replace("-", "_")] = value
        assert prepare(resolve(flags)).algorithm.name == flags["algorithm"]


def test_the_python_blocks_of_the_page_on_extending_run() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", text_of("extending.md"), re.DOTALL | re.MULTILINE)
    assert len(blocks) > 5
    module = types.ModuleType("docs_extending")
    sys.modules[module.__name__] = module
    try:
        for number, block in enumerate(blocks):
            exec(compile(block, f"extending.md, block {number}", "exec"), module.__dict__)
    finally:
        del sys.modules[module.__name__]
    longest = max(sum(bool(line.strip()) for line in block.splitlines()) for block in blocks)
    assert longest < 80


def test_the_page_on_extending_names_every_entry_point_group() -> None:
    page = text_of("extending.md")
    for group in (*GROUPS.values(), BUILDERS, OBJECTIVES):
        assert f'[project.entry-points."{group}"]' in page


@pytest.mark.parametrize("page", LINKED, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page: Path) -> None:
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    for match in _LINK.finditer(text):
        target, _, anchor = (match.group(1) or match.group(2)).partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), f"{page.name} links to {target}"
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file), f"{page.name} links to #{anchor} of {file.name}"


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_can_be_reached_from_the_index() -> None:
    index = text_of("index.md")
    for page in PAGES:
        assert page.name == "index.md" or f"({page.relative_to(DOCS)})" in index
