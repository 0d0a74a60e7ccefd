"""Objectives of installed packages: found by name, trained with, never in place of one of the table."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch
from tree_training_worlds import base_model, rich_trees

from selftrain.training import PairSums, TrainConfig, train
from selftrain.training.config import GROUP, objective_names
from selftrain.training.objectives import OBJECTIVES, beta_of, find_objective, objective_of
from tasks.errors import UsageError


def halved(pairs: PairSums, config: TrainConfig, total: float) -> torch.Tensor:
    return OBJECTIVES["dpo"].loss(pairs, config, 2 * total)


OWN = replace(OBJECTIVES["dpo"], loss=halved, beta=0.2, own=frozenset({"beta"}))


def test_an_installed_package_adds_an_objective_that_trains_and_never_replaces_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = [
        EntryPoint(name, f"{__name__}:{place}", GROUP)
        for name, place in (("mine", "OWN"), ("sft", "OWN"), ("odd", "halved"))
    ]
    for module in ("config", "objectives"):
        monkeypatch.setattr(
            f"selftrain.training.{module}.entry_points", lambda *, group: found if group == GROUP else []
        )
    assert objective_names() == [*OBJECTIVES, "mine", "odd"]
    assert find_objective("sft") is OBJECTIVES["sft"]
    with pytest.raises(UsageError, match="unknown objective 'mime'; did you mean 'mine'"):
        TrainConfig(objective="mime")
    with pytest.raises(UsageError, match=r"objective 'odd': .*halved is no selftrain\.training\.Objective"):
        objective_of(TrainConfig(objective="odd"))
    with pytest.raises(UsageError, match="objective 'mine' has no use for kind"):
        objective_of(TrainConfig(objective="mine", kind="hinge"))
    config = TrainConfig(objective="mine", reference="base", device="cpu", holdout=0.0)
    assert beta_of(config) == 0.2
    done = train(rich_trees(4), base=str(base_model(tmp_path / "base")), out=tmp_path / "run", config=config)
    assert done.summary is not None
    assert done.summary["objective"] == "mine"
