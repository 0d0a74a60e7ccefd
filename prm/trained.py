"""The folder of a training run in place of a model: which models the run wrote.

    out/run.json        base, data and config of the run
    out/summary.json    there once it is finished; "models" are the folders that it wrote
    out/model/          the model; model-0, model-1, ... where it trained several adapters

Contract: `models_of` gives the models of a finished run in their order, and nothing for any other folder; a
run that is not finished is an error, since what it would stand for is not there yet. No model library is
loaded. It reads what `prm.training` writes, and writes nothing.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from prm.checkpoint import is_checkpoint
from tasks.errors import DataError, UsageError

RUN = "run.json"
SUMMARY = "summary.json"


def models_of(folder: Path) -> tuple[Path, ...]:
    """Folders of the models that the training run in `folder` wrote; empty where it is no such run's.

    `UsageError` for a run that is not finished, `DataError` for files of a run that cannot be read and for a
    model that is not there any more.
    """
    if is_checkpoint(folder) or not (folder / RUN).is_file():
        return ()
    config = _json(folder / RUN).get("config")
    if not isinstance(config, dict) or "head" not in config:
        return ()
    if not (folder / SUMMARY).is_file():
        raise UsageError(
            f"the training run in {str(folder)!r} is not finished and has no model yet; go on with it: "
            f"search prm train --out {shlex.quote(str(folder))}"
        )
    models = tuple(folder / str(name) for name in _json(folder / SUMMARY).get("models") or ())
    if gone := [str(model) for model in models if not is_checkpoint(model)]:
        raise DataError(f"{folder / SUMMARY} names the model {gone[0]}, which is not there")
    return models


def _json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise DataError(f"{path}: not a JSON object ({error})") from error
