"""Where a model's files are: folders are checked, hub ids fetched, and what is not there is said."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants

from tasks.errors import MissingPrerequisiteError, UsageError
from treesearch.engines.hf_load import model_folder, weights_hash
from treesearch.policies import embedded_folder


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that holds ``here/model``, without a network."""
    repository = tmp_path / "models--here--model"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    snapshot = repository / "snapshots" / ("0" * 40)
    shutil.copytree(embedded_folder(), snapshot)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return snapshot


def test_a_hub_id_is_the_folder_of_its_snapshot(hub: Path) -> None:
    assert model_folder("here/model") == hub
    assert weights_hash("here/model") == weights_hash(str(embedded_folder()))


def test_a_hub_id_that_cannot_be_had_is_told(hub: Path) -> None:
    with pytest.raises(MissingPrerequisiteError, match="'there/model' could not be loaded"):
        weights_hash("there/model")
    with pytest.raises(MissingPrerequisiteError, match="could not be loaded"):
        weights_hash("not an id")


def test_a_folder_without_weights_has_no_hash(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        weights_hash(str(tmp_path / "nothing"))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UsageError, match=r"no \*\.safetensors"):
        weights_hash(str(tmp_path))
