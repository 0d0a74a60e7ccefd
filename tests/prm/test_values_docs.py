"""The pages of the values and of steering hold true names and defaults, and commands that are understood."""

from __future__ import annotations

import dataclasses
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from prm.steering.options import SteeringOptions
from prm.values.confidence import AnswerConfidence
from prm.values.ensemble import EnsembleValue
from prm.values.judge import Judge
from prm.values.self_reward import SelfReward
from treesearch.run.config import resolve
from treesearch.run.plan import prepare
from treesearch.settings import build, parse_assignments
from treesearch.values.free import LastStep, LogProb, NoValue, SelfCertainty, Verifier
from treesearch.values.rollout import RollOutValue

DOCS = Path(__file__).parents[2] / "docs"
PAGES: dict[str, Any] = {
    "values/none.md": NoValue,
    "values/logprob.md": LogProb,
    "values/self-certainty.md": SelfCertainty,
    "values/rollout.md": RollOutValue,
    "values/verifier.md": Verifier,
    "values/answer-confidence.md": AnswerConfidence,
    "values/last-step.md": LastStep,
    "values/self-reward.md": SelfReward,
    "values/ensemble.md": EnsembleValue,
    "values/judge.md": Judge,
    "steering.md": SteeringOptions,
}


def documented(page: str) -> dict[str, str]:
    """Names and defaults of the table of settings of a page."""
    rows = re.findall(r"^\| `(\w+)` \| `+([^`]*)`+ \| (?!.*\| .*\|$)", page, re.MULTILINE)
    return {name: default.replace("\\|", "|") for name, default in rows}


@pytest.mark.parametrize("name", PAGES)
def test_the_table_of_settings_holds_every_one_with_its_default(name: str) -> None:
    page = (DOCS / name).read_text(encoding="utf-8")
    table = page[page.index("| setting |") :].split("\n\n")[0] if "| setting |" in page else ""
    fields = dataclasses.fields(PAGES[name])
    assert documented(table) == {each.name: str(each.default) for each in fields}


@pytest.mark.parametrize("name", [name for name in PAGES if name.startswith("values/")])
def test_the_page_is_named_like_the_value_and_has_all_parts(name: str) -> None:
    page = (DOCS / name).read_text(encoding="utf-8")
    assert page.startswith(f"# {PAGES[name].name}\n")
    for part in ("Idea", "When to use", "When not", "Cost", "Example"):
        assert f"**{part}.**" in page, part
    assert "Paper" in page


@pytest.mark.parametrize("name", PAGES)
def test_the_command_shown_is_understood(name: str) -> None:
    (line,) = re.findall(r"^    search solve (.*)$", (DOCS / name).read_text(encoding="utf-8"), re.MULTILINE)
    words = shlex.split(line)
    flags: dict[str, Any] = {"task": "math", "algorithm": "beam"}
    assigned: list[str] = []
    for flag, value in zip(words[::2], words[1::2], strict=True):
        if flag == "--set":
            assigned.append(value)
        else:
            flags[flag.removeprefix("--")] = value
    question = {"math": "1 + 1?", "countdown": "Make 24 from 3 5 8 11."}[str(flags["task"])]
    plan = prepare(resolve({**flags, "question": question, "settings": parse_assignments(assigned)}))
    if name == "steering.md":
        assert build(SteeringOptions, plan.settings["engine"], what="engine").beta == 3.0
    else:
        assert isinstance(plan.value, PAGES[name])
