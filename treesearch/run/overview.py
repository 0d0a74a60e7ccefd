"""What a run directory holds, read without searching, without a lock and without a model."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.errors import SearchError, UsageError
from treesearch.run.store import Header, read_header, read_results
from treesearch.run.summary import summarise

RUNS = Path("runs")
"""Where runs are kept unless a directory is named."""


@dataclass(frozen=True, kw_only=True)
class Overview:
    """A run as far as it came. `state` is unfinished, finished, or failed: finished, some with errors."""

    folder: Path
    header: Header
    rows: list[dict[str, Any]]
    state: str

    @property
    def accuracy(self) -> float | None:
        """Share of the results so far that are right; None where nothing was graded."""
        return summarise(self.rows, seconds=0, run="", oracle=False)["accuracy"]


def read_overview(folder: Path) -> Overview:
    """The overview of a run; `UsageError` or `DataError` where the directory holds none."""
    header = read_header(folder)
    rows = read_results(folder)
    state = "unfinished" if len(rows) < header.n_problems else "finished"
    if state == "finished" and any(row.get("error") for row in rows):
        state = "failed"
    return Overview(folder=folder, header=header, rows=rows, state=state)


def run_names(root: Path = RUNS) -> list[str]:
    """Names of the run directories under `root`, sorted."""
    return sorted(path.parent.name for path in root.glob("*/run.json"))


def find_run(name: str, root: Path = RUNS) -> Path:
    """The directory of a run: a path, or a name under `root`; `UsageError` names the nearest one."""
    for folder in (Path(name), root / name):
        if (folder / "run.json").is_file():
            return folder
    beside = Path(name).parent
    known = {str(beside / found) for found in run_names(beside)} | set(run_names(root))
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "`search list runs` shows those that there are"
    raise UsageError(f"{name!r} is not a run directory (it has no run.json); {hint}")


def overviews(root: Path = RUNS) -> list[Overview | tuple[Path, SearchError]]:
    """Every run under `root`; a damaged one as its directory and the error."""
    found: list[Overview | tuple[Path, SearchError]] = []
    for name in run_names(root):
        try:
            found.append(read_overview(root / name))
        except SearchError as error:
            found.append((root / name, error))
    return found
