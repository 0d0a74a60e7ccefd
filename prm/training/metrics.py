"""Where a run's figures go: `metrics.jsonl` in its folder always, and trackio or wandb if asked for.

Contract: `write` adds a line, `cut` takes away the lines that a run which goes on from a checkpoint writes
again. Only the first process writes. The file is the record: what was sent to a sink cannot be taken
back there, so a resumed run may show steps twice. Sinks are imported when they are opened;
`MissingPrerequisiteError` names the command that installs one.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prm.training.config import SinkName
from tasks.errors import MissingPrerequisiteError
from treesearch.atomic import write_text

METRICS = "metrics.jsonl"


class Metrics:
    """The lines of the run in `out`; `writes` is whether this process is the one that does.

    A sink gets the run's `settings` too, and shows it in the project `project`.
    """

    def __init__(
        self,
        out: Path,
        *,
        writes: bool,
        sink: SinkName = "none",
        project: str = "treesearch",
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self._path = out / METRICS
        self._writes = writes
        self._sink: Any = None
        if writes and sink != "none":
            self._sink = _open_sink(sink, out, project, settings or {})

    def write(self, line: Mapping[str, Any]) -> None:
        """Add a line; its ``step`` is the optimizer step."""
        if not self._writes:
            return
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if self._sink is not None:
            self._sink.log(_flat(line), step=line["step"])

    def cut(self, step: int) -> None:
        """Take away the lines behind `step`, those of an export that was cut short there, and a torn one."""
        if self._writes and self._path.exists():
            lines = self._path.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if _stays(line, step)]
            write_text(self._path, "".join(f"{line}\n" for line in kept))

    def close(self) -> None:
        """Tell the sink that the run is over."""
        if self._sink is not None:
            self._sink.finish()


def _stays(line: str, step: int) -> bool:
    """Whether a run at `step` does not write it again: figures after training, without a loss, it does."""
    try:
        found = json.loads(line)
    except ValueError:  # torn
        return False
    return found["step"] < step or (found["step"] == step and (not step or "loss" in found))


def _open_sink(name: str, out: Path, project: str, settings: Mapping[str, Any]) -> Any:
    """trackio and wandb have the same three calls: init, log and finish; wandb goes on with runs by id."""
    try:
        sink: Any = importlib.import_module(name)
    except ImportError as error:
        raise MissingPrerequisiteError(
            f"sink={name} needs the package: pip install {name}; or sink=none"
        ) from error
    place = hashlib.sha256(str(out.resolve()).encode()).hexdigest()[:16]
    by_id = {"id": place} if name == "wandb" else {}
    sink.init(project=project, name=out.name, config=dict(settings), resume="allow", **by_id)
    return sink


def _flat(line: Mapping[str, Any]) -> dict[str, Any]:
    """Nested figures as ``held_out/loss``."""
    found: dict[str, Any] = {}
    for key, value in line.items():
        if isinstance(value, Mapping):
            found |= {f"{key}/{name}": one for name, one in value.items()}
        else:
            found[key] = value
    return found
