"""Two methods of a stored comparison against each other, problem by problem.

    python experiments/embedded-prm/against.py --cells experiments/embedded-prm/cells-countdown.jsonl.gz \
        --method best-first-prm --other best-of-n-prm [--other-budget 500] [--skip 100]

`search compare` tests every method against majority vote; this one is for searches that share a value. Seeds
are averaged within a problem first. Both have the same budget unless `--other-budget` names the other's: a
method that ends early may be given a larger one of which it spends as much. `--skip` leaves out the first.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
from collections import defaultdict
from pathlib import Path

from treesearch.comparison.results import difference


def read(path: Path) -> dict[tuple[str, int], dict[int, dict[str, bool]]]:
    """What each method had right under each budget, by seed and problem."""
    found: dict[tuple[str, int], dict[int, dict[str, bool]]] = defaultdict(dict)
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            cell = json.loads(line)
            name = re.fullmatch(r"(.*)-(\d+)-s(\d+)", cell["cell"])
            assert name is not None
            rows = map(json.loads, cell["results.jsonl"].splitlines())
            right = {row["id"]: row["verdict"] == "correct" for row in rows}
            found[name[1], int(name[2])][int(name[3])] = dict(sorted(right.items()))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cells", type=Path, required=True)
    parser.add_argument("--method", required=True)
    parser.add_argument("--other", required=True)
    parser.add_argument("--other-budget", type=int, help="of the other method [default: the same]")
    parser.add_argument("--skip", type=int, default=0)
    args = parser.parse_args()
    cells = read(args.cells)
    for budget in sorted(budget for method, budget in cells if method == args.method):
        mine = cells[args.method, budget]
        kept = {seed: dict(list(right.items())[args.skip :]) for seed, right in mine.items()}
        other_budget = args.other_budget or budget
        found = difference(kept, cells.get((args.other, other_budget), {}))
        if found is not None:
            mean, low, high = (100 * share for share in (found["accuracy"], *found["ci95"]))
            n_problems = len(next(iter(kept.values())))
            print(
                f"{args.method}, {budget:,} tokens, less {args.other}, {other_budget:,}, "
                f"{n_problems} problems, {found['n_seeds']} seeds: "
                f"{mean:+.1f} ({low:+.1f} to {high:+.1f}), p {found['p']:.4f}"
            )


if __name__ == "__main__":
    main()
