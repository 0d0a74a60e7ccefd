"""What a file of records was made with, kept beside it, so that going on does not mix two ways of making.

Contract: `check_made` compares what a labelling is asked with what the file of its records was begun with
(``FILE.settings.json``) and with the records themselves; another model, method or setting is `UsageError`
that names it. A file without records takes any settings, one that has none kept beside it (joined by hand)
those of whoever goes on with it first. How many problems there are and how many are in flight may change.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prm.labels.config import settings_used
from prm.labels.plan import LabelPlan
from prm.labels.record import StepRecord
from tasks.errors import DataError, UsageError
from treesearch.atomic import write_json


def check_made(plan: LabelPlan, records: Sequence[StepRecord]) -> None:
    """See the module; keeps the settings of a file that is begun here."""
    _check_records(plan, records)
    path = Path(f"{plan.config.out}.settings.json")
    now = json.loads(json.dumps(settings_used(plan.config, plan.method)))
    kept = _read(path) if records else {}
    for name in sorted(kept.keys() | now.keys() if kept else ()):
        if kept.get(name) != now.get(name):
            raise UsageError(
                f"{plan.config.out} holds labels made with {name} {kept.get(name)!r}, not {now.get(name)!r}; "
                "name another file with --out"
            )
    if not kept:
        write_json(path, now)


def _check_records(plan: LabelPlan, records: Sequence[StepRecord]) -> None:
    out = plan.config.out
    for record in records:
        if (record.model, record.source) != (plan.model, plan.source):
            raise UsageError(
                f"{out} holds labels of {record.source} by {record.model}, not of {plan.source} by "
                f"{plan.model}; name another file with --out"
            )
        inner = record.step is not None and not record.finished and record.completions
        if plan.settings is not None and inner and record.completions != plan.config.completions:
            raise UsageError(
                f"{out} holds labels from {record.completions} completions, not {plan.config.completions}; "
                "name another file with --out"
            )


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise DataError(f"{path}: not the settings of labels ({error}); take it away to go on") from error
