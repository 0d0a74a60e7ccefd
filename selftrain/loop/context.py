"""A run while it is worked on: its folder, configuration and parts, and the one way to run a stage.

Contract of `Context.stage`: a stage whose manifest is there, was made from the same inputs, settings and
seed, and whose outputs are as it left them, is taken over and not run again. If any of these differ, the run
stops with what differs and how to redo the stage; nothing is thrown away unasked. A stage that was begun and
not finished is run again in its folder, where its work finds what it left; it is refused if it had begun with
other inputs or settings. The manifest is written last.
"""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from selftrain.loop.config import LoopConfig
from selftrain.loop.events import EventLog, seconds_before
from selftrain.loop.layout import stage_folder
from selftrain.loop.manifest import (
    SCHEMA,
    Costs,
    Done,
    Identity,
    Manifest,
    plain,
    read_json,
    read_manifest,
    write_manifest,
)
from selftrain.loop.parts import Parts
from selftrain.loop.watch import Watch
from tasks.errors import SearchError, UsageError
from treesearch.atomic import write_json
from treesearch.seeds import derive

BEGUN = "begun.json"
Work = Callable[[Path], Awaitable[Done]]


class StageError(SearchError, RuntimeError):
    """A stage could not finish, for a reason that running it again may cure."""

    exit_code = 3


@dataclass(kw_only=True)
class Context:
    """See the module. `versions` are those of Python and the packages that can change a result."""

    folder: Path
    config: LoopConfig
    parts: Parts
    watch: Watch
    log: EventLog
    versions: Mapping[str, str]
    fresh: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    """Stages that were run by this process, in order."""

    def seed(self, *place: int | str) -> int:
        """A seed for a place of this run."""
        return derive(self.config.seed, "selftrain", *place)

    def path(self, iteration: int, stage: str) -> Path:
        """The folder of a stage."""
        return stage_folder(self.folder, iteration, stage)

    async def stage(
        self,
        name: str,
        iteration: int,
        work: Work,
        *,
        inputs: Mapping[str, str],
        settings: Mapping[str, Any],
        seed: int = 0,
    ) -> Manifest:
        """Run `work` in the stage's folder, or take over what it did before; see the module."""
        now = Identity(
            stage=name, iteration=iteration, inputs=dict(inputs), settings=plain(dict(settings)), seed=seed
        )
        folder = self.path(iteration, name)
        found = read_manifest(folder)
        if found is not None:
            self._refuse(now, found.differences(now) or found.damaged(folder))
            return found
        self._claim(folder, now)
        return await self._run(folder, now, work)

    async def _run(self, folder: Path, now: Identity, work: Work) -> Manifest:
        place: dict[str, Any] = {"stage": now.stage, "iteration": now.iteration}
        before = seconds_before(self.folder, now.stage, now.iteration)
        self.log("start", **place)
        self.watch.stage(now.iteration, now.stage, "begins")
        started = time.monotonic()
        try:
            done = await work(folder)
        except (asyncio.CancelledError, KeyboardInterrupt):
            self.log("interrupt", **place, seconds=round(time.monotonic() - started, 3))
            raise
        except Exception as error:
            self.log("fail", **place, seconds=round(time.monotonic() - started, 3), error=str(error))
            raise
        seconds = before + time.monotonic() - started
        manifest = Manifest(
            identity=now,
            outputs=done.outputs,
            results=plain(dict(done.results)),
            costs=replace(done.costs, seconds=round(seconds, 3)),
            versions=self.versions,
        )
        write_manifest(folder, manifest)
        self.log("finish", **place, hash=manifest.hash)
        self.fresh.append((now.iteration, now.stage))
        self.watch.stage(now.iteration, now.stage, f"done in {seconds:,.1f} s")
        return manifest

    def _claim(self, folder: Path, now: Identity) -> None:
        """Write down what the stage begins with, or refuse a folder where it began with something else."""
        begun = read_json(folder / BEGUN)
        if begun is None:
            write_json(folder / BEGUN, {"schema": SCHEMA, **asdict(now)})
            return
        del begun["schema"]
        old = Manifest(identity=Identity(**begun), outputs={}, results={}, costs=Costs(), versions={})
        self._refuse(now, old.differences(now))

    def _refuse(self, now: Identity, differs: list[str]) -> None:
        if differs:
            place = f"{now.iteration}/{now.stage}"
            raise UsageError(
                f"stage {now.stage} of iteration {now.iteration}: {'; '.join(differs)}; undo the change, or "
                f"do this stage and all behind it anew: search selftrain resume "
                f"{shlex.quote(str(self.folder))} --redo {place}"
            )
