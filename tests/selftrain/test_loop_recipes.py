"""Every recipe runs from end to end with the embedded model at toy size, and says where it is from."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from selftrain.loop import Action, LoopConfig, read_config, run
from selftrain.loop.checks import check
from selftrain.loop.context import StageError
from selftrain.loop.layout import stage_folder
from selftrain.loop.manifest import read_manifest
from selftrain.loop.parts import Parts

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "experiments" / "selftrain" / "recipes"
TOY = FOLDER / "toy.yaml"
RECIPES = sorted(path.stem for path in FOLDER.glob("*.yaml") if path != TOY)
WANTED = {
    *("rest-mcts", "step-q", "agent-q", "tree-plv", "meds3", "critique-in-the-loop", "cream"),
    *("temporal-self-rewarding", "dapo", "b-star"),
    *("revisions", "rest-em", "rft", "self-rewarding", "outcome-dpo"),
}


@pytest.fixture(autouse=True)
def no_grading_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most of these answers are graded in the process; starting the worker for each stage takes seconds."""
    monkeypatch.setattr("treesearch.run.session.prewarm", lambda: None)


def test_the_recipes_are_all_there() -> None:
    assert set(RECIPES) == WANTED


def commands(name: str) -> list[LoopConfig]:
    """The configurations of the commands that a recipe's head shows: the whole, and the toy."""
    text = (FOLDER / f"{name}.yaml").read_text().replace("\\\n#", "")
    found: list[LoopConfig] = []
    for line in text.splitlines():
        if line.startswith("#     search selftrain run "):
            words = shlex.split(line[1:])[3:]
            files = [ROOT / word for word in words if word.endswith(".yaml")]
            sets = [words[index + 1] for index, word in enumerate(words) if word == "--set"]
            found.append(read_config(files, sets))
    return found


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_names_its_paper_its_deviations_and_commands_that_are_valid(name: str) -> None:
    head = (FOLDER / f"{name}.yaml").read_text().split("\ntasks:")[0]
    assert "arXiv" in head or "EMNLP" in head
    assert "Deviation" in head
    found = commands(name)
    assert len(found) == 2
    for config in found:
        check(config, Parts())


def test_the_problems_of_the_recipes_whole_commands_are_taken_by_the_first_stage(tmp_path: Path) -> None:
    """All recipes have the same ones. Two of some thousand that a generator makes may be nearly the same."""
    first, *others = [commands(name)[0] for name in RECIPES]
    assert all((one.tasks, one.decontamination) == (first.tasks, first.decontamination) for one in others)

    async def no_further(*_: Any, **__: Any) -> Any:
        raise StageError("far enough")

    with pytest.raises(StageError, match="far enough"):
        run(first, tmp_path / "run", parts=Parts(evaluate=no_further))
    manifest = read_manifest(stage_folder(tmp_path / "run", 0, "decontaminate"))
    assert manifest is not None
    assert manifest.results["problems"]["math/train"] == 2000
    assert len(manifest.results["dropped"]) < 20


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_runs_from_end_to_end_at_toy_size(name: str, tmp_path: Path) -> None:
    config = commands(name)[1]
    found = run(config, tmp_path / name)
    assert found.finished
    assert found.iterations[1].action in {each.value for each in Action}
    stages = set(found.iterations[1].stages)
    assert ("train" in stages) == (config.train is not None)
    assert ("prm" in stages) == (config.prm is not None)
    assert ("tune" in stages) == (config.tune is not None)
    assert ("train-2" in stages) == (config.builder.phases == 2)
    assert ("score" in stages) == (config.builder.rewards == "log-ratio")
    assert found.costs.trained_tokens > 0
