"""Methods at equal tokens, in pieces that may be run on different days.

    python experiments/methods/run.py --config experiments/methods/countdown.yaml --work WORK_FOLDER --seeds 0

It is `search compare --config NAME.yaml` with a memory: results and summaries of finished cells are kept in
`cells-NAME.jsonl.gz` beside that file and put back into a new work folder, so only what is missing runs. The
path of a problem file inside the repository is kept relative to it, so that any clone goes on with the cells.
Cells of another model or configuration are refused as `search compare` refuses them. `table-NAME.md`,
`plot-NAME.png` and `comparison-NAME.json` are brought up to date at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

from treesearch.atomic import write_text
from treesearch.comparison.config import read_wanted, settle
from treesearch.comparison.session import FILE, PLOT, TABLE, read_comparison, run_comparison
from treesearch.run.runner import Progress

KEPT = ("run.json", "results.jsonl", "summary.json")
ROOT = Path(__file__).resolve().parents[2]


def portable(name: str, text: str, root: Path = ROOT) -> str:
    """A stored file with the path of its problems relative to the repository where they are inside."""

    def relative(data: str) -> str:
        path = Path(data)
        return path.relative_to(root).as_posix() if path.is_relative_to(root) else data

    return _with_data(name, text, relative)


def local(name: str, text: str, root: Path = ROOT) -> str:
    """A stored file with the path of its problems in this repository."""
    return _with_data(name, text, lambda data: str(root / data))


def _with_data(name: str, text: str, change: Callable[[str], str]) -> str:
    if name not in (FILE, "run.json"):
        return text
    content = json.loads(text)
    config = content["config"]
    there, key = (config["common"], "data") if name == FILE else (config["data"], "value")
    if there[key] is not None:
        there[key] = change(there[key])
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def restore(config: Path, work: Path) -> None:
    """Put stored cells into a work folder that does not have them."""
    work.mkdir(parents=True, exist_ok=True)
    stored = config.with_name(f"cells-{config.stem}.jsonl.gz")
    if not stored.exists():
        return
    if not (work / FILE).exists():
        stored_file = config.with_name(f"comparison-{config.stem}.json").read_text(encoding="utf-8")
        write_text(work / FILE, local(FILE, stored_file))
    with gzip.open(stored, "rt", encoding="utf-8") as lines:
        for line in lines:
            cell = json.loads(line)
            folder = work / "runs" / cell["cell"]
            if not (folder / "summary.json").exists():
                folder.mkdir(parents=True, exist_ok=True)
                for name in KEPT:
                    write_text(folder / name, local(name, cell[name]))


def store(config: Path, work: Path) -> int:
    """Keep the finished cells of a work folder; returns how many there are."""
    lines: list[str] = []
    for folder in sorted((work / "runs").iterdir()):
        if not (folder / "summary.json").exists():
            continue
        texts = {name: (folder / name).read_text(encoding="utf-8") for name in KEPT}
        if json.loads(texts["summary.json"])["finished"]:
            kept = {name: portable(name, text) for name, text in texts.items()}
            lines.append(json.dumps({"cell": folder.name} | kept))
    beside = config.with_name(f"cells-{config.stem}.jsonl.gz.new")
    beside.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode(), mtime=0))
    beside.replace(beside.with_suffix(""))
    for name in (FILE, TABLE, PLOT):
        if (work / name).exists():
            stem, _, ending = name.partition(".")
            beside = config.with_name(f"{stem}-{config.stem}.{ending}")
            if name == FILE:
                write_text(beside, portable(name, (work / name).read_text(encoding="utf-8")))
            else:
                shutil.copy(work / name, beside)
    return len(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--budgets", help="those of the file without it")
    parser.add_argument("--limit", type=int, help="fewer problems, for a trial; nothing is stored")
    args = parser.parse_args()
    work = args.work / args.config.stem
    if args.limit is None:
        restore(args.config, work)
    seeds = [int(seed) for seed in args.seeds.split(",")]
    flags = {"seeds": seeds, "budgets": args.budgets, "limit": args.limit}
    config = settle(read_wanted(flags, args.config), read_comparison(work))

    def on_cell(cell: object, number: int, count: int) -> None:
        print(f"{number}/{count} {getattr(cell, 'name', '')}", flush=True)
        if args.limit is None and (work / "runs").exists():
            store(args.config, work)

    def on_change(progress: Progress) -> None:
        del progress

    found = asyncio.run(run_comparison(config, work, on_cell=on_cell, on_change=on_change))
    print(found.table(), found.lacking)
    if args.limit is None:
        print(store(args.config, work), "cells stored")


if __name__ == "__main__":
    main()
