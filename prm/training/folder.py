"""The folder of a training run: what its run was made of, and whether it is the same that is asked for now.

    out/run.json        base, data and config of the run, with hashes and versions
    out/summary.json    what it came to; there once it is finished
    out/lock            held by the program that works on it

Contract: `finished` refuses a run of another base, other data or another config, and the error says what
differs; and a folder that holds something else under a run's names. Only the first process writes.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from prm.training.processes import Processes
from tasks.errors import DataError, UsageError
from treesearch.atomic import write_json
from treesearch.engines.address import is_url
from treesearch.engines.hf_load import weights_hash
from treesearch.lock import locked
from treesearch.policies import resolve_model

RUN = "run.json"
SUMMARY = "summary.json"
LEFT = (SUMMARY, "checkpoint.safetensors", "reference.safetensors", "model", "model-0", "adapter")
"""What a run writes after `RUN` and would take up, or replace."""
FREE = frozenset({"checkpoint_every", "device", "log_every", "sink", "sink_project"})
"""Settings that may change when a run goes on, in every kind of training."""
_SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a call of `train` came to: `summary` is None where it was stopped before the end."""

    out: Path
    finished: bool
    summary: Mapping[str, Any] | None


def base_folder(base: str) -> str:
    """Folder or hub id of the model that a training begins with; `UsageError` for a server's address."""
    if is_url(base):
        raise UsageError(f"the model {base} is a server's and cannot be trained; give a folder or hub id")
    return resolve_model(base)


def describe(base: str, folder: str, data: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """What `run.json` says: `folder` is where the model `base` lies; `data` has ``source`` and ``sha256``."""
    return {
        "schema": _SCHEMA,
        "base": {"model": base, "weights": weights_hash(folder)},
        "data": dict(data),
        "config": dict(config),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }


def read_run(out: Path) -> dict[str, Any] | None:
    """What `run.json` of a folder says; None without one, `DataError` if it is not a run's.

    `UsageError` where `out` is a file.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file, and a run needs a folder; name another with --out")
    path = out / RUN
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if missing := {"base", "data", "config"} - set(found):
            raise DataError(f"{path}: not a training run (it says no {', '.join(sorted(missing))})")
        if found["schema"] != _SCHEMA:
            raise DataError(f"{path}: schema {found['schema']!r}, this version reads {_SCHEMA}")
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a training run ({error})") from error
    return found


def finished(out: Path, run: Mapping[str, Any], *, free: Collection[str]) -> Outcome | None:
    """What the run in `out` came to; None where it is not finished, or not begun.

    `UsageError` where that run is not `run`, the settings `free` left aside.
    """
    there = read_run(out)
    if there is None and (rest := [name for name in LEFT if (out / name).exists()]):
        raise UsageError(f"{out} has a {rest[0]} but no {RUN}: it is no training run; give another folder")
    differs = "; ".join(_differences(there, run, free)) if there is not None else ""
    if differs:
        raise UsageError(f"{out} holds another training run: {differs}; give another folder")
    path = out / SUMMARY
    if not path.exists():
        return None
    return Outcome(out=out, finished=True, summary=json.loads(path.read_text(encoding="utf-8")))


@contextmanager
def claimed(out: Path, run: Mapping[str, Any], processes: Processes) -> Generator[None]:
    """Say that the run in `out` is `run`, once that is certain to be trained, and work on it alone.

    `UsageError` if another program works on it.
    """
    with locked(out) if processes.is_first else nullcontext():
        if processes.is_first:
            write_json(out / RUN, run)
        processes.wait()
        yield


def finish(out: Path, summary: Mapping[str, Any], processes: Processes) -> Outcome:
    """Write what the run came to."""
    if processes.is_first:
        write_json(out / SUMMARY, summary)
    processes.wait()
    return Outcome(out=out, finished=True, summary=summary)


def _differences(there: Mapping[str, Any], here: Mapping[str, Any], free: Collection[str]) -> Iterator[str]:
    """What must be the same and is not, in words."""
    pairs = {
        "base weights": (there["base"]["weights"], here["base"]["weights"]),
        "data": (there["data"]["sha256"], here["data"]["sha256"]),
    }
    for name in dict.fromkeys((*here["config"], *there["config"])):
        if name not in free:
            pairs[name] = (there["config"].get(name), here["config"].get(name))
    for name, (old, new) in pairs.items():
        if old != new:
            yield f"{name} is {old!r} there and {new!r} here"
