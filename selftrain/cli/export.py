"""`search selftrain export`: training trees in the formats of other trainers, from a file to files."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tasks.errors import DataError, unknown_name
from treesearch.cli import options
from treesearch.cli.exit_codes import ExitCode
from treesearch.cli.overwrite import refuse_overwriting
from treesearch.cli.terminal import say, say_json, tell

if TYPE_CHECKING:
    from selftrain.data.record import TrainingTree

_DATA = "JSONL of training trees, as `search selftrain build` writes them."
_FORMAT = (
    "preference, sft, sft-plain, stepwise or step-rows; or several in one folder: trl (JSON lines for TRL's "
    "trainers), datasets (the same as folders), jsonl (everything)."
)
_OUT = (
    "Where to: a path in .jsonl, else a folder of Hugging Face datasets; for trl, datasets and jsonl the "
    "folder that gets one of these a format. Replaced."
)
_KIND = "Only records of this kind (a builder's name, or soft, hard, ... for targets). Repeatable."


def _complete_format(incomplete: str) -> list[str]:
    from selftrain.data.exports import BUNDLES, EXPORTS

    return [name for name in (*EXPORTS, *BUNDLES) if name.startswith(incomplete)]


Data = Annotated[str, typer.Option("--data", metavar="FILE", help=_DATA)]
Format = Annotated[
    str, typer.Option("--format", metavar="NAME", help=_FORMAT, autocompletion=_complete_format)
]
Out = Annotated[str, typer.Option("--out", metavar="PATH", help=_OUT)]
Kinds = Annotated[list[str] | None, typer.Option("--kind", metavar="NAME", help=_KIND)]


def export(
    data: Data,
    form: Format,
    out: Out,
    kinds: Kinds = None,
    as_json: options.Json = False,
) -> int:
    """Write training data for other trainers: TRL, stepwise labels, datasets folders, JSON lines."""
    from selftrain.data.exports import BUNDLES, EXPORTS, export_all, records
    from selftrain.data.exports import export as export_one
    from selftrain.data.files import read_trees

    if form not in (*EXPORTS, *BUNDLES):
        raise unknown_name("export format", form, [*EXPORTS, *BUNDLES])
    refuse_overwriting("--out", out, [data])
    started = time.monotonic()
    trees = read_trees(Path(data))
    tell(f"{len(trees):,} training trees read")
    trees = of_kinds(trees, kinds or [])
    formats = BUNDLES[form][1] if form in BUNDLES else (form,)
    if not any(records(name, trees) for name in formats):
        raise DataError(f"{data}: nothing to write as {form!r}; it holds {held(trees)}")
    if form in BUNDLES:
        rows = export_all(form, Path(out), trees)
    else:
        rows = {Path(out): export_one(form, Path(out), trees)}
    if as_json:
        seconds = round(time.monotonic() - started, 3)
        say_json(
            {"data": data, "rows": {str(path): count for path, count in rows.items()}, "seconds": seconds}
        )
        return ExitCode.DONE
    for path, count in rows.items():
        say(f"{count:,} rows in {path}")
    return ExitCode.DONE


def of_kinds(trees: Sequence[TrainingTree], kinds: Sequence[str]) -> list[TrainingTree]:
    """The trees with records of `kinds` alone (of all without any); `UsageError` for a kind that none has."""
    from dataclasses import replace

    if not kinds:
        return list(trees)
    known = sorted({one.kind for tree in trees for one in (*tree.traces, *tree.pairs, *tree.targets)})
    for kind in kinds:
        if kind not in known:
            raise unknown_name("kind of record in the file", kind, known)
    return [
        replace(
            tree,
            traces=tuple(one for one in tree.traces if one.kind in kinds),
            pairs=tuple(one for one in tree.pairs if one.kind in kinds),
            targets=tuple(one for one in tree.targets if one.kind in kinds),
        )
        for tree in trees
    ]


def held(trees: Sequence[TrainingTree]) -> str:
    """What records the trees hold, in words."""
    found = Counter[str]()
    for tree in trees:
        for name in ("traces", "pairs", "targets", "advantages"):
            found[name] += len(getattr(tree, name))
    return ", ".join(f"{count:,} {name}" for name, count in found.items() if count) or "no records"
