"""Giving a run a larger budget: the trees that a limit had stopped go on from where they stand.

`enlarged` checks and changes nothing. `extend` rewrites the budget in `run.json` and takes the results of the
problems that a limit had stopped out of `results.jsonl`; the next part of the run searches them further. As
results that were taken out come back by searching alone, a run is extended once its problems, its model and
its value source are known to be there and the same (`Plan.extends`). The trees are not changed. A search that
is given more later need not equal one that had it from the start: near its limit it could issue less at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from tasks.errors import UsageError
from treesearch.api import open_algorithm
from treesearch.atomic import write_json
from treesearch.budget import LIMITS as METERED
from treesearch.run.config import Resolved, RunConfig
from treesearch.run.store import RunStore, read_header, read_results
from treesearch.settings import build, split_settings

LIMITS = tuple(f"budget_{name}" for name in METERED)
"""What can be extended. Seconds count anew in each part of a run, so that there is nothing to extend."""


def parse_limits(texts: Mapping[str, str | None]) -> dict[str, int | None]:
    """Limits from their texts (`none`: no limit); `UsageError` for what is no number."""
    config = build(RunConfig, dict(texts), what="run")
    return {name: getattr(config, name) for name in texts}


def enlarged(folder: Path, limits: Mapping[str, int | None]) -> Resolved:
    """The configuration of the run in `folder` with `limits` (of `LIMITS`; None: no limit).

    Raises `UsageError` for a limit below the run's (what was spent cannot be taken back), and where nothing
    would end the searches.
    """
    header = read_header(folder)
    config = header.resolved.config
    for name, limit in limits.items():
        old = getattr(config, name)
        if limit is not None and (old is None or limit < old):
            raise UsageError(f"{name} is {old or 'without limit'} in {folder}; it can only grow, got {limit}")
    larger = replace(config, **limits)
    algorithm = open_algorithm(config.algorithm, split_settings(config.settings)["algorithm"])
    algorithm.require_end(larger.budget())
    origin = dict(header.resolved.origin) | dict.fromkeys(limits, "flag")
    return Resolved(config=larger, origin=origin)


def before(folder: Path, resolved: Resolved, limits: Mapping[str, int | None]) -> Resolved:
    """An enlarged configuration with the limits that the run in `folder` still has, for comparing."""
    if not limits:
        return resolved
    old = read_header(folder).resolved.config
    return replace(resolved, config=replace(resolved.config, **{name: getattr(old, name) for name in limits}))


def reopened(folder: Path, limits: Mapping[str, int | None]) -> tuple[str, ...]:
    """The limits that grow and have stopped a search; none where `extend` would give nothing to search."""
    config = read_header(folder).resolved.config
    grown = {name for name, limit in limits.items() if limit != getattr(config, name)}
    return tuple(sorted(grown & {row["stop_reason"] for row in read_results(folder)}))


def extend(folder: Path, limits: Mapping[str, int | None]) -> Resolved:
    """Set `limits` for the run in `folder`; returns its new configuration. Errors as `enlarged`, before any
    change."""
    header, resolved = read_header(folder), enlarged(folder, limits)
    stopped_by = reopened(folder, limits)
    store = RunStore(folder)
    try:
        store.reopen(stopped_by=stopped_by)
        write_json(folder / "run.json", replace(header, resolved=resolved).to_json())
    finally:
        store.close()
    return resolved
