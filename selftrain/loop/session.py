"""Running, resuming and redoing a self-training run, from Python and for the command line.

    status = run(read_config([Path("recipe.yaml")]), Path("selftraining/first"))
    status = resume(Path("selftraining/first"))

Contract: a folder that holds a run is gone on with; another configuration (more iterations aside) is refused
with what differs, unless a stage is redone with it. Until its first stage is finished a run takes any. One
process works on a run at a time. Cancelling (ctrl-C on the command line) leaves a run that can be resumed.
`redo` names a stage (`train`, or `2/train`): what it and the stages and iterations behind it made is taken
away, and they are run anew.
"""

from __future__ import annotations

import asyncio
import platform
import shutil
from collections.abc import Coroutine, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from selftrain.loop.checks import check
from selftrain.loop.config import LoopConfig, anchored, differences, read_config
from selftrain.loop.context import Context
from selftrain.loop.driver import conduct
from selftrain.loop.events import EventLog
from selftrain.loop.layout import (
    RUN,
    begun_iterations,
    iteration_folder,
    parse_stage,
    stage_folder,
    stages_of,
)
from selftrain.loop.manifest import FILE, SCHEMA
from selftrain.loop.overview import RunStatus, read_header, status
from selftrain.loop.parts import Parts
from selftrain.loop.watch import Watch
from tasks.errors import UsageError
from treesearch.atomic import write_json
from treesearch.lock import locked

_PACKAGES = ("treesearch-toolkit", "torch", "transformers", "peft", "safetensors", "numpy", "vllm")
_BEFORE = {"lock", "run.json.new", "events.jsonl"}


async def arun(
    config: LoopConfig | Path | str | Sequence[Path],
    out: Path | str,
    *,
    parts: Parts | None = None,
    watch: Watch | None = None,
    redo: str | None = None,
) -> RunStatus:
    """Run a configuration (or its YAML file, or several laid over each other) into `out`; see the module.

    `parts` are other searchers, builders, trainers or evaluators than the toolkit's own. Raises `UsageError`
    for a wrong configuration or a folder of another run, `DataError` (`ContaminationError`) for problems that
    are in a held-out set, `StageError` for a stage that resuming may bring to its end.
    """
    wanted = anchored(_read(config))
    folder = Path(out)
    used = parts or Parts()
    check(wanted, used)
    _refuse_foreign(folder)
    with locked(folder):
        log = EventLog(folder)
        _claim(folder, wanted, redo, log)
        log("open")
        context = Context(
            folder=folder,
            config=wanted,
            parts=used,
            watch=watch or Watch(),
            log=log,
            versions=versions(),
        )
        await conduct(context)
        log("close")
    return status(folder)


async def aresume(
    out: Path | str, *, parts: Parts | None = None, watch: Watch | None = None, redo: str | None = None
) -> RunStatus:
    """Go on with the run in `out`; `UsageError` if there is none."""
    return await arun(read_header(Path(out)), out, parts=parts, watch=watch, redo=redo)


def run(config: LoopConfig | Path | str | Sequence[Path], out: Path | str, **options: Any) -> RunStatus:
    """`arun` for code without an event loop; takes the same arguments."""
    return _blocking(arun(config, out, **options))


def resume(out: Path | str, **options: Any) -> RunStatus:
    """`aresume` for code without an event loop; takes the same arguments."""
    return _blocking(aresume(out, **options))


def _blocking(job: Coroutine[Any, Any, RunStatus]) -> RunStatus:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(job)
    job.close()
    raise UsageError("an event loop is running (a notebook?): use `await selftrain.loop.arun(...)` instead")


def _read(config: LoopConfig | Path | str | Sequence[Path]) -> LoopConfig:
    if isinstance(config, LoopConfig):
        return config
    return read_config([Path(config)] if isinstance(config, Path | str) else list(config))


def _refuse_foreign(folder: Path) -> None:
    """Raise, with nothing changed, for a folder that holds something else than a run of this kind."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; a run needs a folder: name another one with --out")
    if (folder / RUN).exists():
        read_header(folder)
    elif folder.is_dir() and {entry.name for entry in folder.iterdir()} - _BEFORE:
        raise UsageError(f"{folder} is not empty and holds no run; name another folder with --out")


def _claim(folder: Path, config: LoopConfig, redo: str | None, log: EventLog) -> None:
    """Write the configuration down, or refuse a folder that holds another run."""
    path = folder / RUN
    if not path.exists():
        if redo is not None:
            raise UsageError(f"{folder} holds no run yet; there is nothing to redo")
    elif redo is None and not any((folder / "iterations").glob(f"*/*/{FILE}")):  # contaminated, as a rule
        shutil.rmtree(folder / "iterations", ignore_errors=True)
    else:
        found = differences(read_header(folder), config)
        if found and redo is None:
            raise UsageError(
                f"{folder} holds another run: {'; '.join(found)}; name another folder with --out, or do the "
                "first stage that this changes, and all behind it, anew with --redo STAGE"
            )
        if redo is not None:
            _take_away(folder, redo, log)
    write_json(path, {"schema": SCHEMA, "selftrain": config.to_json(), "versions": versions()})


def _take_away(folder: Path, redo: str, log: EventLog) -> None:
    """Remove what a stage, and everything behind it, made."""
    iteration, stage = parse_stage(redo, folder)
    order = stages_of(iteration)
    there = [name for name in order if stage_folder(folder, iteration, name).exists()]
    if stage not in there and any(order.index(name) > order.index(stage) for name in there):
        raise UsageError(f"this run has no stage {stage}; iteration {iteration} has: {', '.join(there)}")
    for later in begun_iterations(folder):
        if later > iteration:
            shutil.rmtree(iteration_folder(folder, later))
            log("redo", stage="all", iteration=later)
    (iteration_folder(folder, iteration) / FILE).unlink(missing_ok=True)
    for name in reversed(order[order.index(stage) :]):  # the last one first: no manifest outlives its inputs
        if stage_folder(folder, iteration, name).exists():
            shutil.rmtree(stage_folder(folder, iteration, name))
            log("redo", stage=name, iteration=iteration)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that can change a result."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
