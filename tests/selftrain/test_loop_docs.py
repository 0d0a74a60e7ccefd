"""The page on the loop says what the code does: settings, defaults, stages, decisions; its examples run."""

from __future__ import annotations

import re
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from selftrain.loop import sections
from selftrain.loop.checks import check
from selftrain.loop.config import LoopConfig, from_json
from selftrain.loop.gate import Action
from selftrain.loop.layout import BASE_STAGES, STAGES
from selftrain.loop.parts import Parts

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "selftrain-loop.md").read_text(encoding="utf-8")
PARTS: dict[str, type] = {
    "`tasks.NAME`": sections.TaskPart,
    "`engine`": sections.EnginePart,
    "`search`": sections.SearchPart,
    "`builder`": sections.BuilderPart,
    "`train`": sections.TrainPart,
    "`prm`": sections.PrmPart,
    "`tune`": sections.TunePart,
    "`evaluate`": sections.EvaluatePart,
    "`gate`": sections.GatePart,
}


def table(heading: str) -> list[list[str]]:
    """The cells of the rows below a heading that begin with a name in backquotes."""
    below = re.split(rf"^#+ {re.escape(heading)}\n", PAGE, flags=re.MULTILINE)[1]
    part = re.split(r"^#+ ", below, flags=re.MULTILINE)[0]
    return [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in part.splitlines() if line[:3] == "| `"
    ]


def shown(entry: Field[Any]) -> str:
    """A default as the page writes it; ``-`` where there is none or an empty collection."""
    if entry.default is MISSING or entry.default == ():
        return "-"
    if entry.default is None:
        return "`none`"
    if isinstance(entry.default, tuple):
        return f"`{', '.join(map(str, entry.default))}`"
    return f"`{entry.default}`"


@pytest.mark.parametrize("heading", PARTS)
def test_every_setting_of_a_section_is_on_the_page_with_its_default(heading: str) -> None:
    wanted = {f"`{each.name}`": shown(each) for each in fields(PARTS[heading]) if each.name != "name"}
    if heading == "`tasks.NAME`":
        assert {row[0]: row[1] for row in table(heading)} == wanted
        return
    named = {f"`{each.name}`": shown(each) for each in fields(PARTS[heading])}
    assert {row[0]: row[1] for row in table(heading)} == named


def test_every_key_of_the_configuration_is_on_the_page() -> None:
    plain = {f"`{each.name}`": shown(each) for each in fields(LoopConfig)}
    told = {row[0]: row[1] for row in table("The run")}
    assert told.items() <= plain.items()
    assert set(plain) - set(told) <= {*PARTS, "`quarantine`", "`decontamination`", "`monitors`"}
    last = {row[0]: row[1] for row in table("`quarantine`, `decontamination`, `monitors`")}
    assert last == {"`after`": "`0`", "`retry_every`": "`4`", "`settings`": "-"}


def test_stages_and_decisions_are_those_of_the_code() -> None:
    told = [name for row in table("Stages") for name in re.findall(r"`([\w-]+)`", row[0])]
    assert set(told) == {*STAGES, *BASE_STAGES}
    assert [name for name in told if name in STAGES] == [*STAGES]
    assert {row[0].strip("`") for row in table("The gate")} == {each.value for each in Action}


def test_the_example_configuration_is_valid() -> None:
    block = re.search(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert block is not None
    check(from_json(yaml.safe_load(block.group(1))), Parts())


def test_the_python_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from loop_worlds import make_world

    monkeypatch.setattr("treesearch.run.session.prewarm", lambda: None)
    block = re.search(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert block is not None
    world = make_world(tmp_path / "world", problems=5, heldout=3)
    content = world.content(search__settings={"n": 8, "policy.solution_tokens": 64})
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(content))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(block.group(1), "selftrain-loop.md", "exec"), names)
    assert names["found"].finished
